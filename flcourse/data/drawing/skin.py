"""What lies on a drawn face's skin: eight maps over the head's surface laid flat, the same for every face.

A face shows them more or less strongly; the mesh carries them along: wrinkles and hairline follow the person's shape.
"""

from functools import cache

import cv2
import numpy as np

from flcourse.data.drawing import shape
from flcourse.data.drawing.curves import spline

_LEFT, _ABOVE = 220, 190  # mm of the maps left of and above the point between the eyes
_WIDTH, _HEIGHT = 2 * _LEFT, 420  # mm
_STEP = 1.5  # mm for a pixel of the maps: small enough for the processor's cache

# How the maps are stored in bytes: value = (byte - offset) / factor.
_MAPS = ("hollow", "red", "moustache", "beard", "laugh", "age", "beyond", "strands")
_FACTORS = (255, 255, 255, 255, 120, 120, 1, 30)
_OFFSETS = (0, 0, 0, 0, 0, 0, 128, 128)


def read_maps(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The maps at places (h, w) of the skin laid flat, mm; each (h, w) float32.

    `hollow` is what light reaches less, `red` what blood shines through, `moustache` and `beard` where they grow,
    `laugh` and `age` are lines, all 0 to about 1; `beyond` is mm behind the hairline, negative on the face; `strands`
    is streaky noise that runs with the hair, of deviation 1.
    """
    at_x, at_y = (
        (x + np.float32(_LEFT + 0.5)) * np.float32(1 / _STEP),
        (y + np.float32(_ABOVE + 0.5)) * np.float32(1 / _STEP),
    )
    at_x, at_y = cv2.convertMaps(at_x, at_y, cv2.CV_16SC2)
    planes = []
    for stack in _stacks():
        planes += cv2.split(cv2.remap(stack, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    values = [
        np.multiply(plane, np.float32(1 / k), dtype=np.float32) for plane, k in zip(planes, _FACTORS, strict=True)
    ]
    for value, k, offset in zip(values, _FACTORS, _OFFSETS, strict=True):
        if offset:
            value -= np.float32(offset / k)
    return dict(zip(_MAPS, values, strict=True))


@cache
def beyond_hairline() -> np.ndarray:
    """How far behind the hairline each vertex of the mesh lies (V,), mm."""
    flat = shape.head().plane.astype(np.float32)
    return read_maps(flat[:, :1], flat[:, 1:])["beyond"][:, 0]


@cache
def _stacks() -> tuple[np.ndarray, np.ndarray]:
    """The maps as two (H, W, 4) uint8 images, which OpenCV samples fastest."""
    x, y = np.meshgrid(np.arange(_WIDTH) - _LEFT, np.arange(_HEIGHT) - _ABOVE)
    outline = shape.head().plane.reshape(shape.RINGS, -1, 2)[shape.OUTLINE]
    maps = [*_tones(x, y, outline[:17]), _lines(_LAUGH, 2, 1.6), sum(_lines(c, 1, blur) for c, blur in _AGE)]
    maps += [_beyond(outline), _strands(x, y)]
    small = (round(_WIDTH / _STEP), round(_HEIGHT / _STEP))
    bytes_ = []
    for values, k, offset in zip(maps, _FACTORS, _OFFSETS, strict=True):
        values = cv2.resize(values.astype(np.float32), small, interpolation=cv2.INTER_AREA)
        bytes_.append(np.clip(values * k + offset + 0.5, 0, 255).astype(np.uint8))
    return np.stack(bytes_[:4], axis=2), np.stack(bytes_[4:], axis=2)


def _tones(x: np.ndarray, y: np.ndarray, jaw: np.ndarray) -> list[np.ndarray]:
    """Hollows, red places, moustache, beard."""
    away = np.abs(x)

    def spot(at_x: float, at_y: float, wide: float, high: float) -> np.ndarray:
        return np.exp(-0.5 * (((away - at_x) / wide) ** 2 + ((y - at_y) / high) ** 2))

    hollow = 0.32 * spot(14, -3, 5, 6) + 0.30 * spot(28, -6, 14, 6) + 0.10 * spot(26, 11, 11, 3.5)  # about the eyes
    hollow += 0.22 * spot(13, 38, 2.5, 5) + 0.15 * spot(0, 49, 8, 3)  # beside and below the nose
    hollow += 0.18 * spot(0, 84, 12, 4) + 0.15 * spot(24, 67, 4, 5)  # below and beside the lips
    red = spot(38, 32, 14, 12) + 0.8 * spot(0, 33, 8, 7) + 0.3 * spot(0, 95, 12, 8)
    moustache = spot(0, 54, 15, 4) * (away < 30) + 0.8 * spot(19, 62, 5, 7)
    line = np.ones((_HEIGHT, _WIDTH), np.uint8)
    cv2.polylines(line, [np.round(np.add(jaw, (_LEFT, _ABOVE))).astype(np.int32)], False, 0, 1)
    from_jaw = cv2.distanceTransform(line, cv2.DIST_L2, 5)
    beard = np.exp(-0.5 * (from_jaw / 14) ** 2) * np.clip((y - 5) / 25, 0, 1)
    beard = np.maximum(np.maximum(beard, spot(0, 95, 22, 12)), (y > 60) * spot(24, 82, 12, 18))
    return [hollow, red, moustache, beard * (1 - spot(0, 68, 17, 9))]


# Lines of the left half, in mm of the skin laid flat.
_LAUGH = [[(12, 36), (18, 43), (24, 55), (28, 68), (28, 76)]]
_AGE = [
    ([[(8, -34), (28, -37), (44, -33)], [(0, -45), (28, -47), (46, -43)], [(0, -55), (24, -56)]], 1.2),  # forehead
    ([[(46, -1), (54, -4)], [(46, 3), (55, 4)], [(44, 7), (52, 11)]], 1.0),  # crow's feet
    ([[(14, 9), (22, 14), (33, 12)], [(4, -18), (5, -26)], [(24, 80), (27, 92)]], 1.2),  # bags, frown, chin
]


def _lines(curves: list[list[tuple[int, int]]], width: int, blur: float) -> np.ndarray:
    drawn = np.zeros((_HEIGHT, _WIDTH), np.float32)
    for curve in curves:
        smooth = spline(len(curve), 6) @ np.array(curve, float)
        for side in (1, -1):
            fixed = np.round((smooth * (side, 1) + (_LEFT, _ABOVE)) * 16).astype(np.int32)
            cv2.polylines(drawn, [fixed], False, 1.0, width, cv2.LINE_8, 4)
    return cv2.GaussianBlur(drawn, (0, 0), blur)


def _beyond(outline: np.ndarray) -> np.ndarray:
    """Distance to the hairline: over the forehead, down the sideburn, behind the ear to the neck."""
    behind_ear = [outline[0] + (-2, 14), outline[0] + (-12, 10), (-130, -12), (-150, 40), (-220, 60), (-220, 240)]
    right = np.array([outline[0], *behind_ear])
    skin = np.concatenate([outline[16:], right, right[::-1] * (-1, 1)])
    inside = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    cv2.fillPoly(inside, [np.round(np.add(skin, (_LEFT, _ABOVE))).astype(np.int32)], 1)
    return cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) - cv2.distanceTransform(inside, cv2.DIST_L2, 5)


def _strands(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Streaks that run from the top of the face outwards."""
    angle, radius = np.arctan2(x, y + 30.0) / (2 * np.pi) + 0.5, np.hypot(x, y + 30.0).astype(np.float32)
    rng = np.random.default_rng(1)
    strands = np.zeros((_HEIGHT, _WIDTH), np.float32)
    for count, weight in ((60, 0.6), (180, 1.0), (420, 0.8)):
        row = rng.standard_normal((12, count), np.float32)
        row = np.concatenate([row, row[:, :1]], axis=1)
        strands += weight * cv2.remap(row, (angle * count).astype(np.float32), radius / 22, cv2.INTER_LINEAR)
    return strands / strands.std()
