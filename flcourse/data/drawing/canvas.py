"""A canvas for painting faces: soft anti-aliased shapes, noise, and a shaded mesh (OpenCV and NumPy).

Colours are RGB floats, 0 to 1; shapes are in image pixels, integers at pixel centres, like all points of the course.
"""

from functools import cache

import cv2
import numpy as np

_SUBPIXEL = 4  # bits of OpenCV's fixed-point coordinates
_FINE, _FINE_AREA = 4, 3000  # how much finer small sharp shapes are filled; px: what counts as small
_UNSEEN = 0.03  # less is not worth painting
_TO_ONE = np.float32(1 / 255)
_QUARTER_TURN = np.array([-1.0, 1.0])
_CIRCLE = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)


class Canvas:
    """An RGB image (H, W, 3) float32 and the light that falls on each of its pixels."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.light = np.ones_like(image)
        self.size = len(image)

    def cover(self, shape: np.ndarray, blur: float = 0.0) -> tuple[tuple[slice, slice], np.ndarray] | None:
        """How much of each pixel a polygon (N, 2), or several (K, N, 2), covers, 0 to 1, and where in the image."""
        reach = 2 + int(2.5 * blur)
        left, top, width, height = cv2.boundingRect(shape.reshape(-1, 2).astype(np.float32))
        right, bottom = min(left + width + reach, self.size), min(top + height + reach, self.size)
        left, top = max(left - reach, 0), max(top - reach, 0)
        if left >= right or top >= bottom:
            return None
        width, height = right - left, bottom - top
        small = width * height < _FINE_AREA
        if blur < 1 and small:
            # OpenCV's own smooth edges lie 0.6 px outside the shape; filled in finer pixels it is an eighth of a pixel.
            mask = np.zeros((height * _FINE, width * _FINE), np.uint8)
            fixed = ((shape - (left - 0.5, top - 0.5)) * (_FINE * 2**_SUBPIXEL) - 2 ** (_SUBPIXEL - 1) + 0.5).astype(
                np.int32
            )
            cv2.fillPoly(mask, [fixed] if fixed.ndim == 2 else list(fixed), 255, cv2.LINE_8, _SUBPIXEL)
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        else:
            mask = np.zeros((height, width), np.uint8)
            fixed = ((shape - (left, top)) * 2**_SUBPIXEL + 0.5).astype(np.int32)
            cv2.fillPoly(mask, [fixed] if fixed.ndim == 2 else list(fixed), 255, cv2.LINE_AA, _SUBPIXEL)
        if blur > (0.32 if small else 1):  # less is in the edges already
            kernel = _kernel(round(blur * 16))
            mask = cv2.sepFilter2D(mask, cv2.CV_32F, kernel, kernel)  # a third of the time of cv2.GaussianBlur
        else:
            mask = mask * _TO_ONE
        return (slice(top, bottom), slice(left, right)), mask

    def blend(self, where: tuple[slice, slice], mask: np.ndarray, colour: np.ndarray, lit: bool = True) -> None:
        """Paint a colour, (3,) or (h, w, 3), through a mask (h, w)."""
        part = self.image[where]
        if np.ndim(colour) == 1:
            four = np.array([*np.asarray(colour).tolist(), 0.0])  # OpenCV takes four channels
            change = cv2.multiply(self.light[where], four) - part if lit else cv2.subtract(four, part)
        else:
            change = self.light[where] * colour - part if lit else colour - part
        change *= spread(mask)
        part += change

    def fill(
        self,
        shape: np.ndarray,
        colour: np.ndarray,
        opacity: float = 1.0,
        blur: float = 0.0,
        lit: bool = True,
        within: np.ndarray | None = None,
        texture: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Paint a polygon. `within` is an image-sized mask that limits it; `texture` varies the opacity, with `rng`."""
        covered = self.cover(shape, blur) if opacity > _UNSEEN else None
        if covered is None:
            return
        where, mask = covered
        if opacity < 1:
            mask *= np.float32(opacity)
        if within is not None:
            mask *= within[where]
        if texture and rng is not None:
            mask *= np.clip(1 + texture * noise(rng, mask.shape, rng.uniform(0.8, 2.0)), 0, 1)
        self.blend(where, mask, colour, lit)

    def shade(self, shape: np.ndarray, factor: float, blur: float, within: np.ndarray | None = None) -> None:
        """Darken (factor < 1) or lighten what lies under a soft polygon: shadows and sheen."""
        covered = self.cover(shape, blur) if abs(factor - 1) > _UNSEEN else None
        if covered is not None:
            where, mask = covered
            if within is not None:
                mask *= within[where]
            mask *= np.float32(factor - 1)
            mask += 1
            self.image[where] *= spread(mask)


