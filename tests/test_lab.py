"""The notebooks' widgets in JupyterLab, in a real browser: what the mouse, a finger and the keyboard do."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Notebook, browser, jupyterlab, write_notebook
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

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
    write_notebook(folder / "notebooks" / "toys.ipynb", CELLS)
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
    image, slider = explorer.locator("img"), toys.slider("top frequency")
    before = image.get_attribute("src")
    slider.press("ArrowRight")
    expect(image).not_to_have_attribute("src", before)
    before = image.get_attribute("src")
    slider.press("ArrowRight")
    expect(image).not_to_have_attribute("src", before)
    before = image.get_attribute("src")
    slider.press("ArrowRight")
    expect(explorer).to_contain_text("ValueError: five is too many")
    assert image.get_attribute("src") == before  # the last good image stays
    slider.press("ArrowRight")
    expect(image).not_to_have_attribute("src", before)
    expect(explorer).not_to_contain_text("ValueError")
    before = image.get_attribute("src")
    explorer.get_by_role("combobox").select_option("square")
    expect(image).not_to_have_attribute("src", before)


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


def test_a_restart_and_a_reopened_page_say_what_to_do(folder, open_notebook):
    """Widgets whose kernel has gone; and "model not found", all that JupyterLab says in a page opened anew."""
    faces = [
        "import numpy as np\nfrom flcourse.show.annotator import Annotator\nAnnotator(np.zeros((80, 100, 3), np.uint8))"
    ]
    write_notebook(folder / "notebooks" / "left.ipynb", [*CELLS, *faces])
    with open_notebook("left.ipynb") as opened:
        opened.run_all()
        page, notes = opened.page, opened.page.locator(".flcourse-note")
        expect(page.locator(".flcourse-explore")).to_be_visible()
        expect(notes).to_have_count(5)
        for number in range(5):
            expect(notes.nth(number)).to_be_hidden()
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        told = re.compile("^The kernel has ended or was restarted: run the cells again")
        expect(page.locator(".flcourse-pad-error").first).to_have_text(told)
        expect(page.locator(".flcourse-mark-status")).to_have_text(told)
        expect(page.locator(".flcourse-explore .flcourse-note-line")).to_have_text(told)
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        opened.wait("!jupyterapp.shell.currentWidget.context.model.dirty", 15, "the notebook was not saved")
        page.reload()
        opened.wait("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady", 90, "the page did not come back")
        expect(notes).to_have_count(5)
        for number in range(5):
            expect(notes.nth(number)).to_be_visible(timeout=60_000)
            expect(notes.nth(number)).to_contain_text("Run the notebook's cells, from the top, to use it.")


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
        image = notebook.explorer(label).locator("img")
        before = image.get_attribute("src")
        notebook.slider(label).press("ArrowRight")
        expect(image).not_to_have_attribute("src", before, timeout=90_000)  # a small training, or several
        if notebook.errors():
            notebook.fail("after moving the slider")


FACE_CELLS = [
    """
import sys
import numpy as np
from pathlib import Path
from flcourse.show.annotator import Annotator
from flcourse.show.augmentation import explore_augmentation

SPOTS = [(23, 31), (61, 12), (80, 66)]  # white on dark grey, to be found on the screen
image = np.full((80, 100, 3), 40, np.uint8)
for x, y in SPOTS:
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
annotator = Annotator(image)
annotator""",
    """
sys.path.insert(0, TESTS)
from toys import toy_face

