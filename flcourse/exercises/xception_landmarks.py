"""Checks of notebook 05's exercises."""

import math

import torch
import torch.nn.functional as F

from flcourse.exercises.verdict import Wrong, ask, exercise, same
from flcourse.training.losses import WING_CURVE, WING_WIDTH
from flcourse.training.nets import SeparableConv2d
from flcourse.training.nets import soft_argmax as right_soft_argmax


@exercise
def parameters(answer) -> str:
    """Exercise 5.1: the weights of a dense and of a separable convolution, without bias."""
    for c_in, c_out, k in ((64, 128, 3), (32, 24, 5)):
        dense, separable = (int(value) for value in ask(answer, c_in, c_out, k))
        if dense != c_in * c_out * k * k:
            raise Wrong(f"dense: got {dense:,}, expected a k x k filter for every pair of channels, in and out")
        if separable == c_in * k * k:
            raise Wrong("that is the depthwise half; the pointwise half then mixes the channels")
        if separable == c_out * k * k + c_in * c_out:
            raise Wrong("the depthwise filters work on the channels that come in, before they are mixed")
        if separable != c_in * k * k + c_in * c_out:
            raise Wrong(f"separable: got {separable:,}, expected one k x k filter a channel, and then a 1 x 1 mixing")
    return "right: 8,768 instead of 73,728 from 64 to 128 channels"


@exercise
def separable(answer) -> str:
    """Exercise 5.2: a separable convolution from its two sets of weights."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 9, 9, generator=generator)
    layer = SeparableConv2d(6, 4)
    depthwise = torch.randn(layer.depthwise.weight.shape, generator=generator)
    pointwise = torch.randn(layer.pointwise.weight.shape, generator=generator)
    middle = F.conv2d(x, depthwise, padding=1, groups=6)
    right = F.conv2d(middle, pointwise)
    given = ask(answer, x, depthwise, pointwise)
    if given.shape == middle.shape:
        raise Wrong("that is the depthwise half; mix the channels with the pointwise weights")
    if tuple(given.shape[2:]) == (7, 7):
        raise Wrong("the border is lost: pad the 3 x 3 convolution by one pixel")
    if tuple(given.shape[2:]) == (11, 11):
        raise Wrong("the 1 x 1 convolution needs no padding")
    if same(given, F.conv2d(middle.relu(), pointwise)):
        raise Wrong("no ReLU between the two: Xception's authors found it does harm")
    if not same(given, right):
        raise Wrong(f"not yet: the shape is {tuple(given.shape)}, expected {tuple(right.shape)} of other values")
    return "right: nine numbers a channel, then a matrix across channels"


@exercise
def soft_argmax(answer) -> str:
    """Exercise 5.3: the mean position under each map's softmax, (N, 68, h, w) -> (N, 68, 2)."""
    logits = 3 * torch.randn(2, 68, 6, 8, generator=torch.Generator().manual_seed(0))
    right = right_soft_argmax(logits, ring=0)
    given = ask(answer, logits)
    if tuple(given.shape) != tuple(right.shape):
        raise Wrong(f"the shape is {tuple(given.shape)}, expected {tuple(right.shape)}: x and y of each map")
    if same(given, right.flip(2)):
        raise Wrong("x and y are swapped: x runs along columns, the last dimension")
    size = torch.tensor([8.0, 6.0])
    if same(given, right - 0.5 / size):
        raise Wrong("half a cell too far to the top left: the centre of column i lies at (i + 0.5) / columns")
    if same(given, right * size - 0.5):
        raise Wrong("these are cells; divide so that 0 and 1 are the map's edges")
    if same(given, (right * size - 0.5) / (size - 1)):
        raise Wrong("that puts 0 and 1 at the centres of the outer cells; they are the map's edges")
    flat = logits.flatten(2).argmax(dim=2)
    hard = torch.stack([(flat % 8 + 0.5) / 8, (flat // 8 + 0.5) / 6], dim=2)
    if same(given, hard):
        raise Wrong("that is the arg max: no gradient passes through it, and it jumps from cell to cell")
    if not same(given, right, 1e-4):
        raise Wrong("not yet: one softmax over all cells of a map, then the mean of the cells' centres under it")
    if ask(answer, logits.requires_grad_()).grad_fn is None:
        raise Wrong("the numbers are right, but no gradient passes through: stay in torch")
    return "right, and differentiable"


@exercise
def wing(answer) -> str:
    """Exercise 5.4: the Wing loss of single errors."""
    error = torch.linspace(-0.2, 0.2, 401)
    size = error.abs()
    near = WING_WIDTH * torch.log1p(size / WING_CURVE)
    jump = WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVE) - WING_WIDTH
    right = torch.where(size < WING_WIDTH, near, size + jump)
    given = ask(answer, error)
    if tuple(given.shape) != tuple(error.shape):
        raise Wrong(f"the shape is {tuple(given.shape)}, expected one loss for each error, {tuple(error.shape)}")
    if bool(torch.isnan(given).any()) or (same(given[200:], right[200:]) and not same(given, right)):
        raise Wrong("negative errors count as much as positive ones: take their size, error.abs()")
    if same(given, torch.where(size < WING_WIDTH, near, size)):
        raise Wrong("it jumps at w: beyond it subtract C = w - w ln(1 + w / e), so that the two halves meet")
    if same(given, torch.where(size < WING_WIDTH, near, size - jump)):
        raise Wrong("the sign of C: the loss beyond w is |error| - C")
    if same(given, near):
        raise Wrong("that is the logarithm everywhere; beyond w it is |error| - C")
    if not same(given, right):
        raise Wrong("not yet: w ln(1 + |error| / e) within w, |error| - C beyond it")
    return "right: steep near zero, and no far error outweighs the rest"