@cache
def _kernel(sixteenths: int) -> np.ndarray:
    """The Gaussian kernel of a deviation in sixteenths of a pixel that, applied twice, also makes 1 of 255."""
    width = 2 * int(sixteenths / 8 + 0.8) + 1
    return cv2.getGaussianKernel(width, sixteenths / 16, cv2.CV_32F) * np.float32(255**-0.5)


def spread(grey: np.ndarray) -> np.ndarray:
    """(h, w) -> (h, w, 3). This and whole arrays take a quarter of the time of broadcasting [..., None]."""
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def tinted(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A grey image (h, w) times a colour (3,): (h, w, 3) float32."""
    return cv2.merge([np.multiply(grey, value, dtype=np.float32) for value in np.asarray(colour).tolist()])


def ribbon(curve: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """The polygon (..., 2 N, 2) of a line (..., N, 2) with a thickness that may change along it."""
    along = _differences(curve.shape[-2]) @ curve
    across = along[..., ::-1] * _QUARTER_TURN
    across *= (half_width / np.sqrt(np.einsum("...j,...j->...", along, along) + 1e-12))[..., None]
    return np.concatenate([curve + across, (curve - across)[..., ::-1, :]], axis=-2)


@cache
def _differences(n: int) -> np.ndarray:
    """The matrix (n, n) from a line's points to the directions in which it runs there."""
    steps = np.eye(n, k=1) - np.eye(n, k=-1)
    steps[0, 0], steps[-1, -1] = -1, 1
    return steps


def ellipse(
    centre: np.ndarray, radius_x: float | np.ndarray, radius_y: float, angle: float = 0.0, power: float = 2.0
) -> np.ndarray:
    """A polygon (32, 2): an ellipse, squarer for a higher power, turned by `angle` (radians).

    Of several centres (K, 2), with radii of their own in x (K, 1) or one for all, polygons (K, 32, 2).
    """
    circle = _CIRCLE if power == 2 else np.sign(_CIRCLE) * np.abs(_CIRCLE) ** (2 / power)
    cos, sin = np.cos(angle), np.sin(angle)
    across, up = np.array([cos, sin]), radius_y * np.array([-sin, cos])
    if centre.ndim == 1:
        return circle @ np.array([radius_x * across, up]) + centre
    across = np.broadcast_to(radius_x * across, centre.shape)[:, None]
    return circle[:, :1] * across + circle[:, 1:] * up + centre[:, None]


_BANK = 512  # px: side of the ready-made noise


@cache
def _bank() -> np.ndarray:
    """Cloudy noise (4, _BANK, _BANK) with mean 0 and deviation 1: fine grain on coarse clouds; the same in any run."""
    rng = np.random.default_rng(68)
    layers = []
    for roughness in (0.9, 0.75, 0.6, 0.45):
        total = np.zeros((_BANK, _BANK), np.float32)
        for octave in range(7):
            n = _BANK >> octave
            coarse = rng.standard_normal((n, n), np.float32)
            total += cv2.resize(coarse, (_BANK, _BANK), interpolation=cv2.INTER_CUBIC) * roughness ** (6 - octave)
        layers.append((total - total.mean()) / total.std())
    return np.stack(layers)


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: float = 1.0, layer: int | None = None) -> np.ndarray:
    """A random cut (H, W) of cloudy noise, deviation about 1; `grain` is the size of its finest grains, px.

    `layer` 0 is the finest mixture, 3 the cloudiest.
    """
    layer = int(rng.integers(4)) if layer is None else layer
    height, width = (min(_BANK, int(np.ceil(n / grain)) + 1) for n in shape)
    top, left = rng.integers(0, _BANK - height + 1), rng.integers(0, _BANK - width + 1)
    cut = _bank()[layer, top : top + height, left : left + width]
    return cv2.resize(cut, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


@cache
def _white() -> np.ndarray:
    return np.random.default_rng(86).standard_normal((_BANK, _BANK), np.float32)


def white_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random cut (size, size) of Gaussian noise of deviation 1."""
    if size > _BANK:
        return rng.standard_normal((size, size), np.float32)
    top, left = rng.integers(0, _BANK - size + 1, 2)
    return _white()[top : top + size, left : left + size]


def rasterise(
    size: int, points: np.ndarray, depth: np.ndarray, quads: np.ndarray, attributes: np.ndarray
) -> tuple[tuple[slice, slice], np.ndarray, list[np.ndarray]] | None:
    """Draw a mesh with attributes that vary smoothly over it, far parts first.

    `points` (V, 2) are its vertices in the image, `depth` (V,) grows towards the camera, `attributes` (V, K). Those
    `quads` (Q, 4) are drawn that face the camera. Returns the part of the image that the mesh touches, how much of
    each pixel it covers (h, w), and the K attributes there, each (h, w).
    """
    corner = points[quads]  # (Q, 4, 2)
    one, two = corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1]  # the diagonals
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    front = np.nonzero(area > 1e-2)[0]
    if not len(front):
        return None
    front = front[np.argsort(depth[quads[front]].sum(axis=1))]
    corner, area, one, two = corner[front], area[front], one[front], two[front]
    low = np.maximum(np.floor(corner.min(axis=(0, 1))).astype(int) - 2, 0)
    high = np.minimum(np.ceil(corner.max(axis=(0, 1))).astype(int) + 3, size)
    if (high <= low).any():
        return None
    width, height = (high - low).tolist()
    owner = np.zeros((height, width), np.int32)
    for number, fixed in enumerate(((corner - low) * 2**_SUBPIXEL + 0.5).astype(np.int32), start=1):
        cv2.fillConvexPoly(owner, fixed, number, cv2.LINE_8, _SUBPIXEL)
    # On each quad an attribute is taken as a + b x + c y: right along the diagonals and in the middle.
    value = attributes[quads[front]]  # (Q, 4, K)
    rise_1, rise_2 = value[:, 2] - value[:, 0], value[:, 3] - value[:, 1]
    b = (rise_1 * two[:, 1:] - rise_2 * one[:, 1:]) / area[:, None]
    c = (rise_2 * one[:, :1] - rise_1 * two[:, :1]) / area[:, None]
    middle = corner.mean(axis=1) - low
    a = value.mean(axis=1) - b * middle[:, :1] - c * middle[:, 1:]
    plane = np.zeros((attributes.shape[1], 3, len(front) + 1), np.float32)  # 0 where no quad is
    plane[:, 0, 1:], plane[:, 1, 1:], plane[:, 2, 1:] = a.T, b.T, c.T
    inside = (owner > 0).astype(np.float32)
    owner = owner.astype(np.intp)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    fields = []
    for start, along_x, along_y in plane:
        field = along_x.take(owner, mode="clip")
        field *= x
        slope = along_y.take(owner, mode="clip")
        slope *= y
        field += slope
        field += start.take(owner, mode="clip")
        fields.append(field)
    # OpenCV also draws every pixel that an edge touches: the mesh is half a pixel too wide; the soft rim takes it back.
    cover = np.clip(cv2.blur(inside, (3, 3)) * np.float32(1.6) - np.float32(0.6), 0, 1) * inside
    return (slice(low[1], high[1]), slice(low[0], high[0])), cover, fields


def normals(vertices: np.ndarray, rings: int, spokes: int) -> np.ndarray:
    """Unit normals (rings * spokes, 3) of a mesh of rings, from the differences between neighbours."""
    grid = vertices.reshape(rings, spokes, 3)
    around = np.empty_like(grid)
    around[:, 1:-1] = grid[:, 2:] - grid[:, :-2]
    around[:, 0], around[:, -1] = grid[:, 1] - grid[:, -1], grid[:, 0] - grid[:, -2]
    around[0] = around[1]
    outwards = np.empty_like(grid)
    outwards[1:-1] = grid[2:] - grid[:-2]
    outwards[0], outwards[-1] = grid[1] - grid[0], grid[-1] - grid[-2]
    (a, b, c), (d, e, f) = around.reshape(-1, 3).T, outwards.reshape(-1, 3).T
    normal = np.stack([b * f - c * e, c * d - a * f, a * e - b * d], axis=1)  # half the time of np.cross
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    normal[:spokes] = normal[:spokes].mean(axis=0)  # the rings' common middle
    return normal