explorer = explore_augmentation([toy_face(Path("toys"), 0, np.random.default_rng(0))])
explorer""",
]


@pytest.fixture(scope="module")
def face_widgets(folder, open_notebook):
    """A notebook with an annotator of an image with three white spots, and an explorer of a toy face."""
    tests = f"TESTS = {str(Path(__file__).parent)!r}"  # where the toys are
    write_notebook(folder / "notebooks" / "faces.ipynb", [tests, *FACE_CELLS])
    with open_notebook("faces.ipynb") as opened:
        opened.run_all()
        yield opened


def find_spots(page, box):
    """Centres of the white spots inside a box of the page, (3, 2) in its CSS pixels; None while there are not three."""
    shot = cv2.imdecode(np.frombuffer(page.screenshot(clip=box), np.uint8), cv2.IMREAD_GRAYSCALE)
    _, _, stats, centres = cv2.connectedComponentsWithStats((shot > 150).astype(np.uint8))
    # The first is the background. Pixel i of a screenshot reaches from i to i + 1.
    spots = centres[1:][stats[1:, cv2.CC_STAT_AREA] > 50] + 0.5
    return spots + np.array([box["x"], box["y"]]) if len(spots) == 3 else None


def test_annotator_sets_points_where_the_mouse_clicks(face_widgets):
    page, mouse = face_widgets.page, face_widgets.page.mouse
    annotator = page.locator(".flcourse-mark")
    photo, status = annotator.locator(".flcourse-mark-photo"), annotator.locator(".flcourse-mark-status")
    photo.scroll_into_view_if_needed()
    expect(status).to_have_text(re.compile("0 of 68"))
    expect(annotator.locator(".flcourse-mark-title")).to_have_text("0 · Jaw")
    spots = np.array([[23, 31], [61, 12], [80, 66]])
    for _ in range(50):  # until the image has been decoded
        if (found := find_spots(page, photo.bounding_box())) is not None:
            break
        page.wait_for_timeout(100)
    else:
        face_widgets.fail("the three white spots are not to be seen")
    # Where they are seen, whatever the page's arithmetic: sorted as `spots` by x.
    found = found[found[:, 0].argsort()]
    for x, y in found:
        mouse.click(x, y)
    face_widgets.wait_for_python("annotator.current == 3")
    assert np.array(face_widgets.evaluate("annotator.points[:3].tolist()")) == pytest.approx(spots, abs=0.25)
    expect(status).to_have_text(re.compile("3 of 68"))
    scale = photo.bounding_box()["width"] / 100  # CSS pixels for each of the image's
    # Dragged: taken hold of a little beside its middle, point 1 moves as far as the mouse.
    mouse.move(*(found[1] + 3))
    mouse.down()
    mouse.move(*(found[1] + 3 + scale * np.array([10, 20])), steps=4)
    mouse.up()
    face_widgets.wait_for_python("annotator.points[1, 1] > 20")
    moved = np.array(face_widgets.evaluate("annotator.points[:3].tolist()"))
    assert moved[1] == pytest.approx(spots[1] + (10, 20), abs=0.5)
    assert moved[[0, 2]] == pytest.approx(spots[[0, 2]], abs=0.25)
    assert face_widgets.evaluate("annotator.current") == 3  # the one that is still awaited
    annotator.get_by_role("button", name="Undo").click()
    face_widgets.wait_for_python("annotator.points[1, 1] < 20")
    assert face_widgets.evaluate("annotator.points[1].tolist()") == pytest.approx(spots[1], abs=0.25)
    # The keyboard: half a pixel a key, five with Shift; keys in a row are one step to undo.
    photo.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowDown"):
        page.keyboard.press(key)
    face_widgets.wait_for_python("annotator.points[1, 1] > 16")
    assert face_widgets.evaluate("annotator.points[1].tolist()") == pytest.approx(spots[1] + (1, 4.5), abs=0.25)
    for _ in range(2):  # the keys, then the click on the last spot
        page.keyboard.press("Control+z")
    face_widgets.wait_for_python("np.isnan(annotator.points[2]).all()")
    assert face_widgets.evaluate("annotator.points[1].tolist()") == pytest.approx(spots[1], abs=0.25)
    # Without a mouse: any number, then Space where the cross is.
    annotator.get_by_role("spinbutton").fill("40")
    page.keyboard.press("Enter")
    expect(annotator.locator(".flcourse-mark-title")).to_have_text("40 · Eye, left in the image")
    page.keyboard.press("Space")
    face_widgets.wait_for_python("not np.isnan(annotator.points[40]).any() and annotator.current == 41")
    assert not face_widgets.errors()


def test_augmentation_explorer_follows_its_controls(face_widgets):
    explorer = face_widgets.explorer("mirror: chance")
    image = explorer.locator("img")
    image.scroll_into_view_if_needed()
    for label, key in (("rotation: typical", "End"), ("mirror: chance", "Home"), ("mirror: chance", "End")):
        before = image.get_attribute("src")
        face_widgets.slider(label).press(key)
        expect(image).not_to_have_attribute("src", before)
    values = "[explorer.controls[name].value for name in ('rotation', 'mirror')]"
    assert face_widgets.evaluate(values) == [45, 1]
    assert "rotation=45" in explorer.locator("code").inner_text()
    before = image.get_attribute("src")
    explorer.get_by_role("button", name="Reset").click()
    expect(image).not_to_have_attribute("src", before)
    assert face_widgets.evaluate(values) == [10, 0.5]
    before = image.get_attribute("src")
    explorer.get_by_role("checkbox").uncheck()
    expect(image).not_to_have_attribute("src", before)
    assert face_widgets.evaluate("explorer.status.value") == ""
    assert explorer.evaluate("element => element.scrollWidth <= element.clientWidth")


TRAINING_CELLS = [
    """
import sys
from dataclasses import replace
from pathlib import Path
from flcourse.data.imglab import read_imglab
from flcourse.training.recipes import RECIPES
from flcourse.show.training import LiveTraining

sys.path.insert(0, TESTS)
from toys import toy_set

faces, course = read_imglab(toy_set(Path("training"), 40)), RECIPES["course"]
endless = replace(course, size=48, width=0.05, config=replace(course.config, epochs=10**5, batch_size=8))
training = LiveTraining(faces, endless, Path("training/run"))
training""",
]


def test_a_training_is_watched_and_stopped(folder, open_notebook):
    tests = f"TESTS = {str(Path(__file__).parent)!r}"
    write_notebook(folder / "notebooks" / "training.ipynb", [tests, *TRAINING_CELLS])
    with open_notebook("training.ipynb") as opened:
        opened.run_all()
        image = opened.page.locator(".jp-OutputArea img").last
        opened.wait_for_python("len(training.history) >= 2", 90)
        before = image.get_attribute("src")
        expect(image).not_to_have_attribute("src", before, timeout=60_000)  # drawn anew while it trains
        opened.page.get_by_role("button", name="Stop").click()
        opened.wait_for_python("training.status.value.startswith('stopped')", 60)
        said = opened.evaluate("training.status.value")
        assert re.fullmatch(r"stopped after \d+ epochs; the checkpoint is kept", said)
        assert opened.evaluate("len(training.result()[1])") >= 2
        assert opened.evaluate("Path('training/run/last.pt').exists()")
        assert not opened.errors()
