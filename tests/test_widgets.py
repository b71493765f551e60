"""The notebooks' widgets without a browser: strokes and values go in by Python, as the browser would send them."""

import re
import threading

import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from flcourse.data.digits import centre_digit
from flcourse.show.widgets import BRUSH, PAD_SIZE, DrawingPad, draw_strokes, explore

ONE = np.array([[140, 50], [138, 230]])
DASH = np.array([[60.0, 140.5], [220, 140]])


class Recogniser:
    """Says 1 for what is higher than wide, 0 otherwise; keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, digit):
        self.shown.append(digit)
        rows, columns = digit.any(axis=1).sum(), digit.any(axis=0).sum()
        return np.where(np.arange(10) == int(rows > columns), 0.91, 0.01)


# --- strokes ---


def test_strokes_are_white_round_and_as_wide_as_the_brush():
    image = draw_strokes([DASH])
    assert image.shape == (PAD_SIZE, PAD_SIZE) and image.dtype == np.uint8
    assert image.max() == 255 and image[0].max() == 0
    assert (image[:, 140] / 255).sum() == pytest.approx(BRUSH, abs=1.5)
    # The middle of the stroke reaches half a brush beyond its ends; the corners are round.
    assert image[140].nonzero()[0][[0, -1]] == pytest.approx([60 - BRUSH / 2, 220 + BRUSH / 2], abs=2)
    assert image[140 - BRUSH // 2 + 2, 60 - BRUSH // 2 + 2] == 0


def test_one_point_is_a_dot():
    dot = draw_strokes([[[100, 50]]])
    assert (dot / 255).sum() == pytest.approx(np.pi * (BRUSH / 2) ** 2, rel=0.15)
    rows, columns = dot.nonzero()
    assert (columns.mean(), rows.mean()) == pytest.approx((100, 50), abs=0.6)


def test_strokes_beyond_the_pad_are_cut_off():
    assert draw_strokes([[[-1e12, 140], [1e12, 140]]])[140].min() == 255
    assert not draw_strokes([[[400, 400], [500, 500]]]).any()


@pytest.mark.parametrize("stroke", [[], [[1, 2, 3]], [1, 2], [[float("nan"), 1]]])
def test_wrong_strokes_are_named(stroke):
    with pytest.raises(ValueError, match=r"stroke 1: .*expected"):
        DrawingPad(Recogniser()).draw([ONE, stroke])


# --- the pad ---


def test_pad_shows_the_network_a_digit_in_mnists_form():
    pad = DrawingPad(recogniser := Recogniser())
    assert pad.image is None and pad.probabilities == [] and not recogniser.shown
    pad.draw([ONE])
    [shown] = recogniser.shown
    assert shown.shape == (28, 28) and shown.dtype == np.uint8
    assert (shown == centre_digit(draw_strokes([ONE]))).all()
    assert (pad.image == shown).all()
    assert shown.any(axis=1).sum() == 20  # as high as MNIST's digits
    assert pad.probabilities == pytest.approx([0.01, 0.91] + 8 * [0.01])
    assert pad.error == ""


def test_pad_does_not_care_where_and_how_large():
    pad = DrawingPad(recogniser := Recogniser())
    seven = np.array([[80, 60], [180, 60], [120, 200]])
    pad.draw([seven])
    pad.draw([seven + np.array([30, 40])])
    first, moved = (image.astype(int) for image in recogniser.shown)
    assert np.abs(first - moved).max() <= 1


def test_strokes_from_the_browser_are_recognised():
    pad = DrawingPad(recogniser := Recogniser())
    pad.set_state({"strokes": [[[140, 50], [138, 120]]]})  # as a message sets them, while the pen moves
    pad.set_state({"strokes": [ONE.tolist()]})
    pad.set_state({"strokes": [ONE.tolist(), DASH.tolist()]})
    assert len(recogniser.shown) == pad.answers == 3
    assert (pad.image == centre_digit(draw_strokes([ONE, DASH]))).all()
    pad.set_state({"strokes": [[["x", 1]]]})
    assert "ValueError" in pad.error and pad.image is None


def test_pad_clears():
    pad = DrawingPad(recogniser := Recogniser())
    pad.draw([ONE])
    pad.clear()
    assert (pad.strokes, pad.seen, pad.probabilities, pad.error, pad.image) == ([], b"", [], "", None)
    assert len(recogniser.shown) == 1  # nobody asks what an empty pad shows
    pad.draw([np.array([[500, 500]])])  # beyond the rim: nothing to see either
    assert pad.image is None and len(recogniser.shown) == 1


def test_image_is_a_copy():
    pad = DrawingPad(Recogniser())
    pad.draw([ONE])
    pad.image[:] = 0
    assert pad.image.any()


def test_a_failing_recogniser_is_reported_and_does_not_end_the_pad():
    def broken(digit):
        raise KeyError("weights\nand more")

    pad = DrawingPad(broken)
    pad.draw([ONE])
    assert pad.error == "KeyError: 'weights\\nand more'"
    assert pad.probabilities == [] and pad.image is not None
    pad.recognise = Recogniser()
    pad.draw([ONE])  # the same strokes, another network
    assert pad.error == "" and max(pad.probabilities) == 0.91


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.ones(3) / 3, r"ValueError: recognise returned shape \(3,\), expected 10 probabilities"),
        (np.linspace(-4, 9, 10), "ValueError: .* from -4 to 9, .*is the softmax missing"),
        (np.full(10, np.nan), "ValueError: .*nan"),
        (None, "ValueError|TypeError"),
    ],
)
def test_what_is_no_probability_is_reported(answer, said):
    pad = DrawingPad(lambda digit: answer)
    pad.draw([ONE])
    assert pad.probabilities == []
    assert re.match(said, pad.error) and "\n" not in pad.error


@pytest.mark.parametrize("shape", [(10,), (1, 10)])
def test_torch_networks_recognise_too(shape):
    logits = torch.arange(10.0, requires_grad=True).reshape(shape)
    pad = DrawingPad(lambda digit: logits.softmax(-1))
    pad.draw([ONE])
    assert pad.error == "" and np.argmax(pad.probabilities) == 9 and sum(pad.probabilities) == pytest.approx(1)


def test_pads_are_independent():
    first, second = DrawingPad(Recogniser()), DrawingPad(Recogniser())
    first.draw([ONE])
    assert second.strokes == [] and second.image is None
    second.draw([DASH])
    assert (np.argmax(first.probabilities), np.argmax(second.probabilities)) == (1, 0)


def test_an_answer_is_one_message(monkeypatch):
    sent = []
    pad = DrawingPad(Recogniser())
    monkeypatch.setattr(pad, "send_state", lambda key=None: sent.append({key} if isinstance(key, str) else set(key)))
    pad.set_state({"strokes": [ONE.tolist()]})
    assert {"seen", "probabilities", "answers"} in sent and len(sent) <= 2  # the other: the echo of the strokes


# --- explore ---


def wave(frequency=2, amplitude=1.0, kind="sine", grid=False):
    figure = Figure(figsize=(3, 2))
    ax, x = figure.subplots(), np.linspace(0, 6, 50)
    y = amplitude * np.sin(frequency * x)
    ax.plot(x, y if kind == "sine" else np.sign(y))
    ax.set_ylim(-3, 3)
    ax.grid(grid)
    return figure


def test_every_control_changes_the_image():
    explorer = explore(wave, frequency=(1, 9), amplitude=(0.5, 2.5, 0.5), kind=["sine", "square"], grid=False)
    assert list(explorer.controls) == ["frequency", "amplitude", "kind", "grid"]
    assert bytes(explorer.image.value).startswith(b"\x89PNG")
    assert (explorer.controls["frequency"].value, explorer.controls["amplitude"].value) == (2, 1.0)  # wave's defaults
    for name, values in {
        "frequency": (1, 5, 9),
        "amplitude": (0.5, 1.5, 2.5),
        "kind": ("square", "sine"),
        "grid": (True, False),
    }.items():
        for value in values:
            before = explorer.image.value
            explorer.controls[name].value = value
            assert explorer.image.value != before, (name, value)
            assert explorer.status.value == ""


def test_controls_wait_until_they_are_let_go():
    slow = ipywidgets.FloatLogSlider(value=1, min=-2, max=2, description="how high")
    explorer = explore(wave, frequency=(1, 9), amplitude=slow, kind="sine")
    assert explorer.controls["amplitude"] is slow and slow.description == "how high"
    assert not any(control.continuous_update for control in explorer.controls.values())
    assert "flcourse-explore" in explorer._dom_classes


def test_a_name_becomes_a_label():
    def figure(learning_rate):
        return wave(learning_rate)

    assert explore(figure, learning_rate=(1, 3)).controls["learning_rate"].description == "learning rate"


def test_an_exception_is_shown_and_passes():
    def picky(n=1):
        if n == 2:
            raise ValueError("two is <too> many\nand more")
        return wave(n) if n < 4 else None

    explorer = explore(picky, n=(1, 5))
    first = explorer.image.value
    explorer.controls["n"].value = 2
    assert "ValueError: two is &lt;too&gt; many" in explorer.status.value and "and more" not in explorer.status.value
    assert explorer.image.value == first
    explorer.controls["n"].value = 3
    assert explorer.status.value == "" and explorer.image.value != first
    explorer.controls["n"].value = 4
    assert "returned NoneType, expected a matplotlib Figure" in explorer.status.value


def test_mistakes_at_the_start_are_raised():
    with pytest.raises(ZeroDivisionError):  # with its traceback, in the learner's own cell
        explore(lambda n: 1 / 0, n=(1, 5))
    with pytest.raises(TypeError, match="n=None: expected"):
        explore(wave, n=None)
    with pytest.raises(TypeError, match="frequenzy"):
        explore(wave, frequenzy=(1, 5))


def test_busy_is_said():
    said = []

    def figure(n=1):
        said.append(explorer.status.value if explorer else "")
        return wave(n)

    explorer = None
    explorer = explore(figure, n=(1, 5))
    explorer.controls["n"].value = 2
    assert said[0] == "" and "working" in said[1] and explorer.status.value == ""


def test_moves_during_a_run_become_one_run():
    seen, started, go_on = [], threading.Event(), threading.Event()

    def slow(n=0):
        seen.append(n)
        if n == 1:
            started.set()
            assert go_on.wait(20)
        return wave(n)

    explorer = explore(slow, n=(0, 9))
    control = explorer.controls["n"]
    thread = threading.Thread(target=lambda: setattr(control, "value", 1))  # as JupyterLab's messages come
    thread.start()
    assert started.wait(20)
    for n in range(2, 8):
        control.value = n
    go_on.set()
    thread.join(20)
    assert seen == [0, 1, 7]
    assert explorer.image.value == explore(wave, frequency=[7]).image.value
    assert explorer.status.value == ""


def test_pyplots_figures_are_closed():
    from matplotlib import pyplot

    def figure(n=1):
        figure, ax = pyplot.subplots()
        ax.plot([0, n])
        return figure

    before = pyplot.get_fignums()
    explorer = explore(figure, n=(1, 5))
    explorer.controls["n"].value = 4
    assert pyplot.get_fignums() == before
