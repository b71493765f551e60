"""The notebooks' widgets in JupyterLab, in a real browser: what the mouse, a finger and the keyboard do."""

import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browser import Notebook, browser, jupyterlab
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

# Digits as strokes: lists of (x, y), as parts of the pad's side.
ROUND = np.linspace(-np.pi / 2, 3 * np.pi / 2, 25)
DIGITS = {
    0: [list(zip(0.5 + 0.2 * np.cos(ROUND), 0.5 + 0.33 * np.sin(ROUND), strict=True))],
    1: [[(0.36, 0.33), (0.52, 0.17), (0.52, 0.83)]],
    2: [[(0.3, 0.3), (0.45, 0.15), (0.65, 0.22), (0.66, 0.4), (0.3, 0.82), (0.75, 0.82)]],
    5: [[(0.7, 0.17), (0.35, 0.17), (0.33, 0.45), (0.55, 0.42), (0.7, 0.6), (0.6, 0.82), (0.32, 0.83)]],
    7: [[(0.28, 0.2), (0.73, 0.2), (0.45, 0.84)]],
}
CELLS = [
    """
import time
import numpy as np
from matplotlib.figure import Figure
from flcourse.show.widgets import DrawingPad, explore

def recognise(digit):
    columns = np.nonzero(digit.any(axis=0))[0]
    thin = columns[-1] - columns[0] < 10
    return np.where(np.arange(10) == thin, 0.91, 0.01)

def broken(digit):
    raise RuntimeError("no <b>weights</b> yet")

pad = DrawingPad(recognise)
pad""",
    "pad  # again: the same pad",
    "DrawingPad(broken)",
    """
runs = []

def wave(top_frequency=2, kind="sine"):
    runs.append(top_frequency)
    time.sleep(0.4)
    if top_frequency == 5:
        raise ValueError("five is too many")
    figure = Figure(figsize=(5, 2))
    x = np.linspace(0, 6, 200)
    y = np.sin(top_frequency * x)
    figure.subplots().plot(x, y if kind == "sine" else np.sign(y))
    return figure

explore(wave, top_frequency=(1, 20), kind=["sine", "square"])""",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def open_notebook(folder):
    """A function that opens a notebook of the lab's folder; one server and one browser for all tests."""
    with browser() as chromium, jupyterlab(folder) as url:
        yield lambda name: Notebook(chromium, url, name, folder)


@pytest.fixture(scope="module")
def toys(folder, open_notebook):
    """A notebook with two views of one pad, a pad whose recogniser fails, and an explorer."""
    notebook = new_notebook(cells=[new_code_cell(source.strip()) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "notebooks" / "toys.ipynb")
    with open_notebook("toys.ipynb") as opened:
        opened.run_all()
        yield opened


def winner(pad):
    return pad.locator(".flcourse-pad-winner")


def clear(pad):
    pad.get_by_role("button", name="Clear").click()
    expect(winner(pad)).to_have_count(0)


def test_pad_reads_what_the_mouse_draws(toys):
    first, second, other = (toys.pad(number) for number in range(3))
    expect(first.locator(".flcourse-pad-hint")).to_be_visible()
    toys.draw(first, DIGITS[1])
    for view in (first, second):  # one pad, shown twice
        expect(winner(view)).to_have_attribute("data-digit", "1")
        expect(winner(view)).to_contain_text("91.0 %")
        expect(view.locator(".flcourse-pad-status")).to_have_text("It reads 1, 91.0 %")
        expect(view.locator(".flcourse-pad-hint")).to_be_hidden()
        # What the network sees has a stroke in its middle, and nothing at its left.
        row = "canvas => [...canvas.getContext('2d').getImageData(0, 14, 28, 1).data].filter((_, i) => i % 4 === 0)"
        grey = view.locator(".flcourse-pad-seen").evaluate(row)
        assert len(grey) == 28 and max(grey[12:20]) > 200 and max(grey[:6]) == 0
    expect(other.locator(".flcourse-pad-hint")).to_be_visible()  # another pad stays empty
    toys.draw(second, DIGITS[0])  # in the other view, around the first stroke: wide now
    expect(winner(first)).to_have_attribute("data-digit", "0")
    first.get_by_role("button", name="Clear").focus()
    toys.page.keyboard.press("Enter")
    for view in (first, second):
        expect(winner(view)).to_have_count(0)
        expect(view.locator(".flcourse-pad-hint")).to_be_visible()


def test_bars_move_while_the_pen_is_down(toys):
    pad, mouse = toys.pad(), toys.page.mouse
    left, top, side = toys.canvas_box(pad)
    mouse.move(left + 0.5 * side, top + 0.15 * side)
    mouse.down()
    mouse.move(left + 0.5 * side, top + 0.85 * side, steps=5)
    expect(winner(pad)).to_have_attribute("data-digit", "1")
    mouse.move(left + 1.5 * side, top + 0.85 * side, steps=5)  # beyond the pad's rim: still this stroke
    expect(winner(pad)).to_have_attribute("data-digit", "0")
    mouse.up()
    clear(pad)


def test_pad_reads_a_finger(toys):
    pad = toys.pad()
    left, top, side = toys.canvas_box(pad)
    fingers = toys.page.context.new_cdp_session(toys.page)  # real touches: Playwright's own can only tap
    for kind, y in (("touchStart", 0.15), ("touchMove", 0.4), ("touchMove", 0.6), ("touchMove", 0.85), ("touchEnd", 0)):
        points = [{"x": left + side / 2, "y": top + y * side}] if y else []
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(winner(pad)).to_have_attribute("data-digit", "1")
    assert toys.canvas_box(pad)[1] == pytest.approx(top, abs=1)  # the finger drew, it did not scroll the page
    clear(pad)


def test_pad_shows_what_its_recogniser_raises_and_lives_on(toys):
    pad = toys.pad(2)
    height = pad.bounding_box()["height"]
    for digit in (1, 0):
        toys.draw(pad, DIGITS[digit])
        expect(pad.locator(".flcourse-pad-error")).to_have_text("RuntimeError: no <b>weights</b> yet")
        assert pad.bounding_box()["height"] == height  # a page that moves under the pen bends the stroke
        clear(pad)
        expect(pad.locator(".flcourse-pad-error")).to_have_text("")


def test_explorer_draws_anew_by_keyboard(toys):
    explorer = toys.page.locator(".flcourse-explore")
    picture, slider = explorer.locator("img"), toys.slider("top frequency")
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before)
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before)
    before = picture.get_attribute("src")
    slider.press("ArrowRight")
    expect(explorer).to_contain_text("ValueError: five is too many")
    assert picture.get_attribute("src") == before  # the last good picture stays
    slider.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before)
    expect(explorer).not_to_contain_text("ValueError")
    before = picture.get_attribute("src")
    explorer.get_by_role("combobox").select_option("square")
    expect(picture).not_to_have_attribute("src", before)


