"""The 68-point scheme, face boxes and square crops: the geometry everything else stands on (NumPy only).

A point (x, y) is in pixels, **integers at pixel centres**: (0, 0) is the centre of the top-left pixel, and an image W
pixels wide spans -0.5 ... W - 0.5. A map between frames is a (2, 3) matrix, as `cv2.warpAffine` takes it, so images
and points always move by the same numbers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flcourse.errors import CourseError

N_POINTS = 68

# The parts of iBUG's mark-up (Sagonas et al., 2013), each an ordered run of indices. "Right" is the person's own right,
# which is on the left of the image.
PARTS = {
    "jaw": range(0, 17),
    "right_brow": range(17, 22),
    "left_brow": range(22, 27),
    "nose_bridge": range(27, 31),
    "nose_base": range(31, 36),
    "right_eye": range(36, 42),
    "left_eye": range(42, 48),
    "outer_lips": range(48, 60),
    "inner_lips": range(60, 68),
}
CLOSED_PARTS = ("right_eye", "left_eye", "outer_lips", "inner_lips")  # drawn as rings, the others as open lines
OUTER_EYE_CORNERS = (36, 45)  # their distance is the "eye distance" that errors are stated in

# MIRROR[i] is the point that stands where point i stood once the image is flipped left to right.
_PAIRS = [
    *((i, 16 - i) for i in range(8)),  # jaw; 8, the chin, is its own twin
    *((17 + i, 26 - i) for i in range(5)),  # brows
    *((31 + i, 35 - i) for i in range(2)),  # nose base
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (59, 55), (58, 56)),  # outer lips
    *((60, 64), (61, 63), (67, 65)),  # inner lips
]
MIRROR = np.arange(N_POINTS)
for _i, _j in _PAIRS:
    MIRROR[_i], MIRROR[_j] = _j, _i

MIRROR01 = np.array([[-1.0, 0, 1], [0, 1, 0]])  # x' = 1 - x, for normalised points

# The crop the network sees: a square this many times the face box, its centre lowered by this part of the box, because
# the file's boxes end at the chin and often above it.
CROP_SCALE = 1.3
CROP_LOWER = 0.1


class Box(NamedTuple):
    """A face box in pixels: it covers the pixels `left` ... `left + width - 1` and `top` ... `top + height - 1`."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y), integers at pixel centres."""
        return self.left + (self.width - 1) / 2, self.top + (self.height - 1) / 2

    @property
    def side(self) -> float:
        """Side in pixels of the square of equal area: what a box that is not square counts as."""
        return float(np.sqrt(self.width * self.height))

    @classmethod
    def around(cls, centre: tuple[float, float], side: float) -> "Box":
        """The square box of a centre and a side, the inverse of `centre` and `side`."""
        return cls(centre[0] - (side - 1) / 2, centre[1] - (side - 1) / 2, side, side)


FARTHEST = 1e6  # px; no face of any image is farther away or larger, and sums in float32 would no longer be exact


def is_sound(box: Box) -> bool:
    """Whether a face could have this box: finite numbers up to `FARTHEST`, at least 1 px wide and high."""
    return all(abs(value) <= FARTHEST for value in box) and min(box.width, box.height) >= 1  # false for NaN, too


def both_halves(right_half: Mapping[int, Sequence[float]]) -> np.ndarray:
    """A head's 68 points (68, 3) from those of the person's right half and the middle line, index -> (x, y, z).

    The left half is their mirror image at x = 0.
    """
    points = np.zeros((N_POINTS, 3))
    for index, point in right_half.items():
        points[MIRROR[index]] = np.multiply(point, (-1, 1, 1))
        points[index] = point
    return points


def tight_box(points: np.ndarray) -> Box:
    """The smallest upright rectangle around `points` (N, 2), as papers crop their test faces."""
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0)
    return Box(float(left), float(top), float(right - left + 1), float(bottom - top + 1))


