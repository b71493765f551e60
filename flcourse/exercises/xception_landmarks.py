"""Checks of notebook 05's exercises."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flcourse.exercises.verdict import (
    NOT_YET,
    Wrong,
    array,
    ask,
    exercise,
    explain,
    number,
    pair,
    recognise,
    same,
    told,
)
from flcourse.training.heatmaps import soft_argmax as package_soft_argmax
from flcourse.training.losses import WING_CURVE, WING_WIDTH


def right_parameters(c_in: int, c_out: int, k: int) -> tuple[int, int]:
    """The weights of a dense and of a separable k x k convolution, without bias."""
    return k * k * c_in * c_out, k * k * c_in + c_in * c_out


@exercise(reference=right_parameters)
def parameters(answer) -> str:
    """Exercise 5.1: the weights of a dense and of a separable convolution, without bias."""
    cases = [(64, 128, 3), (32, 24, 5)]
    pairs = [pair(ask(answer, *case), "the dense and the separable count") for case in cases]
    given = [(number(dense), number(separable)) for dense, separable in pairs]
    explain(given, cases, {"the order: dense first, then separable": lambda i, o, k: right_parameters(i, o, k)[::-1]})
    dense = {
        "dense: with biases; count the weights alone": lambda i, o, k: i * o * k * k + o,
        "dense: k x k weights a filter, k squared, not k": lambda i, o, k: i * o * k,
        "dense: that is one filter; there is one for every output channel": lambda i, o, k: i * k * k,
        "dense: each of the filters sees all channels that come in": lambda i, o, k: o * k * k,
    }
    explain([value[0] for value in given], cases, dense)
    if [value[0] for value in given] != [right_parameters(*case)[0] for case in cases]:
        raise Wrong(f"dense: got {given[0][0]:,.0f}, expected a k x k filter for every pair of channels, in and out")
    separable = {
        "that is the depthwise half; the pointwise half then mixes the channels": lambda i, o, k: i * k * k,
        "that is the pointwise half; the depthwise half comes before it": lambda i, o, k: i * o,
        "the depthwise filters work on the channels that come in, before they are mixed": lambda i, o, k: (
            o * k * k + i * o
        ),
        "the halves are added, not multiplied": lambda i, o, k: i * k * k * i * o,
        "separable: with biases; count the weights alone": lambda i, o, k: i * k * k + i * o + i + o,
        "the pointwise half goes from in to out channels: in times out weights": lambda i, o, k: i * k * k + o * o,
        "k x k weights a channel, k squared, not k": lambda i, o, k: i * k + i * o,
    }
    explain([value[1] for value in given], cases, separable)
    if [value[1] for value in given] != [right_parameters(*case)[1] for case in cases]:
        raise Wrong(f"separable: got {given[0][1]:,.0f}, expected one k x k filter a channel, and then a 1 x 1 mixing")
    return "right: 8,768 instead of 73,728 from 64 to 128 channels"


def right_separable(x: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """A separable 3 x 3 convolution from its two sets of weights: (N, C, H, W) -> (N, D, H, W)."""
    return F.conv2d(F.conv2d(x, depthwise, padding=1, groups=x.shape[1]), pointwise)


@exercise(reference=right_separable)
def separable(answer) -> str:
    """Exercise 5.2: a separable convolution from its two sets of weights."""
    cases = [_weights(2, 6, 4, 9), _weights(3, 5, 7, 8)]
    x, depthwise, _ = cases[0]
    middle, right = F.conv2d(x, depthwise, padding=1, groups=6), right_separable(*cases[0])
    try:
        given = array(ask(answer, *cases[0]))
    except RuntimeError as error:
        if "groups=1" in str(error):
            raise Wrong(
                f"{told(error)}: without groups every filter expects all channels; groups=x.shape[1] gives each its own"
            ) from None
        raise
    if given.shape == tuple(middle.shape):
        raise Wrong("that is the depthwise half; mix the channels with the pointwise weights")
    if given.shape[2:] == (7, 7):
        raise Wrong("the border is lost: pad the 3 x 3 convolution by one pixel")
    if given.shape[2:] == (11, 11):
        raise Wrong("the 1 x 1 convolution needs no padding")
    hints = {
        "no ReLU between the two: Xception's authors found it does harm": lambda x, d, p: F.conv2d(middle.relu(), p),
        "no ReLU after it: the block does that itself": lambda x, d, p: right.relu(),
        "a dense kernel: each filter saw all channels; groups=x.shape[1] gives each its own": lambda x, d, p: F.conv2d(
            F.conv2d(x, d.expand(6, 6, 3, 3), padding=1), p
        ),
        "F.conv2d does not turn its kernels round: leave the weights as they are": lambda x, d, p: F.conv2d(
            F.conv2d(x, d.flip(2, 3), padding=1, groups=6), p
        ),
        "the input is added to it: that residual belongs to the block": lambda x, d, p: (
            right + x if right.shape == x.shape else right + x[:, :4]
        ),
    }
    explain([given], cases[:1], hints)
    if not same(given, right):
        raise Wrong(f"not yet: the shape is {given.shape}, expected {tuple(right.shape)} of other values")
    if not same(ask(answer, *cases[1]), right_separable(*cases[1])):
        raise Wrong("right for 6 channels, not for 5: take all sizes from x and the weights")
    return "right: nine numbers a channel, then a matrix across channels"


def _weights(n: int, c: int, d: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (n, c, side, side) and weights (c, 1, 3, 3), (d, c, 1, 1) of no particular network."""
    generator = torch.Generator().manual_seed(c)
    shapes = (n, c, side, side), (c, 1, 3, 3), (d, c, 1, 1)
    x, depthwise, pointwise = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, depthwise, pointwise


