"""Notebook 06's checks under attack: no wrong answer passes, no right one is refused, in whatever form it comes."""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from flcourse.exercises import live_landmarks as n6
from flcourse.face.measure import eye_openness
from flcourse.points import apply, invert

# --- forms in which a right number or array may come ---

NUMBERS = {
    "float": float,
    "float64": np.float64,
    "float32": np.float32,
    "array of no size": np.array,
    "array of one": lambda x: np.array([x]),
    "column": lambda x: np.array([[x]]),
    "list": lambda x: [float(x)],
    "tuple": lambda x: (float(x),),
    "text": lambda x: repr(float(x)),
    "tensor": torch.tensor,
    "tensor of one, with a gradient": lambda x: torch.tensor([float(x)], requires_grad=True),
}
ARRAYS = {
    "float64": np.asarray,
    "float32": lambda x: np.asarray(x, np.float32),
    "list": lambda x: np.asarray(x).tolist(),
    "list of arrays": lambda x: list(np.asarray(x)),
    "tuple": lambda x: tuple(np.asarray(x)),
    "Fortran": np.asfortranarray,
    "tensor": lambda x: torch.tensor(np.asarray(x)),
    "tensor with a gradient": lambda x: torch.tensor(np.asarray(x), requires_grad=True),
}


def lids(e):
    return np.linalg.norm(e[1] - e[5]), np.linalg.norm(e[2] - e[4])


def wide(e):
    return np.linalg.norm(e[0] - e[3])


def by_numpy_alone(values, seconds, least, beta):
    """The One-Euro filter written another way: with exponential forms, in place, on flat arrays."""
    flat = np.array(values, float).reshape(len(values), -1)
    out, speed = flat.copy(), np.zeros(flat.shape[1])
    for i in range(1, len(flat)):
        r = 2 * math.pi * seconds
        speed = (speed + r * (flat[i] - flat[i - 1]) / seconds) / (1 + r)
        r *= least + beta * abs(speed)
        out[i] = (out[i - 1] + r * flat[i]) / (1 + r)
    return out.reshape(np.shape(values))


def blinks_by_string(values, closed, opened):
    states = "".join("o" if v > opened else "c" if v < closed else "" for v in values)
    return states.count("oc")


def blinks_by_state(values, closed, opened):
    state, count = "unknown", 0
    for v in values:
        if v > opened:
            state = "open"
        if v < closed:
            count += state == "open"
            state = "closed"
    return count


RIGHT = {  # check: right answers, written differently
    n6.back: {
        "reference": n6.back.reference,
        "solve": lambda p, m: np.linalg.solve(m[:, :2], (p - m[:, 2]).T).T,
        "cv2": lambda p, m: cv2.transform(p[None], cv2.invertAffineTransform(m))[0],
        "homogeneous": lambda p, m: (np.linalg.inv(np.vstack([m, [0, 0, 1]])) @ np.c_[p, np.ones(68)].T)[:2].T,
        "one by one": lambda p, m: [np.linalg.inv(m[:, :2]) @ (q - m[:, 2]) for q in p],
        "transpose over the square of the scale": lambda p, m: (p - m[:, 2]) @ m[:, :2] / np.linalg.det(m[:, :2]),
    },
    n6.surplus: {
        "reference": n6.surplus.reference,
        "mean of differences": lambda s, r, a, b: np.mean((s - r)[(s >= a) & (s < b)]),
        "loop": lambda s, r, a, b: np.mean([x - y for x, y in zip(s, r, strict=True) if a <= x < b]),
        "weights": lambda s, r, a, b: np.average(s - r, weights=(a <= s) & (s < b)),
    },
    n6.share: {
        "reference": n6.share.reference,
        "times": lambda c, s: s / (s + 1 / (2 * math.pi * c)),
        "omega": lambda c, s: (2 * np.pi * c * s) / (1 + 2 * np.pi * c * s),
        "one minus what stays": lambda c, s: 1 - (1 / (2 * np.pi * c)) / (s + 1 / (2 * np.pi * c)),
    },
    n6.one_euro: {
        "reference": n6.one_euro.reference,
        "another way": by_numpy_alone,
        "the authors' way": lambda *a: n6._filtered(np.asarray(a[0], float), *a[1:], from_smooth=True),
    },
    n6.openness: {
        "reference": n6.openness.reference,
        "hypot": lambda e: (np.hypot(*(e[1] - e[5])) + np.hypot(*(e[2] - e[4]))) / 2 / np.hypot(*(e[0] - e[3])),
        "dist": lambda e: (math.dist(e[1], e[5]) + math.dist(e[2], e[4])) / (2 * math.dist(e[0], e[3])),
        "complex": lambda e: (
            sum(abs((e[a] - e[b]) @ (1, 1j)) for a, b in ((1, 5), (2, 4))) / 2 / abs((e[0] - e[3]) @ (1, 1j))
        ),
        "the package's": lambda e: eye_openness(np.concatenate([np.zeros((36, 2)), e, e, np.zeros((20, 2))]))[0],
        "ratio of each": lambda e: np.mean([d / wide(e) for d in lids(e)]),
    },
    n6.blinks: {
        "reference": n6.blinks.reference,
        "string": blinks_by_string,
        "state": blinks_by_state,
        "on a list": lambda v, c, o: blinks_by_state(v.tolist(), c, o),
    },
    n6.own_zero: {
        "reference": n6.own_zero.reference,
        "mean": lambda a, f: a - a[f].mean() if f.any() else a,
        "where": lambda a, f: a - (np.nanmedian(np.where(f, a, np.nan)) if f.sum() else 0),
        "in place": lambda a, f: np.subtract(a, np.median(a[f]), out=a) if any(f) else a,
        "loop": lambda a, f: [x - (sum(a[f]) / max(1, sum(f))) for x in a],
    },
}
FORMS = {n6.back: ARRAYS, n6.one_euro: ARRAYS, n6.own_zero: ARRAYS}
RIGHTS = [
    pytest.param(check, answer, form, id=f"{check.__name__}, {how}, {kind}")
    for check, answers in RIGHT.items()
    for how, answer in answers.items()
    for kind, form in FORMS.get(check, NUMBERS).items()
    if not (kind == "float32" and check is n6.back and how == "cv2")
]