def crop_matrix(
    box: Box,
    size: int,
    *,
    rotation: float = 0.0,
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> np.ndarray:
    """The (2, 3) float64 matrix from image pixels to the pixels of the `size` x `size` crop about `box`.

    `rotation` turns the face counter-clockwise as seen, in degrees; `scale` above 1 makes the face larger in the crop;
    `offset` (x, y) moves the crop's centre over the image, in parts of the box's side; `mirror` flips the crop last
    (the points' order must then be changed by `MIRROR`, which `move_points` does).
    """
    side = box.side * CROP_SCALE / scale
    centre_x = box.centre[0] + offset[0] * box.side
    centre_y = box.centre[1] + (CROP_LOWER + offset[1]) * box.side
    factor = size / side
    cos, sin = np.cos(np.deg2rad(rotation)) * factor, np.sin(np.deg2rad(rotation)) * factor
    linear = np.array([[cos, sin], [-sin, cos]])  # y points down, so counter-clockwise as seen has +sin at the top
    middle = (size - 1) / 2
    matrix = np.column_stack([linear, middle - linear @ (centre_x, centre_y)])
    if mirror:
        matrix[0] = -matrix[0]
        matrix[0, 2] += size - 1  # x' = size - 1 - x
    return matrix


def apply(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) moved by a (2, 3) matrix; their order stays."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def move_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The 68 points (..., 68, 2) moved by a (2, 3) matrix and, where it mirrors, put in their new order by `MIRROR`."""
    moved = apply(points, matrix)
    return moved[..., MIRROR, :] if np.linalg.det(matrix[:, :2]) < 0 else moved


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that does what `first` and then `second` do."""
    return np.column_stack([second[:, :2] @ first[:, :2], apply(first[:, 2], second)])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that undoes `matrix`."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def to01(points_crop: np.ndarray, size: int) -> np.ndarray:
    """Crop pixels to normalised points: 0 and 1 are the crop's outer edges."""
    return (points_crop + 0.5) / size


def from01(points01: np.ndarray, size: int) -> np.ndarray:
    """Normalised points to crop pixels, the inverse of `to01`."""
    return points01 * size - 0.5


class BoxMap(NamedTuple):
    """How one source's face boxes become file-like boxes: move by parts of the side, then scale the side."""

    scale: float
    dx: float
    dy: float

    def __call__(self, box: Box) -> Box:
        """The square box in the iBUG file's convention (brows to chin) for a box of this source."""
        x, y = box.centre
        return Box.around((x + self.dx * box.side, y + self.dy * box.side), box.side * self.scale)


# Fitted by `flcourse fit-boxes` on the 2,011 training faces. Missed, then the spread that is left (standard deviations
# of the shift in x and y, in parts of the side, and of the log of the side):
#   course 85, 0.10 0.07 0.14    drawn 408, 0.11 0.08 0.23
#   haar 130, 0.13 0.08 0.14    yunet 0, 0.09 0.06 0.10    ssd (8 bit) 0, 0.09 0.06 0.10    tight -, 0.10 0.05 0.09
# Most of it is the scatter of the file's own boxes: against tight boxes around the true points it is 0.03 0.04 0.05 for
# yunet, 0.02 0.03 0.04 for the ssd and 0.10 0.07 0.11 for haar, of whose 1,881 matches 16 are far off, by more than 0.4
# sides or a factor of 1.6. The side as the root of the area is steadier than width or height alone (yunet 0.046; else
# 0.052, 0.066).
BOX_MAPS = {
    "course": BoxMap(scale=1.037, dx=0.005, dy=-0.003),
    "drawn": BoxMap(scale=1.017, dx=0.01, dy=0.012),
    "haar": BoxMap(scale=0.919, dx=0.001, dy=0.065),
    "yunet": BoxMap(scale=0.938, dx=0.003, dy=0.052),
    "ssd": BoxMap(scale=0.929, dx=-0.002, dy=0.067),
    "tight": BoxMap(scale=1.056, dx=-0.003, dy=-0.108),
}


def face_box(points: np.ndarray) -> Box:
    """The face box, in the iBUG file's convention, that `points` (68, 2) stand for."""
    return BOX_MAPS["tight"](tight_box(points))


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    common = common_area(a, b)
    return common / (a.width * a.height + b.width * b.height - common)


def common_area(a: Box, b: Box) -> float:
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    return max(width, 0.0) * max(height, 0.0)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The (2, 3) similarity (turn, scale, shift; never a mirror) that moves points (N, 2) nearest to others.

    Least squares, in closed form (S. Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991, equations 40 to 42). Raises `CourseError` where all points of `source` lie in one place.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise CourseError(f"points of shapes {source.shape} and {target.shape}, expected (N, 2) twice, N at least 2")
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    variance = ((source - middle) ** 2).sum() / len(source)
    if not variance > 0:
        raise CourseError(f"{len(source)} points all in one place: no similarity moves them to others")
    u, strengths, v = np.linalg.svd((target - goal).T @ (source - middle) / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    linear = (strengths @ signs) / variance * (u * signs) @ v
    return np.column_stack([linear, goal - linear @ middle])
