"""Widgets of the notebooks: a pad to draw a digit on, and controls that redraw a figure.

Both are complete in Python, so that they can be tested without a browser: the browser only sends strokes and values.
"""

import html
import inspect
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import anywidget
import cv2
import ipywidgets
import numpy as np
import traitlets
from matplotlib.figure import Figure

from flcourse.data.digits import MNIST_SIZE, centre_digit
from flcourse.images import FIXED, fixed_point
from flcourse.show.assets import script, style
from flcourse.show.notes import KernelNote, Noted, close_all, show_with_note
from flcourse.show.plot import ORANGE, to_png

DIGITS = 10
PAD_SIZE = 280  # pixels: ten for each of MNIST's, large enough for a finger
BRUSH = 22  # pixels: about as thick, beside a digit that fills two thirds of the pad, as MNIST's strokes


def one_line(error: BaseException) -> str:
    """An exception as one line of text: its kind and the first line of what it says."""
    said = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def draw_strokes(strokes: Iterable[np.ndarray], size: int = PAD_SIZE, brush: int = BRUSH) -> np.ndarray:
    """White strokes with round ends on black: (N, 2) arrays of x, y in pixels -> (size, size) uint8.

    A stroke of one point is a dot. What leaves the image is cut off. Raises `ValueError` naming a stroke that is not
    (N, 2) finite numbers.
    """
    image = np.zeros((size, size), np.uint8)
    for number, stroke in enumerate(strokes):
        points = np.asarray(stroke, float)
        if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
            raise ValueError(f"stroke {number}: shape {points.shape}, expected (N, 2) finite numbers, x and y")
        points = fixed_point(points)
        if len(points) == 1:  # OpenCV draws a line of no length as nothing, the browser as a dot
            cv2.circle(image, points[0].tolist(), brush * 2**FIXED // 2, 255, cv2.FILLED, cv2.LINE_AA, FIXED)
        else:
            cv2.polylines(image, [points], False, 255, brush, cv2.LINE_AA, FIXED)
    return image


class DrawingPad(Noted, anywidget.AnyWidget):
    """A pad to draw a digit on, with what the network sees of it and how sure it is of each digit.

    `recognise` takes one digit in MNIST's form, (28, 28) uint8, and returns ten probabilities (NumPy, a list or a torch
    tensor); it is called as the pen moves, about twelve times a second. It may be replaced: `pad.recognise = better`.
    What it raises is shown in the pad and kept in `error`. Several pads are independent; one shown twice is one pad.
    """

    _esm = script("drawing_pad.js")
    _css = style("drawing_pad.css")

    size = traitlets.Int(PAD_SIZE, read_only=True).tag(sync=True)
    brush = traitlets.Int(BRUSH, read_only=True).tag(sync=True)
    # Strokes travel rather than pixels: they are smaller, every view of the pad can draw them, and so can Python.
    strokes = traitlets.List(help="lists of [x, y] in pixels of the pad").tag(sync=True)
    seen = traitlets.Bytes(b"", help="28 * 28 grey values, or empty").tag(sync=True)
    probabilities = traitlets.List(traitlets.Float(), help="one for each digit, or empty").tag(sync=True)
    error = traitlets.Unicode("", help="what went wrong in `recognise`, in one line").tag(sync=True)
    answers = traitlets.Int(0, help="how many so far: tells the browser that its answer has come").tag(sync=True)

    def __init__(self, recognise: Callable[[np.ndarray], np.ndarray], **traits):
        super().__init__(**traits)
        self.recognise = recognise

    def __repr__(self):  # what a reader on GitHub sees in its place
        return "A drawing pad: run this notebook to draw on it"

    @property
    def image(self) -> np.ndarray | None:
        """The digit on the pad as the network sees it, (28, 28) uint8, or None while the pad is empty."""
        if not self.seen:
            return None
        return np.frombuffer(self.seen, np.uint8).reshape(MNIST_SIZE, MNIST_SIZE).copy()

    def clear(self) -> None:
        """Empty the pad."""
        self.draw([])

    def draw(self, strokes: Iterable[np.ndarray]) -> None:
        """Put strokes, (N, 2) arrays of x, y in pixels of the pad, in place of what is on it, and recognise them."""
        strokes = list(strokes)
        draw_strokes(strokes)  # raises on wrong shapes: here the caller sees it
        strokes = [np.asarray(stroke, float).tolist() for stroke in strokes]
        if strokes == self.strokes:
            self._look()  # `recognise` may be another by now
        else:
            self.strokes = strokes

    @traitlets.observe("strokes")
    def _look(self, _change=None) -> None:
        """Answer what is on the pad: what the network sees, its probabilities, or the error, all in one message."""
        seen, probabilities, error = b"", [], ""
        try:
            image = centre_digit(draw_strokes(self.strokes, self.size, self.brush))
            if image.any():
                seen = image.tobytes()
                probabilities = as_probabilities(self.recognise(image))
        except Exception as problem:  # the learner's own network: whatever it raises belongs on the pad
            error = one_line(problem)
        with self.hold_sync():
            self.seen, self.probabilities, self.error = seen, probabilities, error
            self.answers += 1


def as_probabilities(answer) -> list[float]:
    """Ten probabilities of a recogniser as a list; a batch of one is accepted. Raises `ValueError` on anything else."""
    if hasattr(answer, "detach"):  # a torch tensor, perhaps on a GPU and with a gradient
        answer = answer.detach().cpu()
    answer = np.asarray(answer, float)
    if answer.size != DIGITS:
        raise ValueError(f"recognise returned shape {answer.shape}, expected {DIGITS} probabilities")
    if not ((answer >= -1e-6) & (answer <= 1 + 1e-6)).all():  # also false for NaN
        raise ValueError(
            f"recognise returned numbers from {answer.min():.3g} to {answer.max():.3g}, "
            f"expected probabilities between 0 and 1: is the softmax missing?"
        )
    return answer.ravel().clip(0, 1).tolist()


# Appears only after a moment, so that quick figures do not make it flash.
WORKING = """<style>@keyframes flcourse-appear { to { opacity: 1 } }</style>
<em style="opacity: 0; animation: flcourse-appear 0s 0.3s forwards">working ...</em>"""
FAILED = f'<span style="color: var(--jp-error-color1, {ORANGE})">{{}}</span>'
WHOLE = "calc(100% - 4px)"  # ipywidgets puts a margin of 2 pixels around everything
SCREEN_DPI, PNG_DPI = 80, 160  # twice as many pixels as shown: sharp on dense screens too


class Explorer(ipywidgets.VBox):
    """Controls and the image that they change; made by `explore`."""

    def __init__(self, figure_function: Callable[..., Figure], controls: dict[str, Any]):
        self.figure_function, self.controls = figure_function, controls
        self.image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width=WHOLE))
        self.status = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="32px", margin="0 0 0 4px"))
        self._running, self._stale = threading.Lock(), False
        self.image.value = self._png()  # a mistake in the function itself is raised here, with its traceback
        self._note = KernelNote()
        super().__init__([*controls.values(), self.status, self.image, self._note])
        self.add_class("flcourse-explore")
        for control in controls.values():
            control.observe(self._update, "value")

    def __repr__(self):  # what a reader on GitHub sees in its place
        return f"Controls for {', '.join(self.controls)}: run this notebook to move them"

    def _ipython_display_(self) -> None:
        show_with_note(self, self._note.note)

    def close(self) -> None:
        """Take it off the page with all that it is made of."""
        close_all(self)

    def _update(self, _change=None) -> None:
        """Draw the image of the controls' values; while that runs, further changes only ask for one more run.

        JupyterLab runs widgets' messages in a thread of their own, beside the cells, hence the lock. `_stale` is set
        before the lock is tried and looked at after it is given back, so the last value is never missed.
        """
        self._stale = True
        while self._stale and self._running.acquire(blocking=False):
            try:
                self._stale = False
                self.status.value, done = WORKING, ""
                self.image.value = self._png()
            except Exception as problem:  # shown; the image of the last good values stays
                done = FAILED.format(html.escape(one_line(problem)))
            finally:
                self.status.value = done
                self._running.release()

    def _png(self) -> bytes:
        figure = self.figure_function(**{name: control.value for name, control in self.controls.items()})
        if not isinstance(figure, Figure):
            raise TypeError(f"the function returned {type(figure).__name__}, expected a matplotlib Figure")
        png = to_png(figure, PNG_DPI)
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close(figure)  # one that pyplot made would be kept for ever, and shown again below the cell
        self.image.layout.width = f"{figure.get_figwidth() * SCREEN_DPI:.0f}px"
        return png


