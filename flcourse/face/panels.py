"""Text, meters and their dark ground, drawn on an image in place: what overlays tell with (OpenCV)."""

from collections.abc import Sequence

import cv2
import numpy as np

from flcourse.colours import BLACK, WHITE

_GROUND = 0.3  # how much of the image shows through a panel's dark ground
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def panel_unit(image: np.ndarray) -> float:
    """What sizes on a panel are told in: 1 on an image of 480 rows."""
    return float(np.clip(min(image.shape[:2]) / 480, 0.7, 4))


def write_text(image: np.ndarray, text: str, x: float, y: float, scale: float, colour: tuple = WHITE) -> None:
    """Text from its lower left corner on, with a dark rim."""
    at = round(x), round(y)
    thickness = max(1, round(1.6 * scale))
    cv2.putText(image, text, at, _FONT, scale, BLACK, thickness + 2, cv2.LINE_AA)
    cv2.putText(image, text, at, _FONT, scale, colour, thickness, cv2.LINE_AA)


def text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, _FONT, scale, max(1, round(1.6 * scale)))[0][0]


def fill_rectangle(image: np.ndarray, left: float, top: float, width: float, height: float, colour: tuple) -> None:
    if width > 0 and height > 0:
        low, high = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
        cv2.rectangle(image, low, high, colour, cv2.FILLED)


def draw_panel(image: np.ndarray, left: float, top: float, width: float, height: float) -> tuple[float, float]:
    """Darken a rectangle, moved inside the image where it leaves it; returns its left and top."""
    left = float(np.clip(left, 0, max(0, image.shape[1] - width)))
    top = float(np.clip(top, 0, max(0, image.shape[0] - height)))
    part = image[round(top) : round(top + height), round(left) : round(left + width)]
    part[...] = cv2.convertScaleAbs(part, alpha=_GROUND) if part.size else part
    return left, top


def draw_bar(
    image: np.ndarray,
    left: float,
    top: float,
    width: float,
    height: float,
    value: float,
    colour: tuple,
    marks: Sequence[float] = (),
) -> None:
    """A meter, filled from the left to `value`, 0 to 1, in a frame; `marks` are its limits."""
    fill_rectangle(image, left - 1, top - 1, width + 2, height + 2, BLACK)
    fill_rectangle(image, left, top, width, height, (90, 90, 90))
    fill_rectangle(image, left, top, width * float(np.clip(value, 0, 1)), height, colour)
    for mark in marks:
        fill_rectangle(image, left + mark * width, top - 2, max(1, height / 8), height + 4, WHITE)
