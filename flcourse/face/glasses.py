"""Sunglasses: a shape in three dimensions, put on a face so that they turn with the head (OpenCV and NumPy)."""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from flcourse.face.masks import on_head, region, wearable
from flcourse.images import FIXED, fixed_point

_BLACK, _LIGHT = np.array([24.0, 20.0, 22.0]), np.array([255.0, 255.0, 255.0])
_LENS_TOP, _LENS_LOW = np.array([28.0, 22.0, 40.0]), np.array([150.0, 82.0, 40.0])  # plum to amber, as many are
_FRAME_SHINE = np.array([120.0, 110.0, 112.0])


class _Glasses(NamedTuple):
    """The parts, (N, 3) mm each, as in HEAD; for each of the two sides, the person's right first."""

    rims: list[np.ndarray]
    lenses: list[np.ndarray]
    shines: list[np.ndarray]  # on the rims' upper edges
    glints: list[np.ndarray]  # bands of light on the lenses
    arms: list[np.ndarray]
    bridge: np.ndarray


@cache
def _glasses() -> _Glasses:
    """Build the sunglasses: two lenses, wider above, on a front that curves about the face, and arms to the ears."""

    def bent(flat: np.ndarray) -> np.ndarray:
        return np.column_stack([flat, 15 - 0.0062 * flat[:, 0] ** 2])

    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    # A superellipse, narrower below and drawn up at the outer corner.
    x, y = (np.sign(f(angle)) * np.abs(f(angle)) ** 0.72 for f in (np.cos, np.sin))
    lens = np.column_stack([32.5 + 24.5 * x * (1 - 0.13 * y) + 1.5 * y * (x < 0), 5 + 20 * y - 2.2 * x * (y < 0)])
    middle = np.array([32.5, 4.5])
    rim = middle + (lens - middle) * (1.13, 1.15) + (0, -0.8)
    rim += np.where((x > 0.55) & (y < -0.2), 1, 0)[:, None] * (3.0, -1.2)
    top = np.arange(48)[(angle > np.pi * 1.12) & (angle < np.pi * 1.88)]
    shine = np.concatenate([rim[top] + (0, 1.1), (rim[top] + (0, 2.0))[::-1]])
    glint = np.array([[28, -16], [37, -16], [25, 26], [18, 22.0]])
    arm = np.array([[60.5, -11, -5], [60.5, -4, -5], [74, 1, -74], [76, 7, -88], [75, -1, -86], [73.5, -5, -72.0]])
    bridge = np.array([[-11, -4], [-5, -6.5], [5, -6.5], [11, -4], [11, 1.5], [5, -1.5], [-5, -1.5], [-11, 1.5]])
    sides = [np.array([-1.0, 1.0]), np.array([1.0, 1.0])]
    rims, lenses, shines = ([bent(part * side) for side in sides] for part in (rim, lens, shine))
    return _Glasses(
        rims,
        lenses,
        shines,
        # Light falls on both from one side.
        [bent(glint + np.array([shift, 0.0])) for shift in (-63, 0)],
        [arm * (side[0], 1, 1) for side in sides],
        bent(bridge.astype(float)),
    )


def put_glasses(image: np.ndarray, points: np.ndarray) -> None:
    """Put sunglasses on the face with these points (68, 2), in place; `image` is (H, W, 3) uint8 RGB.

    Faces too small to wear them, or outside the image, are left alone.
    """
    if not wearable(points, image):
        return
    glasses = _glasses()
    parts = [*glasses.rims, *glasses.lenses, *glasses.shines, *glasses.glints, *glasses.arms, glasses.bridge]
    height, width = image.shape[:2]
    # Eye corners and the bridge of the nose: what glasses rest on, and no blink moves.
    seen = on_head(points, (width, height), np.concatenate(parts), [36, 39, 42, 45, 27, 28])
    if seen is None:
        return
    mm = (
        float(np.hypot(*(seen[48 * 2] - seen[48 * 3]))) / 114
    )  # px for a millimetre, from one lens's outer end to the other's
    where = region(seen, 4 + 6 * mm, image.shape)
    if where is None:
        return
    seen = seen - (where[1].start, where[0].start)
    flat = iter(np.split(seen, np.cumsum([len(part) for part in parts])[:-1]))
    rims, lenses, shines, glints, arms = ([next(flat), next(flat)] for _ in range(5))
    bridge = next(flat)
    under = image[where].astype(np.float32)

    def cover(*shapes: np.ndarray) -> np.ndarray:
        mask = np.zeros(under.shape[:2], np.uint8)
        for shape in shapes:
            cv2.fillPoly(mask, [fixed_point(shape)], 255, cv2.LINE_AA, FIXED)
        return mask.astype(np.float32) / 255

    def paint(mask: np.ndarray, colour: np.ndarray | float, opacity: float = 1.0) -> None:
        nonlocal under
        mask = (mask * opacity)[..., None]
        under += mask * (np.asarray(colour, np.float32) - under)

    down = points[[40, 41, 46, 47]].mean(axis=0) - points[[19, 24]].mean(axis=0)
    down = down / max(float(np.hypot(*down)), 1e-6)
    front = cover(*rims, bridge)
    # The shadow that they throw on the cheeks.
    shift = np.array([[1, 0, 3 * mm * down[0]], [0, 1, 3 * mm * down[1]]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(front, shift, front.shape[::-1]), (0, 0), max(1.6 * mm, 0.5))
    paint(shadow, 0.0, 0.3)

    turned = rims[1].mean(axis=0) - rims[0].mean(axis=0)
    for side, arm in zip((-1, 1), arms, strict=True):
        # An arm is seen where the head turns it outwards: its end beside its beginning, away from the nose.
        if side * (arm[3] - arm[0]) @ turned > 0:
            paint(cover(arm), 1.4 * _BLACK)
    glass = cover(*lenses)
    rows, columns = np.mgrid[: under.shape[0], : under.shape[1]].astype(np.float32)
    middle = np.mean(lenses, axis=(0, 1))
    below = ((columns - middle[0]) * down[0] + (rows - middle[1]) * down[1]) / (40 * mm) + 0.5
    below = np.clip(below, 0, 1)[..., None]
    tint = _LENS_TOP.astype(np.float32) * (1 - below) + _LENS_LOW.astype(np.float32) * below
    under += glass[..., None] * (0.95 - 0.3 * below) * (tint - under)
    paint(cover(*glints) * glass, _LIGHT, 0.16)
    paint(np.clip(front - glass, 0, 1), _BLACK)
    paint(cover(*shines), _FRAME_SHINE, 0.55)
    image[where] = (under + 0.5).astype(np.uint8)
