"""Checks of notebook 03's exercises."""

import torch

from flcourse.exercises.verdict import Wrong, ask, exercise, same


@exercise
def output_size(answer) -> str:
    """Exercise 3.1: the size of a convolution's output."""
    cases = [(32, 3, 1, 1), (32, 5, 1, 0), (299, 3, 2, 0), (32, 3, 2, 1), (7, 2, 2, 0)]
    right = [(n + 2 * p - k) // s + 1 for n, k, s, p in cases]
    given = [ask(answer, *case) for case in cases]
    if given == [(n + 2 * p - k) // s for n, k, s, p in cases]:
        raise Wrong("one too few: the first place counts, too (+ 1)")
    if given == [(n + p - k) // s + 1 for n, k, s, p in cases]:
        raise Wrong("padding is on both sides: 2 * padding")
    if given == [(n + 2 * p - k + 1) // s for n, k, s, p in cases]:
        raise Wrong("divide first, then add 1: there are (length left) // stride jumps, and one place more")
    if [int(g) for g in given] == right and any(g != int(g) for g in given):
        raise Wrong("there are no half places: // instead of /")
    for case, r, g in zip(cases, right, given, strict=True):
        if g != r:
            raise Wrong("size {}, kernel {}, stride {}, padding {}: got {}, expected {}".format(*case, g, r))
    return "right: (size + 2 padding - kernel) // stride + 1"


@exercise
def receptive_field(answer) -> str:
    """Exercise 3.2: the receptive field of a stack of (kernel, stride) layers."""
    stacks = [[(3, 1)], [(3, 1), (3, 1)], [(3, 1), (2, 2), (3, 1)], [(3, 2), (3, 2), (5, 1), (2, 2), (3, 1)]]

    def field(layers, own_stride_first=False):
        size, jump = 1, 1
        for kernel, stride in layers:
            if own_stride_first:
                jump *= stride
            size += (kernel - 1) * jump
            if not own_stride_first:
                jump *= stride
        return size

    given = [ask(answer, list(stack)) for stack in stacks]
    if given == [1 + sum(k - 1 for k, _ in stack) for stack in stacks]:
        raise Wrong("strides are ignored: after a stride of 2, neighbours stand 2 pixels apart")
    if given == [sum(k for k, _ in stack) for stack in stacks]:
        raise Wrong("fields overlap: each layer adds (kernel - 1) times the jump, to a field that begins with 1")
    if given == [field(stack, own_stride_first=True) for stack in stacks]:
        raise Wrong("a layer's own stride spreads only the layers after it: multiply the jump after adding")
    if given == [field(stack) - 1 for stack in stacks]:
        raise Wrong("one too small: a single number sees one pixel before any layer")
    for stack, g in zip(stacks, given, strict=True):
        if g != field(stack):
            raise Wrong(f"layers {stack}: got {g}, expected {field(stack)}")
    return "right"


@exercise
def count_parameters(answer) -> str:
    """Exercise 3.3: (parameters of a convolution, parameters of a dense layer)."""
    cases = [(64, 128, 5, 128, 10), (3, 32, 3, 8192, 4096)]
    for i, o, k, n, m in cases:
        given = ask(answer, i, o, k, n, m)
        if not isinstance(given, tuple) or len(given) != 2:
            raise Wrong("return two numbers: (convolution, dense)")
        convolution, dense = given
        if convolution == o * i * k**2 or dense == n * m:
            raise Wrong("each filter, and each dense neuron, has a bias, too")
        if convolution == o * (k**2 + 1):
            raise Wrong("a filter has k * k weights for every input channel")
        if convolution == o * (i * k + 1):
            raise Wrong("a filter is k pixels high and k wide: k squared")
        if convolution == o * i * (k**2 + 1):
            raise Wrong("a filter has one bias in all, not one for each input channel")
        if convolution != o * (i * k**2 + 1):
            raise Wrong(f"convolution {i} -> {o}, kernel {k}: got {convolution}, expected {o * (i * k**2 + 1)}")
        if dense != m * (n + 1):
            raise Wrong(f"dense {n} -> {m}: got {dense}, expected {m * (n + 1)}")
    return "right: the dense layer of the original has 33.6 million, its first convolution 896"


@exercise
def grad_cam(answer) -> str:
    """Exercise 3.4: the Grad-CAM map of activations and gradients, both (C, h, w)."""
    draw = torch.Generator().manual_seed(0)
    a, g = torch.randn(5, 4, 3, generator=draw), torch.randn(5, 4, 3, generator=draw)
    alpha = g.mean(dim=(1, 2))[:, None, None]
    right = (alpha * a).sum(dim=0).relu()
    given = ask(answer, a, g)
    if tuple(given.shape) == (5, 4, 3):
        raise Wrong("the channels are still there: sum over them (dim=0)")
    if same(given, (alpha * a).sum(dim=0)):
        raise Wrong("the ReLU is missing: only what speaks for the class")
    if same(given, (alpha.relu() * a).sum(dim=0)) or same(given, (alpha.relu() * a).sum(dim=0).relu()):
        raise Wrong("the ReLU belongs after the sum, not on alpha")
    if same(given, (g * a).sum(dim=0).relu()):
        raise Wrong("that multiplies place by place; alpha is the gradient's mean over all places, one a channel")
    if same(given, (alpha * a).relu().sum(dim=0)):
        raise Wrong("the ReLU belongs after the sum over channels")
    if same(given, (alpha * a).mean(dim=0).relu()):
        raise Wrong("sum over the channels; you took their mean")
    if tuple(given.shape) != (4, 3):
        raise Wrong(f"the shape is {tuple(given.shape)}, expected (h, w) = (4, 3)")
    if not same(given, right):
        raise Wrong(
            "not yet: alpha is the gradient's mean over h and w; the map is ReLU of the sum of alpha A over channels"
        )
    return "right"