def explore(figure_function: Callable[..., Figure], /, **controls) -> Explorer:
    """Show `figure_function(**values)` with a control for each value; moving one draws the figure anew.

    Controls are abbreviated as for ipywidgets' `interact`, `(low, high, step)`, a list of choices, a bool, or are
    widgets; they start at the function's default where it has one. Unlike `interact` it draws when a slider is let go,
    runs slow functions (a small training) only for the last of several moves, and shows an exception as one line.
    """
    return Explorer(figure_function, make_controls(figure_function, **controls))


def make_controls(figure_function: Callable[..., Figure], /, **controls) -> dict[str, Any]:
    """`explore`'s controls by name, before there is an image."""
    parameters, made = inspect.signature(figure_function).parameters, {}
    for name, abbreviation in controls.items():
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        control = ipywidgets.interactive.widget_from_abbrev(abbreviation, default)
        if not isinstance(control, ipywidgets.ValueWidget):
            raise TypeError(f"{name}={abbreviation!r}: expected (low, high), a list, a bool, a number or a widget")
        _dress(control, name)
        made[name] = control
    return made


def _dress(control: Any, name: str) -> None:
    """Give a value widget, which by its type alone need have none of these, a name, a width and a calm hand."""
    control.description = control.description or name.replace("_", " ")
    control.style.description_width = "8em"
    control.layout.width = control.layout.width or f"min({WHOLE}, 30em)"
    if control.has_trait("continuous_update"):
        control.continuous_update = False
