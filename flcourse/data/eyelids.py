"""Closed eyes for training, made of photographs of open ones: the lids are drawn together by a warp, points and all.

Sets of faces hardly show a closed eye, and a network that never saw one leaves its lids apart. Here every column across
an eye is stretched piece by piece: from the brow to the upper lid it grows, from lid to lid it is squeezed into a line
(of lashes and what is left of the iris), from the lower lid to the cheek it grows a little. So skin stays skin, the
light stays what it is, and the points stay exact.
"""

import cv2
import numpy as np

from flcourse.points import PARTS

# Of each eye: its own points, from the corner at the picture's left, over the upper lid to the other, and back below.
EYES = ((list(PARTS["right_eye"]), list(PARTS["right_brow"])), (list(PARTS["left_eye"]), list(PARTS["left_brow"])))

MEET = 0.8  # where shut lids meet, in parts of the way from the upper to the lower one: the upper one comes down
BROW, CHEEK = 0.12, 0.35  # what stays above and below the lids, at least, in parts of the eye's width
MARGIN = 0.12  # beyond the corners, in parts of the width: there the change fades
SOFT = 0.06  # of the lids' curves, in parts of the width
LEAST = 4.0  # px that an eye must be wide; of a smaller one nothing can be seen


def shut_eyes(crop: np.ndarray, points: np.ndarray, closed: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Close the right and the left eye by parts `closed`, from 0 (as they are) to 1 (shut), as far as they are open.

    `crop` is (H, W) or (H, W, 3) uint8, `points` (68, 2) in its pixels. Returns both anew; an eye that is turned away,
    or too small to be seen, stays as it is.
    """
    points = np.array(points, float)
    for (eye, brow), part in zip(EYES, closed, strict=True):
        if part > 0:
            crop, points[eye] = _shut(crop, points[eye], points[brow], part)
    return crop, points


def _shut(crop: np.ndarray, eye: np.ndarray, brow: np.ndarray, part: float) -> tuple[np.ndarray, np.ndarray]:
    """One eye: points (6, 2) from corner to corner and back, brow (5, 2)."""
    along = eye[3] - eye[0]
    width = float(np.hypot(*along))
    if width < LEAST or along[0] <= 0:
        return crop, eye
    axes = np.array([along, (-along[1], along[0])]) / width  # rows: along the eye, and down across it
    (x1, y1), (x2, y2), _, (x4, y4), (x5, y5) = ((eye - eye[0]) @ axes.T)[1:]  # x from 0 to `width`
    if not (0 < x1 < x2 < width and 0 < x5 < x4 < width and min(y4, y5) > max(y1, y2)):
        return crop, eye
    places = np.linspace(-MARGIN, 1 + MARGIN, 64) * width
    upper = _curve(places, [0, x1, x2, width], [0, y1, y2, 0], SOFT * len(places))
    lower = np.maximum(_curve(places, [0, x5, x4, width], [0, y5, y4, 0], SOFT * len(places)), upper)
    meet = upper + MEET * (lower - upper)
    new_upper, new_lower = upper + part * (meet - upper), lower + part * (meet - lower)
    highest = min(y1, y2)
    top = np.clip(0.9 * ((brow - eye[0]) @ axes[1]).max(), highest - 0.9 * width, highest - BROW * width)
    bottom = max(y4, y5) + CHEEK * width

    corners = eye[0] + np.array([(x, y) for x in places[[0, -1]] for y in (top, bottom)]) @ axes
    left, high = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    right, low = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, crop.shape[1::-1])
    moved = eye.copy()
    for index, x, curve in ((1, x1, new_upper), (2, x2, new_upper), (4, x4, new_lower), (5, x5, new_lower)):
        moved[index] = eye[0] + (x, np.interp(x, places, curve)) @ axes
    if right - left < 2 or low - high < 2:  # outside the crop
        return crop, moved
    at = np.stack(np.meshgrid(np.arange(left, right), np.arange(high, low)), axis=-1)  # (h, w, 2) crop pixels
    x, y = np.moveaxis((at - eye[0]) @ axes.T, -1, 0)
    before = [top, *(np.interp(x, places, curve) for curve in (upper, lower)), bottom]
    after = [top, *(np.interp(x, places, curve) for curve in (new_upper, new_lower)), bottom]
    source = y
    for k in range(3):  # brow to lid, lid to lid, lid to cheek
        rate = (before[k + 1] - before[k]) / np.maximum(after[k + 1] - after[k], 1e-3)
        within = (y >= after[k]) & (y < after[k + 1])
        source = np.where(within, before[k] + (y - after[k]) * rate, source)
    fade = np.clip(np.minimum(x - places[0], places[-1] - x) / (MARGIN * width), 0, 1)
    map_x, map_y = np.moveaxis((at + ((source - y) * fade)[..., None] * axes[1]).astype(np.float32), -1, 0).copy()
    crop = crop.copy()
    crop[high:low, left:right] = cv2.remap(crop, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop, moved


def _curve(places: np.ndarray, x: list[float], y: list[float], soft: float) -> np.ndarray:
    """Straight lines through points, rounded."""
    line = np.interp(places, x, y).astype(np.float32)
    return cv2.GaussianBlur(line[None], (0, 0), soft, borderType=cv2.BORDER_REPLICATE)[0].astype(float)