def right_soft_argmax(logits: Tensor) -> Tensor:
    """The mean position under each map's softmax, (N, 68, h, w) -> (N, 68, 2)."""
    return package_soft_argmax(logits, ring=0)


@exercise(reference=right_soft_argmax)
def soft_argmax(answer) -> str:
    """Exercise 5.3: the mean position under each map's softmax, (N, 68, h, w) -> (N, 68, 2)."""
    logits = 3 * torch.randn(2, 68, 6, 8, generator=torch.Generator().manual_seed(0))
    right = right_soft_argmax(logits)
    reply = ask(answer, logits)
    given = array(reply)
    if given.shape != tuple(right.shape):
        raise Wrong(f"the shape is {given.shape}, expected {tuple(right.shape)}: x and y of each map")
    if np.isnan(given).any():
        raise Wrong("some of it is nan: exp overflows for large scores; softmax(dim=2) takes care of that")
    size = torch.tensor([8.0, 6.0])
    flat = logits.flatten(2).argmax(dim=2)
    hard = torch.stack([(flat % 8 + 0.5) / 8, (flat // 8 + 0.5) / 6], dim=2)
    raw = logits.flatten(2) / logits.flatten(2).sum(dim=2, keepdim=True)
    rows = logits.softmax(dim=2).mean(dim=3), logits.softmax(dim=3).mean(dim=2)
    hints = {
        "x and y are swapped: x runs along columns, the last dimension": right.flip(2),
        "half a cell too far to the top left: the centre of column i lies at (i + 0.5) / columns": right - 0.5 / size,
        "these are cells; divide so that 0 and 1 are the map's edges": right * size - 0.5,
        "these are cells, and half of one too far; divide so that 0 and 1 are the map's edges": right * size,
        "that puts 0 and 1 at the centres of the outer cells; they are the map's edges": (right * size - 0.5)
        / (size - 1),
        "x is divided by the rows and y by the columns: it is the other way round": right * size / size.flip(0),
        "that is [-1, 1]; 0 and 1 are the map's edges": 2 * right - 1,
        "that is the arg max: no gradient passes through it, and it jumps from cell to cell": hard,
        "the scores themselves as weights: take their softmax, which is positive and sums to 1": _mean(raw),
        "a sigmoid is no softmax: the weights of a map do not sum to 1": _mean(logits.flatten(2).sigmoid()),
        "one softmax over all cells of a map, not one a row and one a column": _mean(
            (rows[0][..., :, None] * rows[1][..., None, :]).flatten(2)
        ),
        "the softmax runs over the 68 maps; it belongs over the cells of each": _mean(logits.softmax(1).flatten(2)),
    }
    recognise(given, hints)
    if not same(given, right, 1e-4):
        raise Wrong("not yet: one softmax over all cells of a map, then the mean of the cells' centres under it")
    if not isinstance(reply, Tensor):
        raise Wrong("the numbers are right, but NumPy carries no gradient: stay in torch, from softmax to stack")
    if ask(answer, logits.requires_grad_()).grad_fn is None:
        raise Wrong("the numbers are right, but no gradient passes through: stay in torch")
    other = torch.randn(1, 68, 5, 5, generator=torch.Generator().manual_seed(1))
    if not same(ask(answer, other), right_soft_argmax(other), 1e-4):
        raise Wrong("right for maps of 6 x 8 cells, not for 5 x 5: take h and w from logits.shape")
    far = ask(answer, 100 * other)
    if not same(far, right_soft_argmax(100 * other), 1e-4):
        raise Wrong("for scores of some hundreds it is no number: exp overflows; use softmax(dim=2)")
    return "right, and differentiable"


def _mean(weights: Tensor) -> Tensor:
    """The sum of the cells' centres of 6 x 8 maps with these weights, (N, 68, 48) -> (N, 68, 2)."""
    weights = weights.unflatten(2, (6, 8))
    x = (weights.sum(dim=2) * (torch.arange(8) + 0.5) / 8).sum(dim=2)
    return torch.stack([x, (weights.sum(dim=3) * (torch.arange(6) + 0.5) / 6).sum(dim=2)], dim=2)


def right_wing(error: Tensor, w: float = WING_WIDTH, e: float = WING_CURVE) -> Tensor:
    """The Wing loss of single errors."""
    size = error.abs()
    return torch.where(size < w, w * torch.log1p(size / e), size - (w - w * math.log1p(w / e)))


@exercise(reference=right_wing)
def wing(answer) -> str:
    """Exercise 5.4: the Wing loss of single errors."""
    error = torch.linspace(-0.2, 0.2, 401)
    size = error.abs()
    near = WING_WIDTH * torch.log1p(size / WING_CURVE)
    jump = WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVE) - WING_WIDTH
    right = right_wing(error)
    try:
        given = array(ask(answer, error))
    except RuntimeError as raised:
        if "ambiguous" in str(raised):
            raise Wrong(f"{told(raised)}: `if` asks once; torch.where(condition, a, b) asks for each error") from None
        raise
    if given.shape != tuple(error.shape):
        raise Wrong(f"the shape is {given.shape}, expected one loss for each error, {tuple(error.shape)}")
    if bool(np.isnan(given).any()) or (same(given[200:], right[200:]) and not same(given, right)):
        raise Wrong("negative errors count as much as positive ones: take their size, error.abs()")

    def halves(near: Tensor, far: Tensor) -> Tensor:
        return torch.where(size < WING_WIDTH, near, far)

    hints = {
        "it jumps at w: beyond it subtract C = w - w ln(1 + w / e), so that the two halves meet": halves(near, size),
        "the sign of C: the loss beyond w is |error| - C": halves(near, size - jump),
        "that is the logarithm everywhere; beyond w it is |error| - C": near,
        "that is |error| - C everywhere; within w it is the logarithm": size + jump,
        "the two halves are exchanged: the logarithm belongs within w": halves(size + jump, near),
        "the logarithm is the natural one, torch.log": halves(near / math.log(10), size + jump),
        "the logarithm is the natural one, not log2": halves(near / math.log(2), size + jump),
        "within w the logarithm is multiplied by w": halves(near / WING_WIDTH, size + jump),
        "|error| is divided by e, not multiplied": halves(WING_WIDTH * (size * WING_CURVE).log1p(), size + jump),
        "the 1 + is missing inside the logarithm": halves(WING_WIDTH * (size / WING_CURVE).log(), size + jump),
    }
    recognise(given, hints)
    if not same(given, right):
        raise Wrong("not yet: w ln(1 + |error| / e) within w, |error| - C beyond it")
    other = 0.1, 0.02
    given = array(ask(answer, error, *other))
    if same(given, right):
        raise Wrong("right for w = 0.04 and e = 0.008, but it ignores its arguments w and e")
    if same(given, right_wing(error, other[0])):
        raise Wrong("right for e = 0.008, but it ignores its argument e")
    if not same(given, right_wing(error, *other)):
        raise Wrong("right for the usual w and e, not for w = 0.1 and e = 0.02: C depends on both")
    return "right: steep near zero, and no far error outweighs the rest"


def right_gap(errors: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """How much larger the mean error of the faces in a group is than the others', and the standard error of that."""
    inside, outside = errors[group], errors[~group]
    variance = inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)
    return float(inside.mean() - outside.mean()), float(np.sqrt(variance))


@exercise(reference=right_gap)
def gap(answer) -> str:
    """Exercise 5.5: is a group of faces worse off, and is the difference more than chance?"""
    cases = []
    for seed, n in ((0, 60), (1, 200)):
        rng = np.random.default_rng(seed)
        group = rng.random(n) < 0.25
        cases.append((rng.gamma(4, 1 + 0.5 * group), group))
    pairs = [pair(ask(answer, *case), "the difference of the means, and its standard error") for case in cases]
    given = [(number(difference), number(error)) for difference, error in pairs]
    difference = {
        "the sign: the group's mean minus the others'": lambda x, g: -right_gap(x, g)[0],
        "that is a ratio; asked is the difference of the means": lambda x, g: x[g].mean() / x[~g].mean(),
        "that compares medians; the NME is stated as a mean": lambda x, g: np.median(x[g]) - np.median(x[~g]),
        "compared with all faces, the group among them: compare with the others alone": lambda x, g: (
            x[g].mean() - x.mean()
        ),
        "that is the group's own mean; asked is how much more than the others' it is": lambda x, g: x[g].mean(),
        "those are sums: a group of more faces has a larger one; take means": lambda x, g: x[g].sum() - x[~g].sum(),
    }
    explain([value[0] for value in given], cases, difference)
    if not all(same(value[0], right_gap(*case)[0]) for value, case in zip(given, cases, strict=True)):
        raise Wrong(f"difference: got {given[0][0]:.3f}, expected {right_gap(*cases[0])[0]:.3f}")

    def variances(x: np.ndarray, g: np.ndarray) -> tuple[float, float]:
        return x[g].var(ddof=1) / g.sum(), x[~g].var(ddof=1) / (~g).sum()

    error = {
        "the square root is missing: variances add, the standard error is the root of their sum": lambda x, g: sum(
            variances(x, g)
        ),
        "standard errors do not add: add their squares, then take the root": lambda x, g: sum(np.sqrt(variances(x, g))),
        "that is the faces' scatter; the mean of n of them scatters by the root of n less": lambda x, g: np.sqrt(
            x[g].var(ddof=1) + x[~g].var(ddof=1)
        ),
        "that is the group's standard error alone; the others' mean is uncertain, too": lambda x, g: np.sqrt(
            variances(x, g)[0]
        ),
        "that is one scatter for all faces; each side has its own, and its own number of faces": lambda x, g: (
            x.std(ddof=1) / np.sqrt(len(x))
        ),
    }
    explain([value[1] for value in given], cases, error)
    # With n in place of n - 1, too: asked is the idea, not Bessel's correction.
    rules = (lambda x, g: right_gap(x, g)[1], lambda x, g: np.sqrt(x[g].var() / g.sum() + x[~g].var() / (~g).sum()))
    if not any(all(same(v[1], rule(*case)) for v, case in zip(given, cases, strict=True)) for rule in rules):
        raise Wrong(
            f"standard error: got {given[0][1]:.3f}, expected {right_gap(*cases[0])[1]:.3f}: "
            "the root of s1^2/n1 + s2^2/n2"
        )
    return "right: a gap of more than two standard errors is hardly chance"


SETS = {"A": "front", "B": "all", "C": "one side"}  # how the notebook's table names `tools/measure.py`'s pose sets


@exercise
def biased(answer) -> str:
    """Exercise 5.6: which network was trained on which poses, told from its errors by yaw."""
    if not isinstance(answer, Mapping):
        raise Wrong(f'got {type(answer).__name__}, expected a dictionary such as {{"A": "all", ...}}')
    given: dict[str, Any] = {str(key).strip().upper(): value for key, value in answer.items()}
    if any(value is ... for value in given.values()):
        raise Wrong(NOT_YET)
    if given.keys() != SETS.keys():
        raise Wrong(f"expected the keys {', '.join(SETS)}, got {', '.join(given) or 'none'}")
    given = {key: str(value).strip().lower().replace("_", " ").replace("-", " ") for key, value in given.items()}
    if unknown := [value for value in given.values() if value not in SETS.values()]:
        raise Wrong(f"{unknown[0]!r}: expected one of {', '.join(sorted(SETS.values()))}")
    if len(set(given.values())) < len(SETS):
        raise Wrong("each set was used once")
    if given["C"] != SETS["C"]:
        raise Wrong("C: compare the two ends of its column; only a set with heads turned to one side makes them differ")
    if given != SETS:
        raise Wrong("A and B: which of them falls apart on both sides, as soon as the head turns?")
    return "right: what a set does not show, its mean error does not tell"
