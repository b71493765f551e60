"""Coloured, textured shapes, 32 x 32: ten classes drawn on the spot, where CIFAR-10 is not to be had (OpenCV, NumPy).

What tells the classes apart is their outline alone. Place, size, angle, colours, textures, background, bits of clutter
and noise vary freely, so that no single pixel says much: a network must look at neighbouring pixels together, which is
what convolutions do.
"""

from math import cos, pi, sin

import cv2
import numpy as np

SIZE = 32  # pixels, as in CIFAR-10
_FINE = 2  # outlines are filled on a grid this much finer and averaged: smooth edges
_BITS = 4  # fractional bits of OpenCV's integer coordinates
# Lengths are in half sides of the image, angles in radians. With these a small CNN gets about nine of ten right,
# as it does on CIFAR-10, and a network that sees pixels without their neighbourhood about half.
_RADIUS, _SHIFT, _TURN, _NOISE = (0.38, 0.75), 0.4, 0.8, (10, 90)  # noise: from its darkest to its lightest

_Y, _X = (np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2 - 1).astype(np.float32)  # (32, 32) each, -1 to 1


def _regular(corners: int, radius: float = 1.0, inner: float | None = None) -> np.ndarray:
    """A regular polygon with its first corner on top, or a star where `inner` is the radius of its notches."""
    radii = np.resize([radius] if inner is None else [radius, inner], corners if inner is None else 2 * corners)
    angles = np.linspace(0, 2 * pi, len(radii), endpoint=False)
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1) * radii[:, None]


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * pi, 40, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y - 2.5], axis=1) / 16


def _moon() -> np.ndarray:
    """A disc without another one that covers its right side; the two circles meet in the moon's tips."""
    outer, inner = np.linspace(0.7, 2 * pi - 0.7, 30), np.linspace(2 * pi - 1.12, 1.12, 30)
    bite = np.stack([np.cos(inner), np.sin(inner)], axis=1) * sin(0.7) / sin(1.12)
    bite[:, 0] += cos(0.7) - bite[0, 0]
    disc = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    return np.concatenate([disc, bite]) * 0.95 + np.array([0.15, 0])


# Each class's outline in a circle of radius about 1: closed polygons (N, 2), y down; where two overlap is a hole.
_CORNER = np.array([(1, 3), (1, 1), (3, 1)]) / 3
_OUTLINES = {
    "circle": [_regular(40, 0.9)],
    "ring": [_regular(40, 0.95), _regular(40, 0.52)],
    "square": [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.75],
    "triangle": [_regular(3, 1.1)],
    "star": [_regular(5, 1.1, 0.45)],
    "cross": [np.concatenate([_CORNER, _CORNER[::-1] * (1, -1), -_CORNER, _CORNER[::-1] * (-1, 1)])],
    "heart": [_heart()],
    "moon": [_moon()],
    "arrow": [np.array([(0, -1.05), (0.8, -0.1), (0.3, -0.1), (0.3, 1.05), (-0.3, 1.05), (-0.3, -0.1), (-0.8, -0.1)])],
    "hourglass": [np.array([(-0.75, -0.9), (0.75, -0.9), (0.12, 0), (0.75, 0.9), (-0.75, 0.9), (-0.12, 0)])],
}
_SPECK = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])  # clutter: a rectangle, once stretched
CLASSES = tuple(_OUTLINES)


def draw_shapes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `n` images, (n, 32, 32, 3) uint8 RGB, and their labels, (n,) int64 indices into `CLASSES`.

    Image i depends on `seed` and i only: the first hundred of a thousand are the hundred drawn alone.
    """
    images, labels = np.empty((n, SIZE, SIZE, 3), np.uint8), np.empty(n, np.int64)
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        labels[i] = rng.integers(len(CLASSES))
        images[i] = draw_shape(CLASSES[labels[i]], rng)
    return images, labels


def draw_shape(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one image of the class `name`, (32, 32, 3) uint8 RGB."""
    ground, shape, clutter = _three_colours(rng)
    specks = [
        _place(_SPECK * rng.uniform(0.03, 0.18, 2), rng.uniform(-1, 1, 2), rng.uniform(0, pi))
        for _ in range(rng.integers(4))  # they belong to no class
    ]
    radius = rng.uniform(*_RADIUS)
    stretch = np.array([radius, radius * rng.uniform(0.85, 1)])
    centre, angle = rng.uniform(-1, 1, 2) * min(_SHIFT, 1 - radius), rng.uniform(-_TURN, _TURN)
    outline = [_place(polygon * stretch, centre, angle) for polygon in _OUTLINES[name]]
    image = _lay(_texture(ground, rng), clutter, specks)
    image = _lay(image, _texture(shape, rng), outline)
    image += (rng.random(image.shape, np.float32) - 0.5) * float(rng.uniform(*_NOISE))
    return cv2.merge([cv2.convertScaleAbs(plane) for plane in np.maximum(image, 0)])


def _three_colours(rng: np.random.Generator) -> np.ndarray:
    """Colours of ground, shape and clutter, (3, 3, 1, 1) RGB: ground and shape always differ in brightness."""
    hues = rng.uniform(0, 2 * pi, (3, 1)) + np.array([0, 2, 4]) * pi / 3
    dark, light = rng.uniform(50, 100), rng.uniform(135, 190)
    brightness = [dark, light] if rng.random() < 0.5 else [light, dark]
    colours = np.array([*brightness, rng.uniform(70, 150)])[:, None] + rng.uniform(15, 60, (3, 1)) * np.cos(hues)
    return colours[..., None, None].astype(np.float32)


def _texture(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A surface of one colour (3, 1, 1), shaded, striped, checked or blotched: (3, 32, 32) float32."""
    angle, phase, pitch = rng.uniform((0, 0, 7), (2 * pi, 2 * pi, 14)).tolist()
    along = cos(angle) * _X + sin(angle) * _Y
    match rng.integers(4):
        case 0:
            pattern = along
        case 1:
            pattern = np.sin(pitch * along + phase)
        case 2:
            pattern = np.sin(pitch * along + phase) * np.sin(pitch * (cos(angle) * _Y - sin(angle) * _X))
        case _:
            blotches = rng.uniform(-1, 1, (5, 5)).astype(np.float32)
            pattern = cv2.resize(blotches, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    tint = rng.uniform(4, 22) + rng.uniform(-10, 10, (3, 1, 1))  # how far each of R, G, B goes up and down
    return colour + tint.astype(np.float32) * pattern


def _place(polygon: np.ndarray, centre: np.ndarray, angle: float) -> np.ndarray:
    """Turn a polygon (N, 2) and move it; to OpenCV's integer coordinates on the fine grid, (N, 2) int32."""
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    return ((polygon @ turn + (centre + 1)) * (SIZE * _FINE / 2 * (1 << _BITS))).astype(np.int32)


def _lay(image: np.ndarray, paint: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    """`image` with `paint`, a colour or an image, laid over it inside the polygons."""
    mask = np.zeros((SIZE * _FINE, SIZE * _FINE), np.uint8)
    cv2.fillPoly(mask, polygons, 255, cv2.LINE_AA, _BITS)
    inside = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA) * np.float32(1 / 255)  # (32, 32)
    return image + inside * (paint - image)
