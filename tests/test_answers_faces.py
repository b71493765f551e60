"""Many answers to the exercises of notebooks 04 and 05: no wrong one passes, no right one is refused, in any form."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flcourse.exercises import ibug_dataset as n4
from flcourse.exercises import xception_landmarks as n5
from flcourse.points import MIRROR

nme, to01, rotation, mirror = (c.reference for c in (n4.nme, n4.to01, n4.rotation, n4.mirror))
leaks, box_map, gap = n4.leaks.reference, n4.box_map.reference, n5.gap.reference
parameters, separable = n5.parameters.reference, n5.separable.reference
soft_argmax, wing = n5.soft_argmax.reference, n5.wing.reference


def eyes(t):
    return np.linalg.norm(t[36] - t[45])


def in_place(points, width):
    points[:, 0] = width - 1 - points[:, 0]
    return points[MIRROR]


def by_a_loop(points, width):
    mirrored = np.zeros((68, 2))
    for i in range(68):
        mirrored[i] = width - 1 - points[MIRROR[i], 0], points[MIRROR[i], 1]
    return mirrored


def by_layers(x, depthwise, pointwise):
    first = nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1, groups=x.shape[1], bias=False)
    second = nn.Conv2d(x.shape[1], pointwise.shape[0], 1, bias=False)
    first.weight, second.weight = nn.Parameter(depthwise), nn.Parameter(pointwise)
    return second(first(x))


def channel_by_channel(x, depthwise, pointwise):
    parts = [F.conv2d(x[:, c : c + 1], depthwise[c : c + 1], padding=1) for c in range(x.shape[1])]
    return torch.einsum("nchw,dc->ndhw", torch.cat(parts, 1), pointwise[:, :, 0, 0])


def by_a_grid(logits):
    n, k, h, w = logits.shape
    p = logits.reshape(n, k, -1).softmax(-1)
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return p @ torch.stack([x, y], -1).reshape(-1, 2)


def numpy_argmax(logits):
    p = np.exp(logits.detach().numpy())
    p = p / p.sum((2, 3), keepdims=True)
    h, w = p.shape[2:]
    x = (p.sum(2) * (np.arange(w) + 0.5) / w).sum(2)
    return np.stack([x, (p.sum(3) * (np.arange(h) + 0.5) / h).sum(2)], 2)


def numpy_wing(error, w=0.04, e=0.008):
    size = np.abs(np.asarray(error))
    return np.where(size < w, w * np.log(1 + size / e), size - (w - w * np.log(1 + w / e)))


def by_means(found, wanted):
    side, goal = np.sqrt(found[:, 2] * found[:, 3]), np.sqrt(wanted[:, 2] * wanted[:, 3])
    centre, to = found[:, :2] + (found[:, 2:] - 1) / 2, wanted[:, :2] + (wanted[:, 2:] - 1) / 2
    return (goal / side).mean(), *((to - centre) / side[:, None]).mean(0)


RIGHT = [
    (n4.nme, lambda p, t: [nme(p, t)]),
    (n4.nme, lambda p, t: np.array([[nme(p, t)]])),
    (n4.nme, lambda p, t: torch.tensor(nme(p, t), requires_grad=True)),
    (n4.nme, lambda p, t: np.mean([np.hypot(*(a - b)) for a, b in zip(p, t, strict=True)]) / eyes(t) * 100),
    (n4.nme, lambda p, t: 100 * np.sqrt(((p - t) ** 2).sum(1)).sum() / 68 / np.sqrt(((t[36] - t[45]) ** 2).sum())),
    (n4.to01, lambda p, n: (p / n) + 1 / (2 * n)),
    (n4.to01, lambda p, n: [[(x + 0.5) / n, (y + 0.5) / n] for x, y in p]),
    (n4.to01, lambda p, n: torch.from_numpy((p + 0.5) / n)),
    (n4.to01, lambda p, n: np.float32((p + 0.5) / n)),
    (n4.rotation, lambda d, c: cv2.getRotationMatrix2D(c, d, 1.0)),
    (n4.rotation, lambda d, c: rotation(d, c).tolist()),
    (n4.rotation, lambda d, c: torch.tensor(rotation(d, c))),
    (n4.rotation, lambda d, c: rotation(d - 360, c)),
    (n4.mirror, in_place),
    (n4.mirror, by_a_loop),
    (n4.mirror, lambda p, w: mirror(p, w).tolist()),
    (n4.mirror, lambda p, w: np.column_stack([w - 1 - p[MIRROR, 0], p[MIRROR, 1]])),
    (n4.leaks, lambda train, val: [p for p in {p for p, _ in train} if p in {p for p, _ in val}]),
    (n4.leaks, lambda train, val: frozenset(leaks(train, val))),
    (n4.leaks, lambda train, val: np.intersect1d([p for p, _ in train], [p for p, _ in val])),
    (n4.leaks, lambda train, val: [person for person, _ in val if person in dict(train)]),  # somebody twice
    (n4.box_map, lambda f, w: list(box_map(f, w))),
    (n4.box_map, lambda f, w: np.array(box_map(f, w))),
    (n4.box_map, lambda f, w: (np.exp(np.median(np.log(w[:, 3] / f[:, 3]))), *box_map(f, w)[1:])),
    (n5.parameters, lambda i, o, k: list(parameters(i, o, k))),
    (n5.parameters, lambda i, o, k: np.array(parameters(i, o, k))),
    (n5.parameters, lambda i, o, k: torch.tensor(parameters(i, o, k))),
    (n5.parameters, lambda i, o, k: (nn.Conv2d(i, o, k, bias=False).weight.numel(), i * (k * k + o))),
    (n5.separable, by_layers),
    (n5.separable, channel_by_channel),
    (n5.separable, lambda x, d, p: separable(x, d, p).tolist()),
    (n5.separable, lambda x, d, p: separable(x, d, p).numpy()),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d, padding="same", groups=len(d)), p)),
    (n5.soft_argmax, by_a_grid),
    (n5.wing, numpy_wing),
    (n5.wing, lambda error, w=0.04, e=0.008: numpy_wing(error, w, e).tolist()),
    (n5.wing, lambda error, w=0.04, e=0.008: nn.Parameter(wing(error, w, e))),
    (n5.wing, lambda x, a=0.04, b=0.008: torch.minimum(a * torch.log1p(x.abs() / b), 1e9 + x) * (x.abs() < a)
     + (x.abs() - a + a * math.log1p(a / b)) * (x.abs() >= a)),
    (n5.gap, lambda x, g: list(gap(x, g))),
    (n5.gap, lambda x, g: torch.tensor(gap(x, g))),
    (n5.gap, lambda x, g: (gap(x, g)[0], math.sqrt(x[g].var() / g.sum() + x[~g].var() / (~g).sum()))),  # n, not n - 1
    (n5.biased, {"a": "Front", "b": "ALL", "c": "one_side"}),
]  # fmt: skip

WRONG = [  # check, answer, a word of the message
    (n4.nme, lambda p, t: float("nan"), "finite"),
    (n4.nme, lambda p, t: 100 * np.linalg.norm(p - t, axis=1) / eyes(t), "mean"),
    (n4.nme, lambda p, t: 100 * np.linalg.norm(p - t) / eyes(t), "axis=1"),
    (n4.nme, lambda p, t: 100 * np.median(np.linalg.norm(p - t, axis=1)) / eyes(t), "median"),
    (n4.nme, lambda p, t: 100 * np.linalg.norm(p - t, axis=1).sum() / eyes(t), "sum"),
    (n4.nme, lambda p, t: nme(p, t) * eyes(t) / np.linalg.norm(t[39] - t[42]), "inner"),
    (n4.nme, lambda p, t: 100 * np.linalg.norm(p - t, axis=0).mean() / eyes(t), "got"),
    (n4.nme, lambda p, t: round(nme(p, t)), "got"),
    (n4.nme, lambda p, t: abs(nme(p, t) - nme(p + 1, t)), "got"),
    (n4.nme, lambda p, t: "7 %", "expected numbers"),
    (n4.nme, lambda p, t: exit(), "SystemExit"),
    (n4.nme, lambda p: 1.0, "TypeError"),
    (n4.to01, lambda p, n: ((p + 0.5) / n).clip(0, 1), "clip"),
    (n4.to01, lambda p, n: (p + 0.5) / 112, "not 112"),
    (n4.to01, lambda p, n: p + 0.5 / n, "all of it"),
    (n4.to01, lambda p, n: (p + 0.5) / (n - 1), "size pixels wide"),
    (n4.to01, lambda p, n: (p + 0.5) / (n + 1), "too many"),
    (n4.to01, lambda p, n: p * n - 0.5, "other way round"),
    (n4.to01, lambda p, n: (p - p.min(0)) / (p.max(0) - p.min(0)), "own points"),
    (n4.to01, lambda p, n: ((p + 0.5) / n)[:, ::-1], "not yet"),
    (n4.to01, lambda p, n: ((p + 0.5) / n).ravel(), "expected (68, 2)"),
    (n4.to01, lambda p, n: (p + 0.5) // n, "not yet"),
    (n4.to01, lambda p, n: np.round((p + 0.5) / n, 2), "not yet"),
    (n4.to01, lambda p, n: p * np.nan, "finite"),
    (n4.rotation, lambda d, c: rotation(30, c), "always turns by 30"),
    (n4.rotation, lambda d, c: rotation(d, (50, 20)), "always turns about"),
    (n4.rotation, lambda d, c: rotation(np.rad2deg(-d), c), "two things"),
    (n4.rotation, lambda d, c: rotation(-d, c), "clockwise"),
    (n4.rotation, lambda d, c: rotation(-d, (0, 0)), "clockwise about (0, 0)"),
    (n4.rotation, lambda d, c: rotation(d, c[::-1]), "(y, x)"),
    (n4.rotation, lambda d, c: rotation(d, c) * (1, 1, -1), "wrong sign"),
    (n4.rotation, lambda d, c: np.column_stack([rotation(d, c)[:, :2], c]), "taken away"),
    (n4.rotation, lambda d, c: np.vstack([rotation(d, c), (0, 0, 1)]), "row"),
    (n4.rotation, lambda d, c: rotation(d, c).T, "expected (2, 3)"),
    (n4.rotation, lambda d, c: 2 * rotation(d, c), "stay"),
    (n4.rotation, lambda d, c: cv2.getRotationMatrix2D(c, d, 1.2), "another"),
    (n4.rotation, lambda d, c: rotation(abs(d), c), "another"),
    (n4.rotation, lambda d, c: rotation(d, c) + np.nan, "finite"),
    (n4.mirror, lambda p, w: (p * (-1, 1) + (99, 0))[MIRROR], "other widths"),
    (n4.mirror, lambda p, w: (p * (-1, 1))[MIRROR], "sign only"),
    (n4.mirror, lambda p, w: (p * (-1, 1) + (w - 1, 0))[::-1], "own partner"),
    (n4.mirror, lambda p, w: (w - 1 - p)[MIRROR], "half turn"),
    (n4.mirror, lambda p, w: p * (-1, 1) + (w, 0), "old one"),
    (n4.mirror, lambda p, w: (p * (-1, 1) + (2 * p[:, 0].mean(), 0))[MIRROR], "own middle"),
    (n4.mirror, lambda p, w: mirror(p, w)[MIRROR], "old order"),
    (n4.mirror, lambda p, w: (p * (-1, 1) + (w + 1, 0))[MIRROR], "not yet"),
    (n4.mirror, lambda p, w: mirror(p, w)[:, ::-1], "not yet"),
    (n4.mirror, lambda p, w: mirror(p, w)[:67], "expected (68, 2)"),
    (n4.leaks, lambda train, val: len(leaks(train, val)), "how many"),
    (n4.leaks, lambda train, val: {pair for pair in val if pair in train}, "compare the people"),
    (n4.leaks, lambda train, val: {pair for pair in val if pair[0] in leaks(train, val)}, "pairs"),
    (n4.leaks, lambda train, val: {person for person, _ in val}, "everybody on the validation side"),
    (n4.leaks, lambda train, val: {p for p, _ in train} ^ {p for p, _ in val}, "one side only"),
    (n4.leaks, lambda train, val: set(), "compare the people"),
    (n4.leaks, lambda train, val: next(iter(leaks(train, val)), ""), "expected a set"),
    (n4.leaks, lambda train, val: [[p] for p in leaks(train, val)], "not lists"),
    (n4.leaks, lambda train, val: {p for p, _ in train} - {p for p, _ in val}, "got"),
    (n4.box_map, by_means, "median"),
    (n4.box_map, lambda f, w: (1 / box_map(f, w)[0], *box_map(f, w)[1:]), "upside down"),
    (n4.box_map, lambda f, w: (box_map(f, w)[0], *(-v for v in box_map(f, w)[1:])), "wrong sign"),
    (n4.box_map, lambda f, w: (*box_map(f, w)[1:], box_map(f, w)[0]), "order"),
    (n4.box_map, lambda f, w: (box_map(f, w)[0], box_map(f, w)[2], box_map(f, w)[1]), "swapped"),
    (n4.box_map, lambda f, w: (box_map(f, w)[0] ** 2, *box_map(f, w)[1:]), "areas"),
    (n4.box_map, lambda f, w: (box_map(f, w)[0], *np.median((w - f)[:, :2] / f[:, 2:3], 0)), "corner"),
    (n4.box_map, lambda f, w: (box_map(f, w)[0], *(-v for v in box_map(w, f)[1:])), "wanted side"),
    (n4.box_map, lambda f, w: (box_map(f, w)[0], *np.median((w[:, :2] + w[:, 2:] / 2) - (f[:, :2] + f[:, 2:] / 2), 0)),
     "pixels"),
    (n4.box_map, lambda f, w: box_map(f, w)[:2], "expected three"),
    (n4.box_map, lambda f, w: (0.8, 0.0, 0.0), "expected about"),
    (n4.box_map, lambda f, w: (float("nan"), 0, 0), "finite"),
    (n5.parameters, lambda i, o, k: parameters(i, o, k)[::-1], "order"),
    (n5.parameters, lambda i, o, k: (k * k * i * o + o, k * k * i + i * o + i + o), "biases"),
    (n5.parameters, lambda i, o, k: (k * k * i * o, k * k * i + i * o + i + o), "biases"),
    (n5.parameters, lambda i, o, k: (k * k * i * o, i * o), "pointwise half"),
    (n5.parameters, lambda i, o, k: (k * k * i * o, k * i + i * o), "squared"),
    (n5.parameters, lambda i, o, k: (k * i * o, k * i + i * o), "squared"),
    (n5.parameters, lambda i, o, k: (k * k * i, k * k * i + i * o), "one filter"),
    (n5.parameters, lambda i, o, k: (k * k * o, k * k * i + i * o), "all channels"),
    (n5.parameters, lambda i, o, k: (k * k * i * o, k * k * i * i * o), "added"),
    (n5.parameters, lambda i, o, k: (k * k * i * o, k * k * i + o * o), "in times out"),
    (n5.parameters, lambda i, o, k: (73728, 8768), "dense: got"),
    (n5.parameters, lambda i, o, k: (k * k * i * o, 8768), "separable: got"),
    (n5.parameters, lambda i, o, k: k * k * i * o, "return two things"),
    (n5.parameters, lambda i, o, k: (1, 2, 3), "return two things"),
    (n5.parameters, (73728, 8768), "expected a function"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d.expand(-1, len(d), 3, 3), padding=1), p), "dense kernel"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d, padding=1), p), "groups=x.shape[1]"),
    (n5.separable, lambda x, d, p: separable(x, d, p).relu(), "block does that"),
    (n5.separable, lambda x, d, p: separable(x, d.flip(2, 3), p), "turn its kernels"),
    (n5.separable, lambda x, d, p: F.conv2d(F.conv2d(x, d, padding=1, groups=6), p), "raised RuntimeError"),
    (n5.separable, lambda x, d, p: separable(x, d, p)[:, :3], "not yet"),
    (n5.separable, lambda x, d, p: separable(x, d, p) + 0.1, "not yet"),
    (n5.separable, lambda x, d, p: separable(x, d, p.abs()), "not yet"),
    (n5.separable, lambda x, d, p: None, "returns nothing"),
    (n5.soft_argmax, numpy_argmax, "NumPy carries no gradient"),
    (n5.soft_argmax, lambda s: soft_argmax(s).tolist(), "stay in torch"),
    (n5.soft_argmax, lambda s: soft_argmax(s.softmax(1)), "not yet"),
    (n5.soft_argmax, lambda s: 2 * soft_argmax(s) - 1, "[-1, 1]"),
    (n5.soft_argmax, lambda s: soft_argmax(s) * torch.tensor([8.0, 6.0]), "these are cells"),
    (n5.soft_argmax, lambda s: soft_argmax(s) * torch.tensor([8 / 6, 6 / 8]), "other way round"),
    (n5.soft_argmax, lambda s: by_a_grid(s.log_softmax(1)), "not yet"),
    (n5.soft_argmax, lambda s: soft_argmax(s).mean(1), "expected (2, 68, 2)"),
    (n5.soft_argmax, lambda s: soft_argmax(s) * torch.nan, "nan"),
    (n5.soft_argmax, lambda s: (s.exp() / s.exp().sum((2, 3), keepdim=True)).sum(), "expected (2, 68, 2)"),
    (n5.wing, lambda error, w=0.04, e=0.008: wing(error), "ignores its arguments"),
    (n5.wing, lambda error, w=0.04, e=0.008: error.abs() if error.abs() >= w else error, "torch.where"),
    (n5.wing, lambda error, w=0.04, e=0.008: wing(error, w), "ignores its argument e"),
    (n5.wing, lambda error, w=0.04, e=0.008: torch.where(error.abs() < w, w * torch.log1p(error.abs() / e),
                                                          error.abs() - (0.04 - 0.04 * math.log(6))), "C depends"),
    (n5.wing, lambda error, w=0.04, e=0.008: wing(error, w, e) / math.log(10), "not yet"),
    (n5.wing, lambda error, w=0.04, e=0.008: error.abs() - (w - w * math.log1p(w / e)), "everywhere"),
    (n5.wing, lambda error, w=0.04, e=0.008: wing(error, w, e) * 2, "not yet"),
    (n5.wing, lambda error, w=0.04, e=0.008: torch.where(error.abs() < w, torch.log1p(error.abs() / e), wing(error)),
     "multiplied by w"),
    (n5.wing, lambda error, w=0.04, e=0.008: torch.where(error.abs() < w, w * torch.log10(1 + error.abs() / e),
                                                          wing(error)), "natural"),
    (n5.wing, lambda error, w=0.04, e=0.008: torch.where(error.abs() < w, w * torch.log1p(error.abs() * e),
                                                          wing(error)), "divided by e"),
    (n5.wing, lambda error: wing(error), "TypeError"),
    (n5.wing, lambda error, w=0.04, e=0.008: wing(error).sum(), "one loss for each"),
    (n5.gap, lambda x, g: (-gap(x, g)[0], gap(x, g)[1]), "sign"),
    (n5.gap, lambda x, g: (x[g].mean() / x[~g].mean(), 0.1), "ratio"),
    (n5.gap, lambda x, g: (x[g].mean() - x.mean(), 0.1), "the others alone"),
    (n5.gap, lambda x, g: (x[g].mean(), 0.1), "own mean"),
    (n5.gap, lambda x, g: (x[g].sum() - x[~g].sum(), 0.1), "sums"),
    (n5.gap, lambda x, g: (gap(x, g)[0], gap(x, g)[1] ** 2), "root is missing"),
    (n5.gap, lambda x, g: (gap(x, g)[0], x[g].std(ddof=1) / g.sum() ** 0.5 + x[~g].std(ddof=1) / (~g).sum() ** 0.5),
     "do not add"),
    (n5.gap, lambda x, g: (gap(x, g)[0], np.hypot(x[g].std(ddof=1), x[~g].std(ddof=1))), "scatter"),
    (n5.gap, lambda x, g: (gap(x, g)[0], x[g].std(ddof=1) / g.sum() ** 0.5), "alone"),
    (n5.gap, lambda x, g: (gap(x, g)[0], x.std(ddof=1) / len(x) ** 0.5), "one scatter"),
    (n5.gap, lambda x, g: gap(x, g)[0], "return two things"),
    (n5.gap, lambda x, g: (float("nan"), 0), "finite"),
    (n5.biased, {"A": "all", "B": "all", "C": "one side"}, "once"),
    (n5.biased, {"A": "front", "B": "all"}, "keys"),
    (n5.biased, {"A": "front", "B": "all", "C": "left"}, "expected one of"),
    (n5.biased, "front", "dictionary"),
]  # fmt: skip


def name(case):
    return f"{case[0].__name__}-{case[2]}" if len(case) > 2 else case[0].__name__


@pytest.mark.parametrize("check, answer", RIGHT, ids=map(name, RIGHT))
def test_right_in_any_form(check, answer):
    verdict = check(answer)
    assert verdict.right, verdict


@pytest.mark.parametrize("check, answer, said", WRONG, ids=map(name, WRONG))
def test_wrong_and_told_why(check, answer, said):
    verdict = check(answer)
    assert not verdict.right
    assert said in verdict.text


def test_what_passes_is_what_the_notebooks_use(capsys):
    used = n5.wing.use(numpy_wing)
    error = torch.linspace(-0.1, 0.1, 11)
    assert np.allclose(used(error), wing(error))
    assert "yours" in capsys.readouterr().out
    refused = n5.separable.use(lambda x, d, p: x)
    x, d, p = torch.randn(1, 3, 5, 5), torch.randn(3, 1, 3, 3), torch.randn(2, 3, 1, 1)
    assert torch.allclose(refused(x, d, p), separable(x, d, p))
    assert "the course's answer" in capsys.readouterr().out
