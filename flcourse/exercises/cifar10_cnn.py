"""Checks of notebook 03's exercises."""

import math

import numpy as np
import torch

from flcourse.exercises.verdict import Wrong, array, ask, exercise, number, pair, same, told


def _output_size(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


def _receptive_field(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field


def _count_parameters(in_channels, out_channels, kernel, in_features, out_features):
    return out_channels * (in_channels * kernel**2 + 1), out_features * (in_features + 1)


def _grad_cam(activations, gradients):
    return (gradients.mean(dim=(1, 2), keepdim=True) * activations).sum(dim=0).relu()


def _split(photo, val_share, seed=0):
    photos = np.random.default_rng(seed).permutation(np.unique(photo))
    held_out = np.isin(photo, photos[: round(val_share * len(photos))])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


@exercise(reference=_output_size)
def output_size(answer) -> str:
    """Exercise 3.1: the size of a convolution's output."""
    cases = [(32, 3, 1, 1), (32, 5, 1, 0), (299, 3, 2, 0), (32, 3, 2, 1), (7, 2, 2, 0), (31, 4, 3, 2)]
    right = [_output_size(*case) for case in cases]
    given = [number(ask(answer, *case)) for case in cases]
    for hint, wrong in {
        "one too few: the first place counts, too (+ 1)": lambda n, k, s, p: (n + 2 * p - k) // s,
        "padding is on both sides: 2 * padding": lambda n, k, s, p: (n + p - k) // s + 1,
        "padding is missing: it makes the image larger by 2 * padding": lambda n, k, s, p: (n - k) // s + 1,
        "stride is missing: the filter jumps, so divide by it": lambda n, k, s, p: n + 2 * p - k + 1,
        "divide first, then add 1: there are (length left) // stride jumps, and one place more": (
            lambda n, k, s, p: (n + 2 * p - k + 1) // s
        ),
        "the kernel is missing: its last pixel, too, has to be inside": lambda n, k, s, p: (n + 2 * p) // s,
        "a place that only half fits is none: round down, //": (lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1),
        "rounding goes up at times; a place that only half fits is none: //": (
            lambda n, k, s, p: round((n + 2 * p - k) / s) + 1
        ),
    }.items():
        if given == [wrong(*case) for case in cases]:
            raise Wrong(hint)
    if [int(g) for g in given] == right and given != right:
        raise Wrong("there are no half places: // instead of /")
    for case, r, g in zip(cases, right, given, strict=True):
        if g != r:
            raise Wrong("size {}, kernel {}, stride {}, padding {}: got {:g}, expected {}".format(*case, g, r))
    return "right: (size + 2 padding - kernel) // stride + 1"


@exercise(reference=_receptive_field)
def receptive_field(answer) -> str:
    """Exercise 3.2: the receptive field of a stack of (kernel, stride) layers."""
    stacks = [[(3, 1)], [(3, 1), (3, 1)], [(3, 1), (2, 2), (3, 1)], [(3, 2), (3, 2), (5, 1), (2, 2), (3, 1)], []]

    def stride_first(layers):
        size, jump = 1, 1
        for kernel, stride in layers:
            jump *= stride
            size += (kernel - 1) * jump
        return size

    def strides_added(layers):
        size, jump = 1, 1
        for kernel, stride in layers:
            size += (kernel - 1) * jump
            jump += stride - 1
        return size

    def last_stride_only(layers):
        size, jump = 1, 1
        for kernel, stride in layers:
            size += (kernel - 1) * jump
            jump = stride
        return size

    given = [number(ask(answer, list(stack))) for stack in stacks]
    for hint, wrong in {
        "strides are ignored: after a stride of 2, neighbours stand 2 pixels apart": (
            lambda stack: 1 + sum(k - 1 for k, _ in stack)
        ),
        "fields overlap: each layer adds (kernel - 1) times the jump, to a field that begins with 1": (
            lambda stack: sum(k for k, _ in stack)
        ),
        "a layer's own stride spreads only the layers after it: multiply the jump after adding": stride_first,
        "one too small: a single number sees one pixel before any layer": lambda stack: _receptive_field(stack) - 1,
        "strides multiply: after two of them, neighbours stand 4 pixels apart": strides_added,
        "the jump is the product of all strides so far, not the last one": last_stride_only,
        "from the image upwards: the list is to be read in its own order": (
            lambda stack: _receptive_field(stack[::-1])
        ),
    }.items():
        if given == [wrong(stack) for stack in stacks]:
            raise Wrong(hint)
    for stack, g in zip(stacks, given, strict=True):
        if g != _receptive_field(stack):
            raise Wrong(f"layers {stack}: got {g:g}, expected {_receptive_field(stack)}")
    return "right"


@exercise(reference=_count_parameters)
def count_parameters(answer) -> str:
    """Exercise 3.3: (parameters of a convolution, parameters of a dense layer)."""
    cases = [(64, 128, 5, 128, 10), (3, 32, 3, 8192, 4096)]
    for i, o, k, n, m in cases:
        convolution, dense = map(number, pair(ask(answer, i, o, k, n, m), "(convolution, dense)"))
        right = _count_parameters(i, o, k, n, m)
        if (dense, convolution) == right:
            raise Wrong("swapped: first the convolution's, then the dense layer's")
        if convolution == o * i * k**2 or dense == n * m:
            raise Wrong("each filter, and each dense neuron, has a bias, too")
        if convolution == o * (k**2 + 1):
            raise Wrong("a filter has k * k weights for every input channel")
        if convolution == o * (i * k + 1):
            raise Wrong("a filter is k pixels high and k wide: k squared")
        if convolution == o * i * (k**2 + 1):
            raise Wrong("a filter has one bias in all, not one for each input channel")
        if convolution == i * k**2 + 1:
            raise Wrong("that is one filter; there are out_channels of them")
        if convolution == i * (o * k**2 + 1):
            raise Wrong("the biases: one for each filter (output channel), not for each input channel")
        if convolution != right[0]:
            raise Wrong(f"convolution {i} -> {o}, kernel {k}: got {convolution:g}, expected {right[0]}")
        if dense == n * (m + 1):
            raise Wrong("dense: one bias for each output, not for each input")
        if dense != right[1]:
            raise Wrong(f"dense {n} -> {m}: got {dense:g}, expected {right[1]}")
    return "right: the dense layer of the original has 33.6 million, its first convolution 896"


@exercise(reference=_grad_cam)
def grad_cam(answer) -> str:
    """Exercise 3.4: the Grad-CAM map of activations and gradients, both (C, h, w)."""
    draw = torch.Generator().manual_seed(0)
    a, g = torch.randn(5, 4, 3, generator=draw), torch.randn(5, 4, 3, generator=draw)
    alpha = g.mean(dim=(1, 2))[:, None, None]
    right = (alpha * a).sum(dim=0).relu()
    try:
        given = array(ask(answer, a, g))
    except RuntimeError as error:
        if "must match" not in str(error):
            raise
        raise Wrong(
            "a mean over a channel's places has shape (C,), which does not fit beside (C, h, w): give it two axes "
            f"more, of size 1. {told(error)}"
        ) from error
    if given.shape == (5, 4, 3):
        raise Wrong("the channels are still there: sum over them (dim=0)")
    if given.shape != (4, 3) and given.squeeze().shape == (4, 3):
        raise Wrong(f"the shape is {given.shape}, expected (h, w) = (4, 3): sum without keepdim")
    if same(given, right) or same(given, right / right.max()):  # a map is often shown over its maximum
        return "right"
    for hint, wrong in {
        "the ReLU is missing: only what speaks for the class": (alpha * a).sum(dim=0),
        "the ReLU belongs after the sum, not on alpha": (alpha.relu() * a).sum(dim=0),
        "the ReLU belongs after the whole sum, not on alpha": (alpha.relu() * a).sum(dim=0).relu(),
        "that multiplies place by place; alpha is the gradient's mean over all places, one a channel": (
            (g * a).sum(dim=0).relu()
        ),
        "the ReLU belongs after the sum over channels": (alpha * a).relu().sum(dim=0),
        "sum over the channels; you took their mean": (alpha * a).mean(dim=0).relu(),
        "that is the size of the sum; what speaks against the class is to become 0: ReLU": (alpha * a).sum(0).abs(),
        "the other way round: the gradients are averaged, the activations stay a map": (
            (a.mean(dim=(1, 2))[:, None, None] * g).sum(dim=0).relu()
        ),
        "alpha averages over the places (h, w) of a channel, not over the channels": (
            (g.mean(dim=0) * a).sum(dim=0).relu()
        ),
    }.items():
        if same(given, wrong):
            raise Wrong(hint)
    if given.shape != (4, 3):
        raise Wrong(f"the shape is {given.shape}, expected (h, w) = (4, 3)")
    raise Wrong(
        "not yet: alpha is the gradient's mean over h and w; the map is ReLU of the sum of alpha A over channels"
    )


@exercise(reference=_split)
def split(answer) -> str:
    """Exercise 3.5: (training indices, validation indices) with no photograph on both sides."""
    draw = np.random.default_rng(0)
    for photo, share in (
        (np.tile(np.arange(40), 5), 0.25),  # five rounds through the photographs
        (np.repeat(np.arange(60), draw.integers(1, 6, 60)), 0.1),  # one after the other, unequally many
        (draw.permutation(np.repeat([7, 3, 11, 90, 12, 5, 8, 41, 2, 60], 6)), 0.3),
    ):
        sides = []
        for side in pair(ask(answer, photo, share), "the training indices and the validation indices"):
            values = array(side)
            is_mask = values.shape == photo.shape and set(np.unique(values)) <= {0, 1}
            sides.append(np.flatnonzero(values) if is_mask else values.ravel())
        train, val = sides
        if not len(train) or not len(val):
            raise Wrong(f"the {'validation' if len(train) else 'training'} set is empty")
        both = np.concatenate([train, val])
        if (both != both.astype(int)).any() or both.min() < 0 or both.max() >= len(photo):
            raise Wrong(f"indices go from 0 to {len(photo) - 1}; got {both.min():g} to {both.max():g}")
        train, val = train.astype(int), val.astype(int)
        if len(set(both)) < len(both):
            raise Wrong("an image is there twice, or on both sides")
        if shared := set(photo[train]) & set(photo[val]):
            raise Wrong(
                f"{len(shared)} of {len(set(photo))} photographs are on both sides: draw photographs, not images"
            )
        if len(both) < len(photo):
            raise Wrong(f"{len(photo) - len(both)} of {len(photo)} images are on neither side: take every copy along")
        if abs(len(train) / len(photo) - share) < 0.12 < abs(len(val) / len(photo) - share):
            raise Wrong("swapped: first the training indices, then those of the validation set")
        if abs(len(val) / len(photo) - share) > 0.12:
            raise Wrong(f"asked for {100 * share:.0f} % to validate on, got {100 * len(val) / len(photo):.0f} %")
    return "right: no photograph is on both sides"
