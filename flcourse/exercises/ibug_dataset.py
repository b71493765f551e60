"""Checks of notebook 04's exercises."""

import numpy as np

from flcourse import metrics
from flcourse.exercises.verdict import Wrong, ask, exercise, same
from flcourse.points import MIRROR, N_POINTS, PARTS
from flcourse.points import to01 as right_to01


def _shape(seed: int = 0) -> np.ndarray:
    """68 points of no particular face, in pixels."""
    return np.random.default_rng(seed).uniform(10, 90, (N_POINTS, 2))


@exercise
def nme(answer) -> str:
    """Exercise 4.1: the normalised mean error of one face, in percent."""
    true = _shape()
    predicted = true + np.random.default_rng(1).normal(0, 2, true.shape)
    distances = np.linalg.norm(predicted - true, axis=1)
    right = float(metrics.nme(predicted[None], true[None])[0])
    given = float(ask(answer, predicted, true))
    pupils = [true[list(PARTS[eye])].mean(axis=0) for eye in ("right_eye", "left_eye")]
    if same(given, right / 100):
        raise Wrong("that is a fraction; the NME is in percent")
    if same(given, distances.mean()):
        raise Wrong("these are pixels: divide by the distance of the outer eye corners")
    if same(given, right * np.linalg.norm(true[36] - true[45]) / np.linalg.norm(pupils[0] - pupils[1])):
        raise Wrong("divided by the distance of the pupils; here it is the outer eye corners', points 36 and 45")
    if same(given, right * np.linalg.norm(true[36] - true[45]) / np.linalg.norm(predicted[36] - predicted[45])):
        raise Wrong("divided by the predicted eyes' distance: use the true points, which no prediction can change")
    if same(given, 100 * np.abs(predicted - true).mean() / np.linalg.norm(true[36] - true[45])):
        raise Wrong("that averages x and y errors; take each point's distance (the norm) first")
    if same(given, 100 * np.sqrt((distances**2).mean()) / np.linalg.norm(true[36] - true[45])):
        raise Wrong("that is the root of the mean square; the NME is the mean of the distances")
    if not same(given, right):
        raise Wrong(
            f"got {given:.3f}, expected {right:.3f}: mean distance of the points, by that of 36 and 45, in percent"
        )
    return "right: the same as flcourse.metrics.nme"


@exercise
def to01(answer) -> str:
    """Exercise 4.2: crop pixels to [0, 1]."""
    points, size = _shape(), 112
    given = ask(answer, points, size)
    if same(given, points / size):
        raise Wrong("0 would be the first pixel's centre; its left edge, half a pixel before, should be 0")
    if same(given, points / (size - 1)):
        raise Wrong("that makes 0 and 1 the centres of the first and last pixel; they should be the outer edges")
    if same(given, (points - 0.5) / size):
        raise Wrong("the wrong way: the left edge lies at -0.5, so add a half")
    if same(given, 2 * right_to01(points, size) - 1):
        raise Wrong("that is [-1, 1], which the image has; the points go to [0, 1]")
    if not same(given, right_to01(points, size)):
        raise Wrong("not yet: -0.5 should become 0, and size - 0.5 should become 1")
    return "right: (points + 0.5) / size"


@exercise
def rotation(answer) -> str:
    """Exercise 4.3: the (2, 3) matrix of a rotation about a centre."""
    degrees, centre = 30.0, (50.0, 20.0)

    def matrix(angle: float, about: tuple[float, float]) -> np.ndarray:
        cos, sin = np.cos(angle), np.sin(angle)
        linear = np.array([[cos, sin], [-sin, cos]])  # y points down
        return np.column_stack([linear, np.array(about) - linear @ np.array(about)])

    given = np.asarray(ask(answer, degrees, centre), float)
    if given.shape == (2, 2):
        raise Wrong("that is R alone; append the shift, c - R c, as a third column")
    if given.shape != (2, 3):
        raise Wrong(f"the shape is {given.shape}, expected (2, 3)")
    if same(given, matrix(-np.deg2rad(degrees), centre)):
        raise Wrong("it turns clockwise: y points down in images, which changes the sign of the sine")
    if same(given, matrix(degrees, centre)):
        raise Wrong("sines and cosines take radians: np.deg2rad")
    if same(given, matrix(np.deg2rad(degrees), (0, 0))):
        raise Wrong("it turns about (0, 0): the centre should stay where it is")
    if not same(given @ np.array([*centre, 1]), centre):
        raise Wrong("the centre should stay where it is: the shift is c - R c")
    if not same(given, matrix(np.deg2rad(degrees), centre)):
        raise Wrong("the centre stays, but the rotation is another: R = [[cos, sin], [-sin, cos]]")
    return "right: the same as cv2.getRotationMatrix2D's"


@exercise
def mirror(answer) -> str:
    """Exercise 4.4: the points of the mirrored image, in the right order."""
    points, width = _shape(), 100
    moved = points * (-1, 1) + (width - 1, 0)
    given = ask(answer, points, width)
    if same(given, moved):
        raise Wrong("well placed, but in the old order: the right eye's points now sit on the left eye; apply MIRROR")
    if same(given, points[MIRROR]):
        raise Wrong("reordered, but not moved: x becomes width - 1 - x")
    if same(given, (points * (-1, 1) + (width, 0))[MIRROR]):
        raise Wrong("half a pixel too far on each side: pixel 0 becomes pixel width - 1, so x becomes width - 1 - x")
    if same(given, (points * (1, -1) + (0, width - 1))[MIRROR]):
        raise Wrong("that is upside down: mirror x, not y")
    if not same(given, moved[MIRROR]):
        raise Wrong("not yet: first x becomes width - 1 - x, then the order by MIRROR")
    return "right, and mirrored twice it is the old one"
