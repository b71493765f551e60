"""How good landmarks and classifications are: pure NumPy functions. Errors are in percent of the eye distance."""

from collections.abc import Sequence

import numpy as np

from flcourse.points import OUTER_EYE_CORNERS, Box

# The original project's measure: a point is right within 15 px where the face box, 1.1 times enlarged, is 299 px wide.
RADIUS, RADIUS_IMAGE, RADIUS_BOX = 15.0, 299.0, 1.1


def accuracy(predicted: np.ndarray, classes: np.ndarray) -> float:
    """The percentage of `predicted` class indices (N,) that equal the true `classes` (N,)."""
    return 100 * float(np.mean(np.equal(predicted, classes)))


def eye_distance(points: np.ndarray) -> np.ndarray:
    """Distance between the outer eye corners of points (..., 68, 2), in their unit, shape (...)."""
    right, left = OUTER_EYE_CORNERS
    return np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1)


def nme(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Normalised mean error of each face, in percent: (N, 68, 2) and (N, 68, 2) -> (N,).

    The mean distance of the 68 points, divided by the true distance of the outer eye corners (300-W's protocol;
    Sagonas et al., "300 Faces in-the-Wild Challenge", 2013). Dividing by the pupils' distance gives about 1.41 times
    as much; the two must not be mixed.
    """
    return 100 * np.linalg.norm(predicted - true, axis=-1).mean(axis=-1) / eye_distance(true)


def failure_rate(errors: np.ndarray, limit: float) -> float:
    """The percentage of faces whose error exceeds `limit` (both in percent)."""
    return 100 * float(np.mean(errors > limit))


def error_curve(errors: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The cumulative error curve: for each of `limits` the part of faces, 0 to 1, with an error up to it."""
    return np.searchsorted(np.sort(errors), limits, side="right") / len(errors)


def auc(errors: np.ndarray, limit: float) -> float:
    """Area under the cumulative error curve from 0 to `limit`, divided by `limit`: 0 to 1, 1 is perfect.

    Exact, not summed over bins: a face with error e lifts the curve from e on, so it adds 1 - e / limit.
    """
    return float(np.mean(np.clip(1 - errors / limit, 0, 1)))


def within_radius(predicted: np.ndarray, true: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """For each face the percentage of its points within the original project's radius: (N, 68, 2) twice -> (N,).

    Points and `boxes` (the file's) in image pixels; the radius is 15 px once 1.1 times the box is scaled to 299 px.
    """
    radius = np.array([RADIUS / RADIUS_IMAGE * RADIUS_BOX * box.side for box in boxes])
    return 100 * (np.linalg.norm(predicted - true, axis=-1) <= radius[:, None]).mean(axis=-1)


def summary(predicted: np.ndarray, true: np.ndarray, boxes: Sequence[Box]) -> dict[str, float]:
    """The figures that `flcourse evaluate` states, for points (N, 68, 2) and file boxes in image pixels."""
    errors = nme(predicted, true)
    return {
        "nme": float(errors.mean()),
        "fr8": failure_rate(errors, 8),
        "fr10": failure_rate(errors, 10),
        "auc8": auc(errors, 8),
        "auc10": auc(errors, 10),
        "within15of299": float(within_radius(predicted, true, boxes).mean()),
    }


def reliability(chance: np.ndarray, right: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers sorted into `bins` of equal width by their `chance` (N,) in [0, 1]: mean chance, share right, number.

    `right` (N,) says which were; bins without an answer are left out. A calibrated chance equals the share.
    """
    index = np.minimum((chance * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    there = count > 0
    mean, share = (np.bincount(index, weights=w, minlength=bins)[there] / count[there] for w in (chance, right))
    return mean, share, count[there]
