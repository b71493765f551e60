"""Checks of notebook 01's exercises."""

from itertools import pairwise

import numpy as np

from flcourse.exercises.verdict import Wrong, ask, exercise, same

SIZES = (784, 256, 128, 10)


@exercise
def parameters(answer: int) -> str:
    """Exercise 1.1: the number of parameters of a 784-256-128-10 network."""
    weights = sum(n * m for n, m in pairwise(SIZES))
    biases = sum(SIZES[1:])
    if answer == weights:
        raise Wrong(f"{answer:,} are the weights alone; each neuron has a bias, too")
    if answer == weights + sum(SIZES):
        raise Wrong("the 784 inputs are pixels, no neurons: they have no bias")
    if answer == sum(SIZES):
        raise Wrong(f"{answer:,} counts neurons; each has one weight for every number that comes in")
    if answer != weights + biases:
        raise Wrong(f"{answer:,} is not it: for each layer, inputs times outputs, plus one bias for each output")
    return f"right: {weights:,} weights and {biases} biases"


@exercise
def softmax(answer) -> str:
    """Exercise 1.2: a softmax over rows of logits that never overflows."""
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, -1.0]])
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        given = np.asarray(ask(answer, logits), float)
        if given.shape != right.shape:
            raise Wrong(f"the shape is {given.shape}, expected {right.shape}: keepdims=True keeps sums broadcastable")
        if same(given, np.exp(logits) / np.exp(logits).sum()):
            raise Wrong("all numbers together sum to 1; each image (row) should: sum over axis=1")
        if same(given, np.exp(logits) / np.exp(logits).sum(axis=0)):
            raise Wrong("the columns sum to 1; each image is a row: sum over axis=1")
        if same(given, np.log(right)):
            raise Wrong("these are logarithms of the probabilities; return the probabilities")
        if not same(given, right):
            raise Wrong(f"softmax of {logits[0].tolist()} is {right[0].round(3).tolist()}, got {given[0].round(3)}")
        large = np.asarray(ask(answer, np.array([[1000.0, 999.0, 0.0]])))
        if not np.isfinite(large).all():
            raise Wrong("right for small logits, but 1000 overflows: take each row's maximum out first")
        mixed = np.asarray(ask(answer, np.array([[1000.0, 999.0], [0.0, 1.0]])))
        if not same(mixed[1], right_row := [1 / (1 + np.e), np.e / (1 + np.e)]):
            raise Wrong(
                "you take out the largest logit of the whole batch: a row far below it underflows to 0 / 0; "
                f"take out each row's own maximum (row [0, 1] should give {np.round(right_row, 3).tolist()})"
            )
    return "right, and it does not overflow"


@exercise
def untrained_loss(answer: float) -> str:
    """Exercise 1.3: the cross-entropy of ten equal probabilities."""
    answer = float(answer)
    if abs(answer - np.log2(10)) < 0.01:
        raise Wrong("that is the logarithm to base 2 (bits); cross-entropy here is natural: np.log")
    if abs(answer - 1) < 1e-9:
        raise Wrong("1 would be the logarithm to base 10; cross-entropy here is natural: np.log")
    if abs(answer - 0.1) < 1e-9 or abs(answer - 0.9) < 1e-9:
        raise Wrong("that is a probability; the loss is minus the logarithm of the true class's probability")
    if abs(answer + np.log(10)) < 0.01:
        raise Wrong("a loss is positive: minus the logarithm")
    if abs(answer - np.log(10)) > 0.01:
        raise Wrong(f"{answer:.3f} is not it: what is p of the true class, and what is -log p?")
    return "right: log 10 = 2.303"


@exercise
def tanh_backward(answer) -> str:
    """Exercise 1.4: the gradient through tanh, from its output."""
    a = np.tanh(np.array([[-2.0, -0.5, 0.0, 1.0]]))
    delta = np.array([[1.0, -2.0, 3.0, 0.5]])
    given = ask(answer, delta, a)
    if same(given, 1 - a**2):
        raise Wrong("that is the slope alone; the chain rule multiplies it by delta_a")
    if same(given, delta * (1 - np.tanh(a) ** 2)):
        raise Wrong("`a` is already tanh(z): do not apply tanh again")
    if same(given, delta * (1 - a)):
        raise Wrong("the square is missing: the slope is 1 - tanh(z) squared")
    if same(given, delta * (a > 0)):
        raise Wrong("that is ReLU's slope")
    if same(given, delta * a * (1 - a)):
        raise Wrong("a (1 - a) is the slope of the logistic sigmoid")
    if not same(given, delta * (1 - a**2)):
        raise Wrong("not yet: tanh'(z) = 1 - tanh(z)**2, times delta_a, element by element")
    return "right: delta_a * (1 - a**2)"


@exercise
def momentum_step(answer) -> str:
    """Exercise 1.5: one step of gradient descent with momentum: (new weights, new velocity)."""
    w, v, g, lr, mu = np.array([1.0, -2.0]), np.array([0.5, 0.25]), np.array([2.0, -1.0]), 0.1, 0.9
    given = ask(answer, w, v, g, lr, mu)
    if not isinstance(given, tuple) or len(given) != 2:
        raise Wrong("return two things: the new weights and the new velocity")
    new_w, new_v = given
    right_v = mu * v - lr * g
    if same(new_v, mu * v + lr * g) or same(new_w, w - right_v):
        raise Wrong("uphill: the gradient points to where the loss grows, so the step goes against it")
    if same(new_v, mu * v - (1 - mu) * lr * g):
        raise Wrong("that is an average, with (1 - momentum) before the new step; here the whole step is added")
    if same(new_v, mu * (v - lr * g)):
        raise Wrong("momentum shrinks the old velocity only, not the new step")
    if not same(new_v, right_v):
        raise Wrong(f"the velocity is {np.round(new_v, 3).tolist()}, expected {right_v.tolist()}")
    if same(new_w, w + v):
        raise Wrong("the weights moved by the old velocity; use the new one")
    if same(new_w, w - lr * g):
        raise Wrong("the weights moved by the plain gradient; use the new velocity")
    if same(new_w, w + lr * right_v):
        raise Wrong("the learning rate is in the velocity already")
    if not same(new_w, w + right_v):
        raise Wrong(f"the weights are {np.round(new_w, 3).tolist()}, expected {(w + right_v).tolist()}")
    return "right"
