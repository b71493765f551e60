"""Checks of notebook 04's exercises."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flcourse import metrics
from flcourse.exercises.verdict import Wrong, array, ask, exercise, explain, number, same
from flcourse.points import MIRROR, N_POINTS, PARTS
from flcourse.points import to01 as right_to01


def _shape(seed: int = 0, low: float = 10, high: float = 90) -> np.ndarray:
    """68 points of no particular face, in pixels."""
    return np.random.default_rng(seed).uniform(low, high, (N_POINTS, 2))


def _all(given: Sequence[Any], cases: Sequence[tuple], rule: Callable[..., Any]) -> bool:
    """Whether a rule gives what the learner gave, in every case."""
    return all(same(value, rule(*case)) for value, case in zip(given, cases, strict=True))


def _shaped(given: Sequence[Any], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Answers as arrays. Raises `Wrong` where one has another shape, or is no number."""
    arrays = [array(value) for value in given]
    for value in arrays:
        if value.shape != shape:
            raise Wrong(f"the shape is {value.shape}, expected {shape}")
        if not np.isfinite(value).all():
            raise Wrong("some of it is nan or infinite, expected finite numbers")
    return arrays


def right_nme(predicted: np.ndarray, true: np.ndarray) -> float:
    """One face's NME in percent."""
    return float(metrics.nme(np.asarray(predicted)[None], np.asarray(true)[None])[0])


@exercise(reference=right_nme)
def nme(answer) -> str:
    """Exercise 4.1: the normalised mean error of one face, in percent."""
    cases = []
    for seed in (0, 5):
        true = _shape(seed)
        cases.append((true + np.random.default_rng(seed + 1).normal(0, 2, true.shape), true))
    replies = [ask(answer, *case) for case in cases]
    if array(replies[0]).size == N_POINTS:
        raise Wrong("that is one number a point; the NME is their mean")
    given = [number(reply) for reply in replies]

    def distances(p, t):
        return np.linalg.norm(p - t, axis=1)

    def eyes(points):
        return np.linalg.norm(points[36] - points[45])

    def pupils(points):
        return np.linalg.norm(points[list(PARTS["right_eye"])].mean(0) - points[list(PARTS["left_eye"])].mean(0))

    hints = {
        "that is a fraction; the NME is in percent": lambda p, t: right_nme(p, t) / 100,
        "these are pixels: divide by the distance of the outer eye corners": lambda p, t: distances(p, t).mean(),
        "these are pixels, times 100: divide by the distance of the outer eye corners": lambda p, t: (
            100 * distances(p, t).mean()
        ),
        "divided by the distance of the pupils; here it is the outer eye corners', points 36 and 45": lambda p, t: (
            right_nme(p, t) * eyes(t) / pupils(t)
        ),
        "divided by the distance of the inner eye corners; here it is the outer ones', points 36 and 45": lambda p, t: (
            right_nme(p, t) * eyes(t) / np.linalg.norm(t[39] - t[42])
        ),
        "divided by the predicted eyes' distance: use the true points, which no prediction can change": lambda p, t: (
            right_nme(p, t) * eyes(t) / eyes(p)
        ),
        "that averages x and y errors; take each point's distance (the norm) first": lambda p, t: (
            100 * np.abs(p - t).mean() / eyes(t)
        ),
        "that is the root of the mean square; the NME is the mean of the distances": lambda p, t: (
            100 * np.sqrt((distances(p, t) ** 2).mean()) / eyes(t)
        ),
        "that is the sum over the points: take their mean": lambda p, t: 100 * distances(p, t).sum() / eyes(t),
        "that is the median; the NME is the mean of the distances": lambda p, t: (
            100 * np.median(distances(p, t)) / eyes(t)
        ),
        "one norm over all 68 points: take each point's distance (axis=1), then their mean": lambda p, t: (
            100 * np.linalg.norm(p - t) / eyes(t)
        ),
    }
    explain(given, cases, hints)
    if not _all(given, cases, right_nme):
        right = right_nme(*cases[0])
        raise Wrong(
            f"got {given[0]:.3f}, expected {right:.3f}: mean distance of the points, by that of 36 and 45, in percent"
        )
    return "right: the same as flcourse.metrics.nme"