@pytest.mark.parametrize("check, answer, form", RIGHTS)
def test_right_answers_pass_in_any_form(check, answer, form):
    verdict = check(lambda *arguments: form(answer(*arguments)))
    assert verdict.right, verdict


def test_every_solved_exercise_drives_a_later_cell():
    notebook = Path(__file__).parents[1] / "notebooks" / "06_live_landmarks.ipynb"
    sources = ["".join(cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    for check in RIGHT:
        call = f"check.{check.__name__}"
        [asked] = (i for i, source in enumerate(sources) if f"{call}(my_{check.__name__})" in source)
        assert any(f"{call}.use(my_{check.__name__})" in source for source in sources[asked:])


# --- wrong answers ---

NONSENSE = {
    "nothing": lambda *a: None,
    "nan": lambda *a: np.nan,
    "infinity": lambda *a: np.inf,
    "text": lambda *a: "seven",
    "empty text": lambda *a: "",
    "a list of nothing": lambda *a: [],
    "a dict": lambda *a: {"x": 1},
    "its arguments": lambda *a: a,
    "zero": lambda *a: 0,
    "one": lambda *a: 1,
    "minus one": lambda *a: -1,
    "true": lambda *a: True,
    "a complex number": lambda *a: 1j,
    "ragged": lambda *a: [[1, 2], [3]],
    "the type": lambda *a: float,
    "a generator": lambda *a: (x for x in range(68)),
    "nan like the first": lambda *a: np.full(np.shape(a[0]), np.nan),
    "zeros like the first": lambda *a: np.zeros(np.shape(a[0])),
    "the first": lambda *a: a[0],
    "a random array": lambda *a: np.random.default_rng(5).random(np.shape(a[0])),
    "too few arguments": lambda: 1,
    "too many arguments": lambda a, b, c, d, e, f: 1,
    "an error": lambda *a: 1 / 0,
    "the end": lambda *a: sys.exit(),
    "no answer": ...,
    "no function": 7,
    "a string": "my answer",
    "None": None,
    "a class": dict,
    "print": print,
}


@pytest.mark.parametrize("check", list(RIGHT), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_refused_in_one_line(check, kind, capsys):
    verdict = check(NONSENSE[kind])
    assert not verdict.right and verdict.text and "\n" not in verdict.text


def inverse(m):
    return np.linalg.inv(m[:, :2])


def euro(**mistakes):
    return lambda v, s, least, beta: n6._filtered(np.asarray(v, float), s, least, beta, **mistakes)


def chosen(s, a, b):
    return (s >= a) & (s < b)


def falls(v, c):
    return sum(1 for a, b in pairwise(v) if b < c <= a)


def at_reopening(values, closed, opened):
    """Counts a blink where the eye opens again."""
    count, shut, was_open = 0, False, False
    for v in values:
        if v > opened:
            count += shut
            shut, was_open = False, True
        elif v < closed and was_open:
            shut = True
    return count


def starts_open(values, closed, opened):
    count, was_open = 0, len(values) == 0 or values[0] >= closed
    for v in values:
        if v > opened:
            was_open = True
        elif v < closed and was_open:
            count, was_open = count + 1, False
    return count


def next_frame_only(values, closed, opened):
    return sum(1 for a, b in pairwise(values) if a > opened and b < closed)


def zero(a, f):
    return np.median(a[f]) if f.any() else 0.0


WRONG = [  # check, answer, a word of the hint that fits it
    (n6.back, lambda p, m: apply(p, m), "undone"),
    (n6.back, lambda p, m: p @ inverse(m).T - m[:, 2], "first take the shift away"),
    (n6.back, lambda p, m: p @ inverse(m).T, "shift is missing"),
    (n6.back, lambda p, m: p @ inverse(m).T + m[:, 2], "not yet"),
    (n6.back, lambda p, m: (p + m[:, 2]) @ inverse(m).T, "take it away"),
    (n6.back, lambda p, m: (p - m[:, 2]) @ m[:, :2], "transpose"),
    (n6.back, lambda p, m: (p - m[:, 2]) @ m[:, :2].T, "not yet"),
    (n6.back, lambda p, m: (p - m[:, 2]) @ inverse(m), "rows"),
    (n6.back, lambda p, m: inverse(m) @ (p - m[:, 2]).T, "expected (68, 2)"),
    (n6.back, lambda p, m: inverse(m) @ (p - m[:, 2]), "raised ValueError"),
    (n6.back, lambda p, m: apply(p, invert(m)).round(), "rounded"),
    (n6.back, lambda p, m: apply(p, invert(m)).astype(int), "not yet"),
    (n6.back, lambda p, m: apply(p, invert(m)) + 0.5, "not yet"),
    (n6.back, lambda p, m: apply(p, invert(m)) + 0.05, "not yet"),
    (n6.back, lambda p, m: apply(p, invert(m))[:, ::-1], "not yet"),
    (n6.back, lambda p, m: np.c_[apply(p, invert(m)), np.ones(68)], "ones away"),
    (n6.back, lambda p, m: apply(p, invert(m))[:67], "expected (68, 2)"),
    (n6.back, lambda p, m: apply(p, invert(m)).ravel(), "expected (68, 2)"),
    (n6.back, lambda p, m: np.where(np.arange(68)[:, None] == 9, np.nan, apply(p, invert(m))), "not yet"),
    (n6.back, lambda p, m: p - m[:, 2], "not yet"),
    (n6.surplus, lambda s, r, a, b: -n6._surplus(s, r, a, b), "other way round"),
    (n6.surplus, lambda s, r, a, b: abs(n6._surplus(s, r, a, b)), "keep the sign"),
    (n6.surplus, lambda s, r, a, b: 100 * n6._surplus(s, r, a, b), "percent"),
    (n6.surplus, lambda s, r, a, b: r[chosen(s, a, b)].mean(), "share of right answers"),
    (n6.surplus, lambda s, r, a, b: s[chosen(s, a, b)].mean(), "mean score; how often"),
    (n6.surplus, lambda s, r, a, b: s.mean() - r.mean(), "of all answers"),
    (n6.surplus, lambda s, r, a, b: (a + b) / 2 - r[chosen(s, a, b)].mean(), "middle of the range"),
    (n6.surplus, lambda s, r, a, b: (s - r)[chosen(s, a, b)].sum(), "these are sums"),
    (n6.surplus, lambda s, r, a, b: (s - r)[chosen(s, a, b)].sum() / len(s), "divided by all"),
    (n6.surplus, lambda s, r, a, b: s[chosen(s, a, b)].mean() - r[chosen(s, a, b)].sum() / len(s), "not among all"),
    (n6.surplus, lambda s, r, a, b: (s - r)[(s >= a) & (s <= b)].mean(), "exactly `high`"),
    (n6.surplus, lambda s, r, a, b: (s - r)[(s > a) & (s < b)].mean(), "exactly `low`"),
    (n6.surplus, lambda s, r, a, b: (s - r)[s >= a].mean(), "expected"),
    (n6.surplus, lambda s, r, a, b: n6._surplus(s, r, 0.9, 1.0), "expected"),
    (n6.surplus, lambda s, r, a, b: np.median((s - r)[chosen(s, a, b)]), "expected"),
    (n6.surplus, lambda s, r, a, b: (s - r)[chosen(s, a, b)], "one number"),
    (n6.surplus, lambda s, r, a, b: s[r & chosen(s, a, b)].mean(), "expected"),
    (n6.share, lambda c, s: 1 - n6._share(c, s), "stays of the old"),
    (n6.share, lambda c, s: 1 / (1 + 1 / (c * s)), "2 pi"),
    (n6.share, lambda c, s: 2 * np.pi * c * s, "beyond 1"),
    (n6.share, lambda c, s: min(1, 2 * np.pi * c * s), "beyond 1"),
    (n6.share, lambda c, s: 1 - np.exp(-2 * np.pi * c * s), "exponential"),
    (n6.share, lambda c, s: 1 / (1 + 2 * np.pi * c / s), "not 2 pi cutoff"),
    (n6.share, lambda c, s: 1 / (1 + 1 / (2 * np.pi * c)), "expected"),
    (n6.share, lambda c, s: 1 / (1 + 30 / (2 * np.pi * c)), "expected"),
    (n6.share, lambda c, s: n6._share(1.0, s), "expected"),
    (n6.share, lambda c, s: n6._share(c, 1 / 30), "expected"),
    (n6.share, lambda c, s: n6._share(c, s) * 1.001, "expected"),
    (n6.share, lambda c, s: np.full(2, n6._share(c, s)), "one number"),
    (n6.share, lambda c, s: round(n6._share(c, s), 2), "expected"),
    (n6.one_euro, euro(start=False), "not with zero"),
    (n6.one_euro, euro(size=False), "sign"),
    (n6.one_euro, euro(calm_speed=None), "itself trembles"),
    (n6.one_euro, euro(unit=1.0), "divide it"),
    (n6.one_euro, lambda v, s, least, beta: euro(calm_speed=least)(v, s, least, beta), "not of `least`"),
    (n6.one_euro, euro(late=True), "last frame's speed"),
    (n6.one_euro, euro(stays=True), "goes to the new value"),
    (n6.one_euro, lambda v, s, least, beta: v, "nothing is smoothed"),
    (n6.one_euro, lambda v, s, least, beta: n6._filtered(v, s, least, 0.0), "stays at `least`"),
    (n6.one_euro, lambda v, s, least, beta: n6._filtered(v, s, 0.0, beta), "`least` is missing"),
    (n6.one_euro, lambda v, s, least, beta: n6._filtered(v, 1 / 30, least, beta), "other seconds"),
    (n6.one_euro, lambda v, s, least, beta: n6._filtered(v, s, 0.7, beta), "other seconds"),
    (n6.one_euro, lambda v, s, least, beta: n6._filtered(v, s, least, 2.0), "other seconds"),
    (n6.one_euro, lambda v, *a: [*n6._filtered(v, *a)][1:], "the first included"),
    (n6.one_euro, lambda v, *a: n6._filtered(v, *a)[-1], "the first included"),
    (n6.one_euro, lambda v, *a: n6._filtered(v.reshape(len(v), -1)[:, 0], *a), "not for points"),
    (n6.one_euro, lambda v, *a: n6._filtered(v, *a) if v.ndim == 1 else v, "not for points"),
    (n6.one_euro, lambda v, *a: n6._filtered(v, *a)[::-1], "value 0"),
    (n6.one_euro, lambda v, *a: n6._filtered(v, *a, calm_speed=2.0), "value 1"),
    (n6.one_euro, lambda v, *a: n6._filtered(v, *a) + 0.01, "value 0"),
    (n6.openness, lambda e: sum(lids(e)) / wide(e), "two widths"),
    (n6.openness, lambda e: sum(lids(e)) / wide(e) / 4, "half of it"),
    (n6.openness, lambda e: 2 * wide(e) / sum(lids(e)), "width by height"),
    (n6.openness, lambda e: sum(lids(e)) / 2, "pixels"),
    (n6.openness, lambda e: sum(lids(e)), "pixels"),
    (n6.openness, lambda e: lids(e)[0] / wide(e), "one pair"),
    (n6.openness, lambda e: lids(e)[1] / wide(e), "one pair"),
    (n6.openness, lambda e: (math.dist(e[1], e[4]) + math.dist(e[2], e[5])) / 2 / wide(e), "crossed"),
    (n6.openness, lambda e: sum(d**2 for d in lids(e)) / 2 / wide(e) ** 2, "squares"),
    (n6.openness, lambda e: np.linalg.norm(e[1] - e[5] + e[2] - e[4]) / 2 / wide(e), "two vectors"),
    (n6.openness, lambda e: np.abs(e[[1, 2], 1] - e[[5, 4], 1]).sum() / 2 / wide(e), "tilted"),
    (n6.openness, lambda e: np.abs(e[[1, 2], 1] - e[[5, 4], 1]).sum() / 2 / abs(e[0, 0] - e[3, 0]), "tilted"),
    (n6.openness, lambda e: np.abs(e[[1, 2]] - e[[5, 4]]).sum() / 2 / np.abs(e[0] - e[3]).sum(), "expected"),
    (n6.openness, lambda e: 0.3, "expected"),
    (
        n6.openness,
        lambda e: n6._openness(np.array([[0, 0], [10, -4.2], [21, -5], [30, 1], [20, 5], [9, 4.0]])),
        "nearly shut",
    ),
    (n6.openness, lambda e: np.array(lids(e)) / wide(e), "one number"),
    (n6.openness, lambda e: e[1] - e[5], "one number"),
    (n6.openness, lambda e: n6._openness(e) + 1e-3, "expected"),
    (n6.blinks, lambda v, c, o: int((v < c).sum()), "frames with closed eyes"),
    (n6.blinks, lambda v, c, o: 0, "two blinks"),
    (n6.blinks, lambda v, c, o: int((v < c).any()), "you count one"),
    (n6.blinks, lambda v, c, o: 2 * blinks_by_state(v, c, o), "count falls"),
    (n6.blinks, lambda v, c, o: falls(v, c), "trembles"),
    (n6.blinks, lambda v, c, o: blinks_by_state([1, *v], c, o), "begins with closed"),
    (n6.blinks, starts_open, "half closed eyes"),
    (n6.blinks, at_reopening, "ends with closed"),
    (n6.blinks, lambda v, c, o: blinks_by_state(v, o, o), "half closed is no blink"),
    (n6.blinks, next_frame_only, "trembles"),
    (n6.blinks, lambda v, c, o: next_frame_only(v, c, o) or blinks_by_state(v[:6], c, o), "several frames"),
    (n6.blinks, lambda v, c, o: blinks_by_state(v, 0.1, 0.2), "these thresholds only"),
    (n6.blinks, lambda v, c, o: blinks_by_state(v, 0.1, o), "these thresholds only"),
    (n6.blinks, lambda v, c, o: blinks_by_state(v, o, c), "trembles"),
    (n6.blinks, lambda v, c, o: v[0] * 0 + blinks_by_state(v, c, o), "raised IndexError"),
    (n6.blinks, lambda v, c, o: 2.5, "two blinks"),
    (n6.blinks, lambda v, c, o: [i for i in range(2)], "one number"),
    (n6.own_zero, lambda a, f: a - a.mean(), "frontal frames"),
    (n6.own_zero, lambda a, f: a - np.median(a), "frontal frames"),
    (n6.own_zero, lambda a, f: a - a[0], "first frame"),
    (n6.own_zero, lambda a, f: a + zero(a, f), "wrong sign"),
    (n6.own_zero, lambda a, f: a, "nothing has changed"),
    (n6.own_zero, lambda a, f: zero(a, f), "own zero"),
    (n6.own_zero, lambda a, f: a[f] - zero(a, f), "every frame"),
    (n6.own_zero, lambda a, f: np.where(f, 0, a), "only the frontal"),
    (n6.own_zero, lambda a, f: np.where(f, a - zero(a, f), a), "only the frontal"),
    (n6.own_zero, lambda a, f: np.where(f, a, a - zero(a, f)), "not yet"),
    (n6.own_zero, lambda a, f: a - np.median(a[~f]), "not yet"),
    (n6.own_zero, lambda a, f: a - 6.0, "not yet"),
    (n6.own_zero, lambda a, f: np.abs(a - zero(a, f)), "not yet"),
    (n6.own_zero, lambda a, f: a / max(1e-9, abs(zero(a, f))), "not yet"),
    (n6.own_zero, lambda a, f: a - a[f].sum() / max(1, len(a)), "not yet"),
    (n6.own_zero, lambda a, f: a - (a[f].sum() / f.sum()), "without a frontal"),
    (n6.own_zero, lambda a, f: a - (zero(a, f) if f.any() else a.mean()), "without a frontal"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "check, answer, hint", WRONG, ids=[f"{c.__name__} {i} {h}" for i, (c, _, h) in enumerate(WRONG)]
)
def test_wrong_answers_are_told_what_is_wrong(check, answer, hint):
    verdict = check(answer)
    assert not verdict.right
    assert hint in verdict.text, verdict
