"""What 68 points tell: openness of eyes and mouth, smile, brows, expression, head pose, an aligned face.

Pure functions of points (68, 2) in image pixels. The measures are in the face's own scale: none changes when the face
moves, grows or is tipped. A head turned or nodding by more than some 20 degrees foreshortens them; nothing here undoes
that. What needs time (blinks, PERCLOS, a person's own calm face) is in `behaviour`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from flcourse.errors import CourseError
from flcourse.images import warp
from flcourse.metrics import eye_distance
from flcourse.points import N_POINTS, PARTS, both_halves, similarity

# The second average head of the package, and on purpose not `data.drawing.shape.NEUTRAL`: drawn faces are the oracle of
# what is measured here, of poses and expressions above all, and would be too kind a one if both had the same points.
# Hand-built in round numbers (outer eye corners 84 mm apart, eyes to chin 107 mm): millimetres, x to the image's right,
# y down, z towards the viewer, from between the eyes. The person's right half and the middle line.
_RIGHT_HALF = {
    **{0: (-72, 1, -64), 1: (-71, 19, -60), 2: (-69, 37, -55), 3: (-65, 55, -48), 4: (-58, 72, -37), 5: (-47, 87, -25)},
    **{6: (-33, 98, -10), 7: (-17, 105, 0), 8: (0, 107, 5), 17: (-55, -13, -20), 18: (-47, -19, -7), 19: (-35, -23, 1)},
    **{20: (-23, -22, 7), 21: (-12, -18, 11), 27: (0, -3, 13), 28: (0, 9, 16), 29: (0, 20, 22), 30: (0, 32, 27)},
    **{31: (-13, 40, 9), 32: (-7, 43, 13), 33: (0, 45, 15), 36: (-42, 0, -10), 37: (-35, -5, -1), 38: (-25, -5, 2)},
    **{39: (-17, 1, -2), 40: (-25, 4, 0), 41: (-34, 4, -2), 48: (-25, 66, 4), 49: (-15, 61, 11), 50: (-6, 57, 15)},
    **{51: (0, 58, 16), 57: (0, 74, 15), 58: (-8, 73, 14), 59: (-16, 71, 10), 60: (-21, 66, 5), 61: (-7, 65, 14)},
    **{62: (0, 65, 15), 66: (0, 66, 15), 67: (-7, 66, 14)},
}

HEAD = both_halves(_RIGHT_HALF)  # (68, 3) mm: a calm face, eyes open, mouth closed
HEAD.setflags(write=False)

# --- openness, smile, brows: pure functions of points (..., 68, 2) ---

_LIDS = [(37, 41), (38, 40), (43, 47), (44, 46)]  # upper and lower lid, right eye and left eye
_EYES = [list(PARTS["right_eye"]), list(PARTS["left_eye"])]
_CORNERS = [36, 39, 42, 45]
_TINY = 1e-6  # px, added to lengths that divide: points all in one place give zeros, not an error


def eye_openness(points: np.ndarray) -> np.ndarray:
    """The eye aspect ratio of the right and the left eye: points (..., 68, 2) -> (..., 2).

    The mean height between the lids over the eye's width: about 0.3 open, near 0 closed (T. Soukupova and J. Cech,
    "Real-Time Eye Blink Detection using Facial Landmarks", 2016, equation 1).
    """
    upper, lower = (list(side) for side in zip(*_LIDS, strict=True))
    heights = np.linalg.norm(points[..., upper, :] - points[..., lower, :], axis=-1)  # (..., 4)
    widths = np.linalg.norm(points[..., [36, 42], :] - points[..., [39, 45], :], axis=-1)  # (..., 2)
    return (heights[..., 0::2] + heights[..., 1::2]) / 2 / (widths + _TINY)


def mouth_openness(points: np.ndarray) -> np.ndarray:
    """The mean gap between the inner lips over the eye distance: points (..., 68, 2) -> (...); closed lips give 0."""
    gap = points[..., [67, 66, 65], :].mean(axis=-2) - points[..., [61, 62, 63], :].mean(axis=-2)
    return _down(points, gap) / (eye_distance(points) + _TINY)


def mouth_width(points: np.ndarray) -> np.ndarray:
    """The distance of the mouth's corners over the eye distance: points (..., 68, 2) -> (...)."""
    return np.linalg.norm(points[..., 54, :] - points[..., 48, :], axis=-1) / (eye_distance(points) + _TINY)


