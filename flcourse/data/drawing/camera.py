"""A drawn head before the camera: its pose, the perspective, and where of its outline the jaw's points are seen."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flcourse.data.drawing.curves import spline
from flcourse.data.drawing.shape import NEUTRAL, SLIDE

_JAW_OUTWARDS = np.gradient(NEUTRAL[:17, :2], axis=0)[:, ::-1] * (-1, 1)  # (17, 2): across the jaw
_JAW_OUTWARDS /= np.linalg.norm(_JAW_OUTWARDS, axis=1, keepdims=True)
_JAW_STEPS = np.r_[0, np.hypot(*np.diff(NEUTRAL[:9, :2], axis=0).T).cumsum()]
_JAW_STEPS /= _JAW_STEPS[-1]  # 0 to 1: where each of the points 0 ... 8 stands on its half of the contour


def rotation_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The (3, 3) rotation of a head, degrees: yaw > 0 turns the face to the image's right, pitch > 0 lifts it up,

    roll > 0 tips it counter-clockwise as seen, like `points.crop_matrix`.
    """
    y, p, r = np.deg2rad([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tip = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return tip @ nod @ turn


@dataclass(frozen=True, eq=False)
class Camera:
    """Where the head is and how it is seen: turned about the middle of the head, in perspective."""

    rotation: np.ndarray  # (3, 3)
    distance: float  # from the camera to the eyes, mm
    factors: np.ndarray  # (3,): the head's own proportions
    scale: float = 1.0  # pixels for a millimetre at the eyes' distance
    shift: tuple[float, float] = (0.0, 0.0)  # pixels

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Head frame (N, 3) to camera frame: millimetres, not yet projected."""
        matrix, shift = self._turning
        return points @ matrix + shift

    @cached_property
    def _turning(self) -> tuple[np.ndarray, np.ndarray]:
        pivot = np.array([0, 30, -60.0])
        return self.factors[:, None] * self.rotation.T, pivot - pivot @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Head frame (N, 3) to image pixels (N, 2)."""
        turned = self.turn(points)
        return turned[:, :2] * (self.scale * self.distance / (self.distance - turned[:, 2:])) + self.shift


def visible_points(points: np.ndarray, vertices: np.ndarray, camera: Camera) -> np.ndarray:
    """The 68 points in the image (68, 2).

    300-W marks the jaw where the face's contour is seen, at even steps from ear to chin: on the side turned away the
    contour lies farther forward on the cheek. So of the places from each jaw point to the front the outermost is taken,
    and then each half of this contour is divided as the average face's is when seen from the front.
    """
    seen = camera.project(points)
    jaw = camera.project(vertices[-17 * SLIDE :]).reshape(17, SLIDE, 2)
    jaw[:, 0] = seen[:17]
    roll = np.arctan2(camera.rotation[0, 1], camera.rotation[1, 1])
    cos, sin = np.cos(roll), np.sin(roll)
    outwards = _JAW_OUTWARDS @ np.array([[cos, -sin], [sin, cos]])
    contour = jaw[np.arange(17), np.einsum("ijk,ik->ij", jaw, outwards).argmax(axis=1)]
    fine = spline(17, 6) @ contour
    length = np.r_[0, np.hypot(*np.diff(fine, axis=0).T).cumsum()]
    chin = 8 * 6
    steps = np.r_[_JAW_STEPS * length[chin], length[-1] - (length[-1] - length[chin]) * _JAW_STEPS[-2::-1]]
    seen[:17] = np.column_stack([np.interp(steps, length, fine[:, k]) for k in (0, 1)])
    return seen
