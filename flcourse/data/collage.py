"""Parts of grey images laid on others: outlines, the matrices that place them, pasting with soft edges."""

from collections.abc import Sequence

import cv2
import numpy as np

from flcourse.data.photos import GREY
from flcourse.points import apply, compose

_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)  # (24, 2)
SQUARE = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


def similarity_about(
    source: Sequence[float] | np.ndarray,
    target: Sequence[float] | np.ndarray,
    scale: float,
    roll: float = 0.0,
    mirror: bool = False,
) -> np.ndarray:
    """The (2, 3) matrix that brings point `source` to `target`, scaled, turned by `roll` degrees, mirrored first."""
    cos, sin = np.cos(np.deg2rad(roll)) * scale, np.sin(np.deg2rad(roll)) * scale
    linear = np.array([[cos, sin], [-sin, cos]])
    if mirror:
        linear[:, 0] *= -1
    return np.column_stack([linear, np.asarray(target) - linear @ np.asarray(source, float)])


def scale_of(matrix: np.ndarray) -> float:
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def moved(face: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A face (x, y, side) moved by a (2, 3) matrix."""
    return np.array([*apply(face[:2], matrix), face[2] * scale_of(matrix)])


def warp_grey(grey: GREY, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resample by a (2, 3) matrix from full-size pixels, from the copy that is nearest above the wanted size."""
    level = int(np.clip(np.log2(1 / scale_of(matrix)) + 0.3, 0, len(grey) - 1))
    step = 2.0**level
    to_full = np.array([[step, 0, (step - 1) / 2], [0, step, (step - 1) / 2]])  # integers are at pixel centres
    return cv2.warpAffine(
        grey[level],
        compose(matrix, to_full),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def paste(scene: np.ndarray, grey: GREY, matrix: np.ndarray, outline: np.ndarray, feather: float) -> None:
    """Lay what `outline` (K, 2), convex, in the pixels of `grey`, encloses onto the scene, with a soft edge or none."""
    outline = apply(outline, matrix)
    size = len(scene)
    reach = 2 * feather + 1
    left, top = (int(v) for v in np.floor(outline.min(axis=0) - reach).clip(0, size))
    right, bottom = (int(v) for v in np.ceil(outline.max(axis=0) + reach + 1).clip(0, size))
    if right - left < 2 or bottom - top < 2:
        return
    to_part = matrix - np.array([[0, 0, left], [0, 0, top]])
    cut = warp_grey(grey, to_part, right - left, bottom - top)
    mask = np.zeros(cut.shape, np.uint8)
    fill(mask, outline - (left, top), 255)
    if feather > 0.6:  # px; less is not seen
        mask = cv2.GaussianBlur(mask, (0, 0), feather)
    part = scene[top:bottom, left:right]
    alpha = mask.astype(np.float32) / 255
    part[:] = part + (cut.astype(np.float32) - part) * alpha


def fill(image: np.ndarray, outline: np.ndarray, value: float) -> None:
    far = 2000  # px; OpenCV's fixed-point coordinates must not overflow
    cv2.fillConvexPoly(image, np.round(outline.clip(-far, far) * 16).astype(np.int32), float(value), cv2.LINE_AA, 4)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