def corner_lift(points: np.ndarray) -> np.ndarray:
    """How far the mouth's corners lie above the middle of the lips, over the eye distance: (..., 68, 2) -> (...)."""
    middle = points[..., [51, 57, 62, 66], :].mean(axis=-2) - points[..., [48, 54], :].mean(axis=-2)
    return _down(points, middle) / (eye_distance(points) + _TINY)


def brow_height(points: np.ndarray) -> np.ndarray:
    """The brows' height above the eye corners, over the eye distance: points (..., 68, 2) -> (...).

    Corners, not lids, so that a blink is no frown.
    """
    up = points[..., _CORNERS, :].mean(axis=-2) - points[..., [18, 19, 20, 23, 24, 25], :].mean(axis=-2)
    return _down(points, up) / (eye_distance(points) + _TINY)


def _down(points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The part of `vectors` (..., 2) that runs down the face, square to the line through the eyes: (...)."""
    across = points[..., _EYES[1], :].mean(axis=-2) - points[..., _EYES[0], :].mean(axis=-2)
    length = np.linalg.norm(across, axis=-1) + _TINY
    return (across[..., 0] * vectors[..., 1] - across[..., 1] * vectors[..., 0]) / length


class Measures(NamedTuple):
    """The five measures that expressions are read from, of one face or an array of each."""

    eyes: float | np.ndarray  # `eye_openness`, mean of both
    mouth: float | np.ndarray  # `mouth_openness`
    width: float | np.ndarray  # `mouth_width`
    lift: float | np.ndarray  # `corner_lift`
    brows: float | np.ndarray  # `brow_height`


def measure(points: np.ndarray) -> Measures:
    """All measures of points (..., 68, 2): five numbers, or five arrays of shape (...)."""
    points = np.asarray(points, float)
    eyes = eye_openness(points).mean(axis=-1)
    return Measures(eyes, mouth_openness(points), mouth_width(points), corner_lift(points), brow_height(points))


AVERAGE = measure(HEAD[:, :2])  # of the average calm face, seen from the front

# --- head pose ---

# All but lids and lips, which expressions move most: the more points, the less a single one's error counts. The jaw
# tells best how far a head is turned and nods. But it is marked where the face's contour is seen, and on the side
# turned away that is not where the jaw is, so of a turned head that side's is left out.
POSE_POINTS = [*range(36), *_CORNERS, 48, 54]
AWAY = {1: range(11, 17), -1: range(6)}  # by the sign of the yaw
TURNED = 10.0  # degrees
USUAL_VIEW = 53.0  # degrees: how wide many webcams see; a focal length of the image's width
NEAREST = 10.0  # focal lengths in eye distances: a head 840 mm away, as portraits and crops of faces show it at least
_FLIP = np.diag([1.0, 1.0, -1.0])  # between HEAD's z, towards the viewer, and OpenCV's, away from the camera


@dataclass(frozen=True, eq=False)
class HeadPose:
    """How a head is turned and where it is, as the camera sees it. Degrees, as the viewer of the image sees them."""

    yaw: float  # > 0: the face turns to the image's right
    pitch: float  # > 0: the face looks up
    roll: float  # > 0: the head is tipped counter-clockwise
    rotation: np.ndarray  # (3, 3) from HEAD's frame to the camera's: x right, y down, z towards the viewer
    translation: (
        np.ndarray
    )  # (3,) mm, of the point between the eyes, in that frame; z < 0. A wrong focal length scales it
    focal: float  # px
    centre: tuple[float, float]  # px, of the image

    def project(self, places: np.ndarray) -> np.ndarray:
        """Places (..., 3) of the head, mm as in HEAD, to image pixels (..., 2); none is nearer than a centimetre."""
        seen = np.asarray(places, float) @ self.rotation.T + self.translation
        return seen[..., :2] * (self.focal / np.maximum(-seen[..., 2:], 10.0)) + self.centre

    def axes(self, length: float = 60.0) -> np.ndarray:
        """The head's axes from the tip of the nose: (4, 2) px, the origin and the ends of x (to the image's right on
        a frontal face), y (down) and z (forwards), `length` mm long."""
        return self.project(HEAD[30] + np.concatenate([np.zeros((1, 3)), length * np.eye(3)]))


def focal_length(width: int, field_of_view: float) -> float:
    """The focal length in pixels of a camera that sees `field_of_view` degrees across `width` pixels."""
    if not 0 < field_of_view < 180:
        raise CourseError(f"field_of_view={field_of_view:g}, expected degrees across the image, between 0 and 180")
    return width / 2 / float(np.tan(np.deg2rad(field_of_view) / 2))


def head_pose(points: np.ndarray, size: tuple[int, int], field_of_view: float | None = None) -> HeadPose | None:
    """The pose of the head with these points (68, 2), in an image of `size` (width, height) pixels.

    The rigid motion of an average head whose projection lies nearest the points (`cv2.solvePnP`, Levenberg-Marquardt
    from a face seen from the front). A pinhole camera that sees `field_of_view` degrees across the image. Where that
    is not given it is 53, as of many webcams; but faces that fill much of an image were rarely taken from so near,
    so then it is as narrow as it takes for the head to be 840 mm away. Too wide a one makes yaw too small.
    People differ from the average head: of 200 drawn ones, turned by up to 50 degrees, yaw is off by 1.5 degrees in the
    mean, pitch by 2.1 and roll by 0.4 with true points, and by 2.3, 3.0 and 0.9 with those of the shipped network.
    None where the points are no face, all in one place. Raises `CourseError` for points of another shape, and for a
    field of view that is none.
    """
    points = _checked(points)
    width, height = size
    centre = (width - 1) / 2, (height - 1) / 2
    wide = float(eye_distance(points))
    if not 1e-3 < wide < 1e6:
        return None
    if field_of_view is None:
        focal = max(focal_length(width, USUAL_VIEW), NEAREST * wide)
    else:
        focal = focal_length(width, field_of_view)
    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    across = points[_EYES[1]].mean(axis=0) - points[_EYES[0]].mean(axis=0)
    depth = focal * (HEAD[45, 0] - HEAD[36, 0]) / wide
    turn = np.array([0, 0, np.arctan2(across[1], across[0])])
    translation = np.append((points[_CORNERS].mean(axis=0) - centre) * depth / focal, depth)
    chosen = POSE_POINTS
    while True:
        done, turn, translation = cv2.solvePnP(
            HEAD[chosen] @ _FLIP,
            points[chosen],
            camera,
            None,
            turn,
            translation,
            useExtrinsicGuess=True,
            flags=cv2.SOLVEPNP_ITERATIVE,
        )
        if not done or not np.isfinite([turn, translation]).all() or np.ravel(translation)[2] <= 0:
            return None
        rotation = _FLIP @ cv2.Rodrigues(turn)[0] @ _FLIP
        # rotation = roll @ pitch @ yaw: the head turns first, then nods, then tips.
        yaw = np.arctan2(-rotation[2, 0], rotation[2, 2])
        pitch = np.arcsin(np.clip(rotation[2, 1], -1, 1))
        roll = np.arctan2(rotation[0, 1], rotation[1, 1])
        yaw, pitch, roll = (float(angle) for angle in np.rad2deg([yaw, pitch, roll]))
        if abs(yaw) < TURNED or chosen is not POSE_POINTS:
            return HeadPose(yaw, pitch, roll, rotation, _FLIP @ np.ravel(translation), focal, centre)
        away = AWAY[int(np.sign(yaw))]
        chosen = [index for index in POSE_POINTS if index not in away]


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, float)
    if points.shape != (N_POINTS, 2):
        raise CourseError(f"points of shape {points.shape}, expected ({N_POINTS}, 2): one face's x and y in pixels")
    if not np.isfinite(points).all():
        raise CourseError("points that are not numbers (NaN or infinite), expected image pixels")
    return points


# --- alignment ---

# Where recognition networks want the eyes' centres, the tip of the nose and the mouth's corners, in a crop of 112 x 112
# px (InsightFace's five points, used by SphereFace, CosFace and ArcFace alike; to a tenth of a pixel).
ALIGNED_SIZE = 112
ALIGNED = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])


def align_matrix(points: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """The (2, 3) matrix from image pixels to the aligned crop of `size` x `size` pixels, for points (68, 2)."""
    points = _checked(points)
    five = np.array([*(points[eye].mean(axis=0) for eye in _EYES), points[30], points[48], points[54]])
    return similarity(five, (ALIGNED + 0.5) * (size / ALIGNED_SIZE) - 0.5)


def align_face(image: np.ndarray, points: np.ndarray, size: int = ALIGNED_SIZE) -> np.ndarray:
    """The face upright, its eyes, nose and mouth where recognition networks want them: (size, size, 3) uint8 RGB.

    `image` (H, W, 3) uint8 RGB, `points` (68, 2) in its pixels. Outside the image its edge is repeated.
    """
    return warp(image, align_matrix(points, size), size)


# --- expression ---


class Meters(NamedTuple):
    """How strong each part of an expression is, 0 to 1."""

    smile: float
    brows: float | np.ndarray  # raised
    mouth: float | np.ndarray  # open
    eyes: float | np.ndarray  # open; 1: as far as on the calm face


# How far the measures of a calm face rise until a meter is full.
# Openness of closed eyes in parts of open ones. True points would give 0; the shipped network answers 0.02 on drawn
# faces (the median of 80 people, `tools/measure_shipped.py`), 0.07 on held-out photographs with eyes shut by a warp.
SHUT = 0.05
WIDER, LIFTED, RAISED, OPENED = 0.16, 0.12, 0.09, 0.35
SMILES, GAPES, SURPRISES = 0.3, 0.4, 0.5  # chosen on 80 drawn people, tested on 80 others: see `expression_word`


def expression_meters(measures: Measures, calm: Measures = AVERAGE) -> Meters:
    """The meters of a face against its own calm face, or the average one.

    A smile is the mean of how much wider the mouth is and how much its corners are lifted: a pout or a yawn lifts
    without widening.
    """
    smile = ((measures.width - calm.width) / WIDER + (measures.lift - calm.lift) / LIFTED) / 2
    values = (
        smile,
        (measures.brows - calm.brows) / RAISED,
        (measures.mouth - calm.mouth) / OPENED,
        1 - (1 - measures.eyes / max(calm.eyes, _TINY)) / (1 - SHUT),
    )
    return Meters(*(float(np.clip(value, 0, 1)) for value in values))


def expression_word(meters: Meters) -> str:
    """The rule, in this order: "surprise" where the mouth is open (GAPES) and mouth and brows together exceed the smile
    by SURPRISES; "smile" from SMILES on; else "neutral".

    Right on 80 drawn people whom the limits were not chosen on, heads turned up to 18 degrees, against their own calm
    face: 100 % with true points, 96 % with those of the shipped network; against the average face 93 % and 91 %
    (`tools/measure_shipped.py`).
    """
    if meters.mouth >= GAPES and meters.mouth + meters.brows - meters.smile >= SURPRISES:
        return "surprise"
    return "smile" if meters.smile >= SMILES else "neutral"