@exercise(reference=right_to01)
def to01(answer) -> str:
    """Exercise 4.2: crop pixels to [0, 1]."""
    cases = [(_shape(0, -20, 130), 112), (_shape(1, -20, 80), 64)]
    given = _shaped([ask(answer, *case) for case in cases], (N_POINTS, 2))
    hints = {
        "0 would be the first pixel's centre; its left edge, half a pixel before, should be 0": lambda p, n: p / n,
        "that makes 0 and 1 the centres of the first and last pixel; they should be the outer edges": lambda p, n: (
            p / (n - 1)
        ),
        "the wrong way: the left edge lies at -0.5, so add a half": lambda p, n: (p - 0.5) / n,
        "the crop is size pixels wide: from -0.5 to size - 0.5": lambda p, n: (p + 0.5) / (n - 1),
        "size + 1 is a pixel too many: the edges are size apart": lambda p, n: (p + 0.5) / (n + 1),
        "divide all of it: (points + 0.5) / size, not points + 0.5 / size": lambda p, n: p + 0.5 / n,
        "that goes from [0, 1] to pixels; here it is the other way round": lambda p, n: p * n - 0.5,
        "that is [-1, 1], which the image has; the points go to [0, 1]": lambda p, n: 2 * right_to01(p, n) - 1,
        "points outside the crop keep their true place, below 0 or above 1: do not clip": lambda p, n: right_to01(
            p, n
        ).clip(0, 1),
        "crops have other sizes, too: use size, not 112": lambda p, n: right_to01(p, 112),
        "that stretches each face to 0 and 1 by its own points: use the crop's size": lambda p, n: (
            (p - p.min(0)) / (p.max(0) - p.min(0))
        ),
    }
    explain(given, cases, hints)
    if not _all(given, cases, right_to01):
        raise Wrong("not yet: -0.5 should become 0, and size - 0.5 should become 1")
    return "right: the edges are at 0 and 1"


def right_rotation(degrees: float, centre: Sequence[float]) -> np.ndarray:
    """The (2, 3) matrix of a rotation, counter-clockwise as seen, about `centre`."""
    return _turn(np.deg2rad(degrees), centre)


def _turn(angle: float, about: Sequence[float]) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])  # y points down
    return np.column_stack([linear, np.array(about) - linear @ np.array(about)])


@exercise(reference=right_rotation)
def rotation(answer) -> str:
    """Exercise 4.3: the (2, 3) matrix of a rotation about a centre."""
    cases = [(30.0, (50.0, 20.0)), (-75.0, (12.0, 90.0)), (200.0, (60.0, 33.0))]
    replies = [array(ask(answer, *case)) for case in cases]
    if replies[0].shape == (2, 2):
        raise Wrong("that is R alone; append the shift, c - R c, as a third column")
    if replies[0].shape == (3, 3):
        raise Wrong("the shape is (3, 3), expected (2, 3): leave the row (0, 0, 1) out, as cv2.warpAffine wants")
    given = _shaped(replies, (2, 3))
    hints = {
        "it turns clockwise: y points down in images, which changes the sign of the sine": lambda d, c: _turn(
            -np.deg2rad(d), c
        ),
        "sines and cosines take radians: np.deg2rad": lambda d, c: _turn(d, c),
        "two things: sines take radians (np.deg2rad), and it turns clockwise, as y points down": lambda d, c: _turn(
            -d, c
        ),
        "np.rad2deg is the other way: sines and cosines take radians, np.deg2rad(degrees)": lambda d, c: _turn(
            np.rad2deg(d), c
        ),
        "it turns about (0, 0): the centre should stay where it is": lambda d, c: _turn(np.deg2rad(d), (0, 0)),
        "it turns clockwise about (0, 0): the sine's sign, and the centre should stay where it is": lambda d, c: _turn(
            -np.deg2rad(d), (0, 0)
        ),
        "the centre is (x, y), here taken as (y, x)": lambda d, c: _turn(np.deg2rad(d), c[::-1]),
        "it always turns by 30 degrees: use degrees": lambda d, c: _turn(np.deg2rad(30), c),
        "it always turns about (50, 20): use centre": lambda d, c: _turn(np.deg2rad(d), (50, 20)),
        "the shift has the wrong sign: it is c - R c": lambda d, c: _turn(np.deg2rad(d), c) * (1, 1, -1),
        "the shift is c - R c; R c is still to be taken away": lambda d, c: np.column_stack(
            [_turn(np.deg2rad(d), c)[:, :2], c]
        ),
    }
    explain(given, cases, hints)
    if not all(same(matrix @ np.array([*c, 1]), c) for matrix, (_, c) in zip(given, cases, strict=True)):
        raise Wrong("the centre should stay where it is: the shift is c - R c")
    if not _all(given, cases, right_rotation):
        raise Wrong("the centre stays, but the rotation is another: R = [[cos, sin], [-sin, cos]]")
    return "right: the same as cv2.getRotationMatrix2D's"