def test_explorer_leaves_out_values_that_came_too_fast(toys):
    explorer, slider = toys.page.locator(".flcourse-explore"), toys.slider("top frequency")
    before = toys.evaluate("len(runs)")
    slider.press("Home")
    for _ in range(11):
        slider.press("ArrowRight")
    expect(explorer.locator(".widget-readout")).to_have_text("12")
    toys.wait_for_python("runs[-1] == 12")
    assert toys.evaluate("len(runs)") < before + 12


def test_narrow_screens_need_no_sideways_scrolling(toys):
    size = toys.page.viewport_size
    toys.page.set_viewport_size({"width": 380, "height": 800})
    try:
        for element in (toys.pad(), toys.page.locator(".flcourse-explore")):
            assert element.evaluate("element => element.scrollWidth <= element.clientWidth")
    finally:
        toys.page.set_viewport_size(size)


def test_numpy_notebook(folder, open_notebook):
    """Lesson 1 as a learner has it: it runs, reads drawn digits, and its learning-rate slider draws anew."""
    source = NOTEBOOKS / "01_numpy_mnist.ipynb"
    shutil.copy(source, folder / "notebooks")
    with open_notebook(source.name) as notebook:
        notebook.run_all()
        pad, read = notebook.pad(), {}
        for digit, strokes in DIGITS.items():
            notebook.draw(pad, strokes)
            expect(winner(pad)).to_have_count(1)
            read[digit] = int(winner(pad).get_attribute("data-digit"))
            clear(pad)
        # Shapes that anyone reads; fast mode's network has seen little and may miss one.
        if sum(digit != answer for digit, answer in read.items()) > 1:
            notebook.fail(f"drawn: read {read}")
        label = re.compile("learning.rate", re.IGNORECASE)
        picture = notebook.explorer(label).locator("img")
        before = picture.get_attribute("src")
        notebook.slider(label).press("ArrowRight")
        expect(picture).not_to_have_attribute("src", before, timeout=90_000)  # a small training, or several
        if notebook.errors():
            notebook.fail("after moving the slider")
