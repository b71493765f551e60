"""Checks of notebook 06's exercises, and the course's own answers to them."""

from itertools import pairwise

import numpy as np

from flcourse.exercises.verdict import Wrong, array, ask, exercise, number, same
from flcourse.points import Box, apply, crop_matrix, invert

# --- 6.1: back from the crop ---


def _back(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the crop that `matrix` (2, 3) made, in the image's pixels (N, 2)."""
    return apply(points, invert(matrix))


@exercise(reference=_back)
def back(answer) -> str:
    """Exercise 6.1: points of the crop, back in the image."""
    points = np.random.default_rng(0).uniform(0, 111, (68, 2))
    for box, rotation in ((Box(120, 80, 140, 140), 20.0), (Box(-30, 410, 300, 300), -75.0)):
        matrix = crop_matrix(box, 112, rotation=rotation)
        right, linear, shift = _back(points, matrix), matrix[:, :2], matrix[:, 2]
        inverse = np.linalg.inv(linear)
        given = array(ask(answer, points, matrix))
        if given.shape == (2, 68):
            raise Wrong("the shape is (2, 68), expected (68, 2): transpose the result, a point is a row")
        if given.shape == (68, 3):
            raise Wrong("the shape is (68, 3), expected (68, 2): leave the appended ones away again")
        if given.shape != (68, 2):
            raise Wrong(f"the shape is {given.shape}, expected (68, 2)")
        if same(given, apply(points, matrix)):
            raise Wrong("that applies the crop's matrix once more; here it has to be undone")
        if same(given, points @ inverse.T - shift):
            raise Wrong("first take the shift away, then undo the linear part: the order matters")
        if same(given, points @ inverse.T):
            raise Wrong("the shift is missing: the crop does not begin at the image's corner")
        if same(given, (points + shift) @ inverse.T):
            raise Wrong("the crop added the shift, so take it away: points - t")
        if same(given, (points - shift) @ linear):
            raise Wrong("the transpose undoes a rotation, but not the scale: take the inverse")
        if same(given, (points - shift) @ inverse):
            raise Wrong("points are rows here: multiply by the inverse's transpose (or write (A^-1 @ p.T).T)")
        if same(given, right.round()):
            raise Wrong("right, but rounded: points lie between the pixels' centres, too")
        if not same(given, right):
            raise Wrong("not yet: if q = A p + t, then p = A^-1 (q - t)")
    return "right: the same as flcourse.points.invert"


# --- 6.2: is this score a chance? ---


def _surplus(scores: np.ndarray, right: np.ndarray, low: float, high: float) -> float:
    """Mean score minus share right of the answers (N,) whose score is at least `low` and below `high`."""
    chosen = (scores >= low) & (scores < high)
    return float(scores[chosen].mean() - right[chosen].mean())


@exercise(reference=_surplus)
def surplus(answer) -> str:
    """Exercise 6.2: how much too sure the answers with scores in a range are."""
    scores = np.array([0.95, 0.9, 0.9, 0.97, 0.92, 0.5, 0.62, 0.7, 0.58, 0.1, 0.3])
    truth = np.array([True, False, False, True, False, True, True, False, True, False, False])
    for low, high in ((0.9, 1.0), (0.5, 0.7)):
        inside = (scores >= low) & (scores < high)
        right = _surplus(scores, truth, low, high)
        given = number(ask(answer, scores, truth, low, high))
        mistakes = {
            "too sure and not sure enough are different faults: keep the sign": abs(right),
            "the other way round: too sure is positive, so mean score minus share right": -right,
            "in percent; scores and shares go from 0 to 1": 100 * right,
            "that is the share of right answers; how far is the mean score above it?": truth[inside].mean(),
            "that is the mean score; how often were these answers right?": scores[inside].mean(),
            "of all answers; only those with a score from `low` to below `high` count": scores.mean() - truth.mean(),
            "the mean score is not the middle of the range: scores crowd at one end of it": (low + high) / 2
            - truth[inside].mean(),
            "these are sums; a bin with more answers would seem worse: take means": (
                scores[inside] - truth[inside]
            ).sum(),
            "divided by all answers; divide by those in the range": (scores[inside] - truth[inside]).sum()
            / len(scores),
            "the share of right ones is among the answers in the range, not among all": scores[inside].mean()
            - truth[inside].sum() / len(scores),
            "a score of exactly `high` belongs to the next range: score < high": _surplus(
                scores, truth, low, high + 1e-9
            ),
            "a score of exactly `low` belongs to this range: score >= low": _surplus(scores, truth, low + 1e-9, high),
        }
        if not same(given, right):
            for text, mistake in mistakes.items():
                if same(given, mistake):
                    raise Wrong(text)
            raise Wrong(f"scores from {low} to {high}: got {given:.4f}, expected {right:.4f}: mean score - share right")
    return "right: above 0 it is too sure, below 0 not sure enough"


# --- 6.3, 6.4: filters ---


def _share(cutoff: float | np.ndarray, seconds: float) -> float | np.ndarray:
    """How far a low-pass of `cutoff` Hz goes towards its input in one step of `seconds`."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))


@exercise(reference=_share)
def share(answer) -> str:
    """Exercise 6.3: how far a low-pass filter of a cutoff frequency goes towards a new value."""
    for cutoff, seconds in ((1.0, 1 / 30), (5.0, 1 / 30), (1.0, 0.1)):
        right = _share(cutoff, seconds)
        given = number(ask(answer, cutoff, seconds))
        if same(given, 1 - right):
            raise Wrong("that is what stays of the old value; asked is the new value's share")
        if same(given, 1 / (1 + 1 / (cutoff * seconds))):
            raise Wrong("a frequency in Hz becomes a time constant by 1 / (2 pi cutoff)")
        if same(given, 2 * np.pi * cutoff * seconds) or (cutoff == 5 and given == 1):
            raise Wrong("nearly, for fast frames; for slow ones that goes beyond 1: 1 / (1 + tau / seconds)")
        if same(given, 1 / (1 + 2 * np.pi * cutoff / seconds)) or same(given, 1 / (1 + 2 * np.pi * cutoff * seconds)):
            raise Wrong("tau is 1 / (2 pi cutoff), not 2 pi cutoff; then 1 / (1 + tau / seconds)")
        if same(given, 1 - np.exp(-2 * np.pi * cutoff * seconds)):
            raise Wrong("that is the exact exponential; the formula above is its first step: 1 / (1 + tau / seconds)")
        if not same(given, right):
            raise Wrong(f"cutoff {cutoff} Hz, {seconds:.3f} s: got {given:.4f}, expected {right:.4f}")
    return "right: a higher cutoff, or more time between frames, trusts the new value more"


SPEED_CUTOFF = 1.0  # Hz: of the speed's own low-pass, as in the paper


def _one_euro(values: np.ndarray, seconds: float, least: float, beta: float) -> np.ndarray:
    """Values (T, ...), `seconds` apart, through the One-Euro filter of each."""
    return _filtered(np.asarray(values, float), seconds, least, beta)


def _filtered(
    values: np.ndarray,
    seconds: float,
    least: float,
    beta: float,
    *,
    start: bool = True,
    size: bool = True,
    calm_speed: float | None = SPEED_CUTOFF,
    unit: float | None = None,
    from_smooth: bool = False,
    late: bool = False,
    stays: bool = False,
) -> np.ndarray:
    """The One-Euro filter, or with one of the usual mistakes in it."""
    smooth = values[0] if start else np.zeros_like(values[0])
    out, speed = [smooth], np.zeros_like(values[0])
    for before, value in pairwise(values):
        change = (value - (smooth if from_smooth else before)) / (seconds if unit is None else unit)
        old, speed = speed, change if calm_speed is None else speed + _share(calm_speed, seconds) * (change - speed)
        used = old if late else speed
        with np.errstate(all="ignore"):
            part = _share(least + beta * (np.abs(used) if size else used), seconds)
        smooth = smooth + (1 - part if stays else part) * (value - smooth)
        out.append(smooth)
    return np.array(out)


@exercise(reference=_one_euro)
def one_euro(answer) -> str:
    """Exercise 6.4: the One-Euro filter of values (T, ...)."""
    seconds, least, beta = 1 / 30, 0.7, 2.0
    at = np.arange(40) * seconds
    values = 3 + np.sin(2 * np.pi * at) + 0.2 * np.random.default_rng(0).standard_normal(40)
    right = _filtered(values, seconds, least, beta)
    given = array(ask(answer, values, seconds, least, beta))
    if given.shape != values.shape:
        raise Wrong(f"the shape is {given.shape}, expected {values.shape}: a smooth value for each, the first included")
    mistakes = {
        "begin with the first value, not with zero: else the face flies in from the corner": {"start": False},
        "the speed has a sign: a face that moves to the left would be smoothed more; take its size, abs": {
            "size": False
        },
        "the speed itself trembles: put it through a low-pass of 1 Hz, too": {"calm_speed": None},
        "a change is not yet a speed: divide it by the seconds between the frames": {"unit": 1.0},
        "the speed's own low-pass has a cutoff of 1 Hz, not of `least`": {"calm_speed": least},
        "the cutoff comes from the last frame's speed; update the speed first": {"late": True},
        "the share goes to the new value: smooth + share * (value - smooth)": {"stays": True},
    }
    for text, mistake in mistakes.items():
        if same(given, _filtered(values, seconds, least, beta, **mistake)):
            raise Wrong(text)
    if same(given, values):
        raise Wrong("nothing is smoothed: the values come out as they went in")
    if same(given, _filtered(values, seconds, least, 0.0)):
        raise Wrong("the cutoff stays at `least`, however fast it moves: add beta times the size of the speed")
    if same(given, _filtered(values, seconds, 0.0, beta)):
        raise Wrong("`least` is missing: the cutoff is least + beta * |speed|")
    authors = same(given, _filtered(values, seconds, least, beta, from_smooth=True))
    if not authors and not same(given, right):
        first = int(np.argmax(np.abs(given - right) > 1e-5 * np.abs(right).max()))
        raise Wrong(
            f"value {first} is {given[first]:.4f}, expected {right[first]:.4f}: follow the four lines, in order"
        )
    for more in ((30.0, 0.2, 0.5), (0.04, 2.0, 9.0)):  # other settings: none of them may be fixed
        if not same(ask(answer, values, *more), _filtered(values, *more, from_smooth=authors)):
            raise Wrong("right here, but not for other seconds, least and beta: use all three arguments")
    points = np.random.default_rng(1).uniform(0, 9, (12, 5, 2))
    shape = np.shape(ask(answer, points, seconds, least, beta))
    if shape != points.shape or not same(
        ask(answer, points, seconds, least, beta), _filtered(points, seconds, least, beta, from_smooth=authors)
    ):
        raise Wrong("right for one number a frame, but not for points: values (T, 68, 2), each coordinate by itself")
    if authors:
        return "right: you take the change from the smooth value, as the authors' own code does"
    return "right: calm at rest, quick in motion"


# --- 6.5, 6.6: eyes ---


def _openness(eye: np.ndarray) -> float:
    """The eye aspect ratio of six points (6, 2)."""
    lids = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
    return float(lids / (2 * np.linalg.norm(eye[0] - eye[3])))


@exercise(reference=_openness)
def openness(answer) -> str:
    """Exercise 6.5: the eye aspect ratio of six points."""
    eye = np.array([[0, 0], [10, -4.2], [21, -5], [30, 1], [20, 5], [9, 4.0]]) + 50
    width, right = np.linalg.norm(eye[0] - eye[3]), _openness(eye)
    first, second = np.linalg.norm(eye[1] - eye[5]), np.linalg.norm(eye[2] - eye[4])
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    given = number(ask(answer, eye))
    if same(given, 2 * right):
        raise Wrong("two lid distances are added: divide by two widths, for their mean")
    if same(given, right / 2):
        raise Wrong("half of it: the mean of two lid distances over one width")
    if same(given, 1 / right):
        raise Wrong("that is width by height; an open eye should give the larger number")
    if same(given, (first + second) / 2) or same(given, first + second):
        raise Wrong("these are pixels: nearer faces would have wider eyes; divide by the eye's width")
    if same(given, first / width) or same(given, second / width):
        raise Wrong("that is one pair of lid points; the mean of both is steadier")
    if same(given, (np.linalg.norm(eye[1] - eye[4]) + np.linalg.norm(eye[2] - eye[5])) / (2 * width)):
        raise Wrong("crossed: above each other stand points 1 and 5, and points 2 and 4")
    if same(given, (first**2 + second**2) / (2 * width**2)):
        raise Wrong("these are squares of distances: np.linalg.norm, or take the square root")
    if same(given, np.linalg.norm(eye[1] - eye[5] + eye[2] - eye[4]) / (2 * width)):
        raise Wrong("add the two distances, not the two vectors: np.linalg.norm of each")
    heights = (abs(eye[1] - eye[5])[1] + abs(eye[2] - eye[4])[1]) / 2
    if same(given, heights / width) or same(given, heights / abs(eye[0] - eye[3])[0]):
        raise Wrong("heights in y are wrong for a tilted head: take distances")
    if not same(given, right):
        raise Wrong(f"got {given:.4f}, expected {right:.4f}: (|p1 - p5| + |p2 - p4|) / (2 |p0 - p3|)")
    if not same(number(ask(answer, 3 * eye @ turn.T)), right):
        raise Wrong("right here, but not for a larger, tilted eye: use distances only")
    if abs(number(ask(answer, eye * (1, 0.2))) - _openness(eye * (1, 0.2))) > 1e-5:
        raise Wrong("right for this eye, but not for one that is nearly shut: use all six points")
    return "right: the same for near, far and tilted heads"


def _blinks(values: np.ndarray, closed: float, opened: float) -> int:
    """How often `values` fall below `closed` after they were above `opened`."""
    count, open_before = 0, False
    for value in values:
        if value > opened:
            open_before = True
        elif value < closed and open_before:
            count, open_before = count + 1, False
    return count


@exercise(reference=_blinks)
def blinks(answer) -> str:
    """Exercise 6.6: how often an openness falls below `closed` after it was above `opened`."""

    def ask_with(values: list[float], closed: float = 0.1, opened: float = 0.2) -> float:
        return number(ask(answer, np.array(values), closed, opened))

    given = ask_with([0.3, 0.3, 0.05, 0.3, 0.3, 0.04, 0.05, 0.3])
    if given == 3:
        raise Wrong("that counts frames with closed eyes; a blink of two frames is one blink")
    if given in (4, 5):
        raise Wrong(f"two blinks: you count {given:g}; count falls, not the rises after them")
    if given == 1:
        raise Wrong("two blinks, and you count one: after a blink, a value above `opened` allows the next")
    if given != 2:
        raise Wrong(f"two blinks, the second two frames long: you count {given:g}")
    if ask_with([0.3, 0.11, 0.09, 0.11, 0.09, 0.3]) != 1:
        raise Wrong("a value that trembles about one threshold is one blink: only after `opened` may the next begin")
    if ask_with([0.05, 0.05, 0.3]) != 0:
        raise Wrong("a video that begins with closed eyes: no blink was seen to begin")
    if ask_with([0.15, 0.05, 0.3]) != 0:
        raise Wrong("a video that begins with half closed eyes: they were never above `opened`, so no blink began")
    if ask_with([0.3, 0.15, 0.3]) != 0:
        raise Wrong("half closed is no blink: it has to fall below `closed`")
    if ask_with([0.3, 0.3, 0.05, 0.05]) != 1:
        raise Wrong("a video that ends with closed eyes: the blink began, so it counts when the eyes close")
    if ask_with([0.3, 0.15, 0.05, 0.15, 0.3, 0.15, 0.05]) != 2:
        raise Wrong("eyes close over several frames: between open and closed there may be values between")
    if ask_with([0.9, 0.5, 0.3, 0.5, 0.9, 0.3], 0.4, 0.6) != 2 or ask_with([0.3, 0.05, 0.3], 0.01, 0.02) != 0:
        raise Wrong("right for these thresholds only: use the arguments `closed` and `opened`")
    if ask_with([]) != 0:
        raise Wrong("a video without frames has no blinks")
    return "right: two thresholds, so that noise at one of them counts nothing twice"


# --- 6.7: whose zero is it? ---


def _own_zero(angles: np.ndarray, frontal: np.ndarray) -> np.ndarray:
    """One person's angles (N,) without their usual value where they looked straight ahead, `frontal` (N,) bool."""
    return angles - np.median(angles[frontal]) if np.any(frontal) else angles


@exercise(reference=_own_zero)
def own_zero(answer) -> str:
    """Exercise 6.7: a person's angles without the constant error of that person."""
    true = np.array([-20.0, 0, 1, -1, 10, 20, 30])
    frontal = np.array([False, True, True, True, False, False, False])
    for offset in (6.0, -4.0):
        angles = true + offset
        given = array(ask(answer, angles, frontal))
        if given.size == 1:
            raise Wrong("that is the person's own zero; return the angles with it taken away")
        if given.shape != angles.shape:
            raise Wrong(f"the shape is {given.shape}, expected {angles.shape}: an angle for every frame")
        if same(given, angles):
            raise Wrong("nothing has changed: which value do the frontal frames have, and which should they have?")
        if same(given, angles - angles.mean()) or same(given, angles - np.median(angles)):
            raise Wrong("the mean of all frames is no zero: this person looked up more than down; use frontal frames")
        if same(given, angles - angles[0]):
            raise Wrong("the first frame need not be a frontal one: `frontal` says which are")
        if same(given, angles + offset):
            raise Wrong("the wrong sign: frontal frames are now off by twice as much")
        if same(given, np.where(frontal, 0, angles)) or same(given, np.where(frontal, angles - offset, angles)):
            raise Wrong("only the frontal frames have changed; the same error is in all of this person's frames")
        if not same(given, true):
            raise Wrong("not yet: the frontal frames' median should become 0, and all frames move by the same")
    with np.errstate(all="ignore"):
        given = array(ask(answer, true, np.zeros(len(true), bool)))
    if not same(given, true):
        raise Wrong("without a frontal frame nothing is known about this person: return the angles as they are")
    return "right: one number a person, taken from frames in which the truth is known"