def right_mirror(points: np.ndarray, width: int) -> np.ndarray:
    """The 68 points of the mirrored image, in their new order."""
    return (points * (-1, 1) + (width - 1, 0))[MIRROR]


@exercise(reference=right_mirror)
def mirror(answer) -> str:
    """Exercise 4.4: the points of the mirrored image, in the right order."""
    cases = [(_shape(0), 100), (_shape(1), 151)]
    given = _shaped([ask(answer, *case) for case in cases], (N_POINTS, 2))
    hints = {
        "well placed, but in the old order: the right eye's points sit on the left one; apply MIRROR": lambda p, w: (
            p * (-1, 1) + (w - 1, 0)
        ),
        "reordered, but not moved: x becomes width - 1 - x": lambda p, w: p[MIRROR],
        "half a pixel too far on each side: pixel 0 becomes pixel width - 1, so x becomes width - 1 - x": lambda p, w: (
            p * (-1, 1) + (w, 0)
        )[MIRROR],
        "pixel 0 becomes pixel width - 1; and the order is still the old one": lambda p, w: p * (-1, 1) + (w, 0),
        "that is upside down: mirror x, not y": lambda p, w: (p * (1, -1) + (0, w - 1))[MIRROR],
        "x changes its sign only: the mirrored image begins at 0, so x becomes width - 1 - x": lambda p, w: (
            p * (-1, 1)
        )[MIRROR],
        "images have other widths, too: use width": lambda p, w: right_mirror(p, 100),
        "the order is turned round as a whole; each point has its own partner: apply MIRROR": lambda p, w: (
            p * (-1, 1) + (w - 1, 0)
        )[::-1],
        "x and y are both mirrored: that is a half turn": lambda p, w: (p * -1 + w - 1)[MIRROR],
        "mirrored about the face's own middle; it is the image that is mirrored: width - 1 - x": lambda p, w: (
            p * (-1, 1) + (2 * p[:, 0].mean(), 0)
        )[MIRROR],
    }
    explain(given, cases, hints)
    if not _all(given, cases, right_mirror):
        raise Wrong("not yet: first x becomes width - 1 - x, then the order by MIRROR")
    return "right, and mirrored twice it is the old one"


Pictures = Sequence[tuple[str, str]]  # (person, photograph)


def right_leaks(train: Pictures, val: Pictures) -> set[str]:
    """The people who are on both sides of a split."""
    return {person for person, _ in train} & {person for person, _ in val}


@exercise(reference=right_leaks)
def leaks(answer) -> str:
    """Exercise 4.5: who is on both sides of a split of (person, photograph) pairs."""
    clean = [("ada", "p1"), ("ada", "p2"), ("bo", "p3")], [("cy", "p4"), ("cy", "p5")]
    by_person = [("ada", "p1"), ("bo", "p2"), ("bo", "p3"), ("cy", "p4")], [("bo", "p5"), ("di", "p6"), ("cy", "p7")]
    # The group's photograph p1 shows two people, one of them on each side.
    group = [("ada", "p1"), ("bo", "p2")], [("di", "p1"), ("eve", "p9")]
    cases = [clean, by_person, group]
    replies = []
    for case in cases:
        reply = ask(answer, *case)
        if isinstance(reply, bool | np.bool_):
            raise Wrong("yes or no is too little to mend it: return the set of people who are on both sides")
        if isinstance(reply, int | np.integer):
            raise Wrong("that is how many; return who: the set of people on both sides")
        if isinstance(reply, str) or not hasattr(reply, "__iter__"):
            raise Wrong(f"got {type(reply).__name__}, expected a set of people")
        replies.append(list(reply))

    def is_rule(rule: Callable[[Pictures, Pictures], set]) -> bool:
        return all(_as_set(r) == rule(*case) for r, case in zip(replies, cases, strict=True))

    if is_rule(lambda train, val: {photo for _, photo in train} & {photo for _, photo in val}):
        raise Wrong("these are photographs on both sides: none here, and yet a person can be on both")
    if is_rule(lambda train, val: set(train) & set(val)):
        raise Wrong("no pair is on both sides, but that compares person and photograph together: compare the people")
    if is_rule(lambda train, val: {person for person, _ in val}):
        raise Wrong("that is everybody on the validation side; asked are those who are on both")
    if is_rule(lambda train, val: {p for p, _ in train} | {p for p, _ in val}):
        raise Wrong("that is everybody: take the intersection, not the union")
    if is_rule(lambda train, val: {pair for pair in val if pair[0] in right_leaks(train, val)}):
        raise Wrong("these are pairs (person, photograph); return the people alone")
    if is_rule(lambda train, val: {p for p, _ in train} ^ {p for p, _ in val}):
        raise Wrong("those are on one side only; asked are those on both")
    if not is_rule(right_leaks):
        found, right = sorted(map(str, _as_set(replies[1]))), sorted(right_leaks(*by_person))
        raise Wrong(f"for train {by_person[0]} and val {by_person[1]}: got {found}, expected {right}")
    return "right: a figure on people whom the network has met says nothing about strangers"


def _as_set(reply: Sequence[Any]) -> set:
    try:
        return set(reply)
    except TypeError:
        raise Wrong("return a set of people: their names, not lists") from None


def _centres(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 2) and sides (N,) of boxes (N, 4): left, top, width, height, in pixels."""
    boxes = np.asarray(boxes, float)
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2, np.sqrt(boxes[:, 2] * boxes[:, 3])


def right_box_map(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Scale, and shift right and down in parts of the found side, that make found boxes (N, 4) into the wanted ones."""
    (centre, side), (goal, goal_side) = _centres(found), _centres(wanted)
    dx, dy = np.median((goal - centre) / side[:, None], axis=0)
    return float(np.median(goal_side / side)), float(dx), float(dy)


@exercise(reference=right_box_map)
def box_map(answer) -> str:
    """Exercise 4.6: how a detector's boxes become those that the network was trained with."""
    rng = np.random.default_rng(0)
    n, scale, dx, dy = 200, 0.8, 0.03, 0.12
    side = rng.uniform(40, 300, n)
    left_top = rng.uniform(0, 500, (n, 2))
    found = np.column_stack([left_top, side, side])
    centre = left_top + (side[:, None] - 1) / 2
    goal = centre + side[:, None] * rng.normal((dx, dy), 0.02, (n, 2))
    goal_side = side * scale * np.exp(rng.normal(0, 0.03, n))
    away = np.arange(n) % 12 == 5  # boxes of somebody else in the photograph
    goal[away] += side[away, None] * (3.0, 1.0)
    goal_side[away] *= 1.6
    wanted = np.column_stack([goal - (goal_side[:, None] - 1) / 2, goal_side, goal_side])
    reply = array(ask(answer, found, wanted)).ravel()
    if len(reply) != 3:
        raise Wrong(f"{len(reply)} numbers, expected three: scale, dx, dy")
    if not np.isfinite(reply).all():
        raise Wrong(f"got {reply.tolist()}, expected finite numbers")

    def near(*values: float, tolerance: float = 0.008) -> bool:
        return bool(np.abs(reply - values).max() <= tolerance)

    (a, s), (b, t) = _centres(found), _centres(wanted)
    right = right_box_map(found, wanted)
    corner = np.median((wanted[:, :2] - found[:, :2]) / s[:, None], axis=0)
    theirs = np.median((b - a) / t[:, None], axis=0)
    mean = ((b - a) / s[:, None]).mean(axis=0)
    pixels = np.median(b - a, axis=0)
    if near(*right_box_map(wanted, found)):
        raise Wrong("the wrong way round: that makes the wanted boxes into the detector's")
    if near(1 / right[0], right[1], right[2]):
        raise Wrong("the scale is upside down: wanted side over found side")
    if near(right[0], -right[1], -right[2]):
        raise Wrong("the shift has the wrong sign: from the found centre to the wanted one")
    if near(right[1], right[2], right[0]):
        raise Wrong("the order: scale first, then dx, dy")
    if near(right[0], right[2], right[1]):
        raise Wrong("dx and dy are swapped: x is the first coordinate")
    if near(right[0] ** 2, right[1], right[2]):
        raise Wrong("that is the ratio of the areas; the scale is that of the sides")
    if near(right[0], *corner):
        raise Wrong("these are the corners' shifts; a box that shrinks moves its corner, so take the centres")
    if near(right[0], *theirs, tolerance=0.004):
        raise Wrong("in parts of the wanted side; when it is used only the found one is known: divide by that")
    if near(float((t / s).mean()), *mean, tolerance=0.01) or near(right[0], *mean, tolerance=0.01):
        raise Wrong("some found boxes are of somebody else, and a mean follows them: take the median")
    if np.abs(reply[1:] - pixels).max() < 0.5:
        raise Wrong("the shift is in pixels; faces have all sizes, so state it in parts of the found side")
    if not near(*right):
        said = ", ".join(f"{value:.3f}" for value in reply)
        raise Wrong(f"got {said}, expected about {scale}, {dx}, {dy}: medians of side by side, and shift by found side")
    return "right: that is what flcourse.points.BOX_MAPS holds for each detector"
