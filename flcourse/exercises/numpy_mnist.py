"""Checks of notebook 01's exercises."""

from collections.abc import Callable
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import numpy as np

from flcourse.exercises.verdict import Wrong, array, ask, exercise, number, pair, same, told

SIZES = (784, 256, 128, 10)


def _softmax(logits):
    """The course's answer to exercise 1.2."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _momentum_step(w, v, gradient, lr=0.1, momentum=0.9):
    """The course's answer to exercise 1.5."""
    v = momentum * v - lr * gradient
    return w + v, v


@exercise(reference=235_146)
def parameters(answer) -> str:
    """Exercise 1.1: the number of parameters of a 784-256-128-10 network."""
    layers = [n * m + m for n, m in pairwise(SIZES)]
    if isinstance(answer, list | tuple | np.ndarray) and np.size(answer) == len(layers):
        answer = array(answer).sum()  # one number a layer
    answer = number(answer)
    weights = sum(n * m for n, m in pairwise(SIZES))
    biases = sum(SIZES[1:])
    shown = f"{answer:,.10g}"
    if answer == weights:
        raise Wrong(f"{shown} are the weights alone; each neuron has a bias, too")
    if answer == weights + sum(SIZES):
        raise Wrong("the 784 inputs are pixels, no neurons: they have no bias")
    if answer == sum(SIZES):
        raise Wrong(f"{shown} counts neurons; each has one weight for every number that comes in")
    if answer == weights + len(layers):
        raise Wrong("each neuron has a bias of its own, not each layer one")
    if answer in (layers[0], layers[0] + layers[1]):
        raise Wrong(f"{shown}: there are three layers of weights; add up all of them")
    if answer != weights + biases:
        raise Wrong(f"{shown} is not it: for each layer, inputs times outputs, plus one bias for each output")
    return f"right: {weights:,} weights and {biases} biases"


@exercise(reference=_softmax)
def softmax(answer) -> str:
    """Exercise 1.2: a softmax over rows of logits that never overflows."""
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, -1.0]])
    right, naive = _softmax(logits), np.exp(logits)
    with np.errstate(all="ignore"):
        try:
            given = array(ask(answer, logits))
        except ValueError as error:
            if "broadcast" not in str(error):
                raise
            raise Wrong(
                "a maximum or sum of each row has shape (N,), which does not fit beside (N, 10): "
                f"keepdims=True keeps it a column, (N, 1). {told(error)}"
            ) from error
        if given.shape != right.shape:
            raise Wrong(f"the shape is {given.shape}, expected {right.shape}: keepdims=True keeps sums broadcastable")
        if same(given, naive / naive.sum()):
            raise Wrong("all numbers together sum to 1; each image (row) should: sum over axis=1")
        if same(given, naive / naive.sum(axis=0)):
            raise Wrong("the columns sum to 1; each image is a row: sum over axis=1")
        if same(given, np.log(right)):
            raise Wrong("these are logarithms of the probabilities; return the probabilities")
        if same(given, naive):
            raise Wrong("these are the exponentials; divide each row by its sum, so that it sums to 1")
        if not same(given, right):
            raise Wrong(f"softmax of {logits[0].tolist()} is {right[0].round(3).tolist()}, got {given[0].round(3)}")
        large = array(ask(answer, np.array([[1000.0, 999.0, 0.0]])))
        if not np.isfinite(large).all():
            raise Wrong("right for small logits, but 1000 overflows: take each row's maximum out first")
        two = [[np.e / (1 + np.e), 1 / (1 + np.e)]]
        mixed = array(ask(answer, np.array([[1000.0, 999.0], [1.0, 0.0]])))
        if not same(mixed[1:], two):
            raise Wrong(
                "you take out the largest logit of the whole batch: a row far below it underflows to 0 / 0; "
                f"take out each row's own maximum (row [1, 0] should give {np.round(two[0], 3).tolist()})"
            )
        for row in ([1000.0, 999.0], [-1000.0, -1001.0], [41.0, 40.0]):
            given = array(ask(answer, np.array([row])))
            if not same(given, two):
                raise Wrong(
                    f"softmax of {row} is {np.round(two[0], 3).tolist()}, got {given[0].round(3)}: hiding the "
                    "overflow (clip, nan_to_num) changes the answer; subtract each row's maximum"
                )
        if not same(array(ask(answer, np.array([[5000.0, 0.0, 0.0]]))), [[1.0, 0.0, 0.0]]):
            raise Wrong("[5000, 0, 0] still overflows: subtract the row's maximum, not another number such as its mean")
    return "right, and it does not overflow"


@exercise(reference=float(np.log(10)))
def untrained_loss(answer) -> str:
    """Exercise 1.3: the cross-entropy of ten equal probabilities."""
    answer = number(answer)
    if abs(answer - np.log2(10)) < 0.01:
        raise Wrong("that is the logarithm to base 2 (bits); cross-entropy here is natural: np.log")
    if abs(answer - 1) < 1e-9:
        raise Wrong("1 would be the logarithm to base 10; cross-entropy here is natural: np.log")
    if abs(answer - 0.1) < 1e-9 or abs(answer - 0.9) < 1e-9:
        raise Wrong("that is a probability; the loss is minus the logarithm of the true class's probability")
    if abs(answer + np.log(10)) < 0.01:
        raise Wrong("a loss is positive: minus the logarithm")
    if abs(answer - np.log(10) / 10) < 0.001:
        raise Wrong("that is p log p of one class; the loss is -log p of the true class alone, not times p")
    if abs(answer - 10 * np.log(10)) < 0.1:
        raise Wrong("that adds up ten classes; only the true class counts")
    if abs(answer - np.log(10)) > 0.01:
        raise Wrong(f"{answer:.3f} is not it: what is p of the true class, and what is -log p?")
    return "right: log 10 = 2.303"


@exercise(reference=lambda delta_a, a: delta_a * (1 - a**2))
def tanh_backward(answer) -> str:
    """Exercise 1.4: the gradient through tanh, from its output."""
    draw = np.random.default_rng(0)
    a, delta = np.tanh(draw.normal(size=(3, 4))), draw.normal(size=(3, 4))
    right = delta * (1 - a**2)
    given = array(ask(answer, delta, a))
    if given.shape != right.shape:
        raise Wrong(f"the shape is {given.shape}, expected that of delta_a, {right.shape}: element by element, no sums")
    if same(given, 1 - a**2):
        raise Wrong("that is the slope alone; the chain rule multiplies it by delta_a")
    if same(given, delta * (1 - np.tanh(a) ** 2)):
        raise Wrong("`a` is already tanh(z): do not apply tanh again")
    if same(given, delta * (1 - a)):
        raise Wrong("the square is missing: the slope is 1 - tanh(z) squared")
    if same(given, delta * 1 - a**2):
        raise Wrong("parentheses: delta_a * (1 - a**2), or the product takes only the 1")
    if same(given, -right):
        raise Wrong("the sign: the slope is 1 - a**2, positive everywhere")
    if same(given, delta * (a > 0)):
        raise Wrong("that is ReLU's slope")
    if same(given, delta * a * (1 - a)):
        raise Wrong("a (1 - a) is the slope of the logistic sigmoid")
    if any(same(given, right / n) for n in (*a.shape, a.size)):
        raise Wrong("the mean over the batch is in delta_a already: do not divide again")
    if not same(given, right):
        raise Wrong("not yet: two factors, element by element: delta_a, and tanh's slope from its output (section 1.4)")
    return "right: delta_a * (1 - a**2)"


@exercise(reference=_momentum_step)
def momentum_step(answer) -> str:
    """Exercise 1.5: one step of gradient descent with momentum: (new weights, new velocity)."""
    w, v, g = np.array([1.0, -2.0, 0.5]), np.array([0.5, 0.25, -1.0]), np.array([2.0, -1.0, 3.0])
    for lr, mu in ((0.1, 0.9), (0.03, 0.5)):
        right_w, right_v = _momentum_step(w, v, g, lr, mu)
        new_w, new_v = map(array, pair(ask(answer, w, v, g, lr, mu), "the new weights and the new velocity"))
        if lr != 0.1 and same(new_v, 0.9 * v - 0.1 * g):
            raise Wrong("right for 0.1 and 0.9 only: use the arguments lr and momentum, not numbers")
        if same(new_w, right_v) and same(new_v, right_w):
            raise Wrong("swapped: first the new weights, then the new velocity")
        if same(new_v, mu * v + lr * g) or same(new_w, w - right_v):
            raise Wrong("uphill: the gradient points to where the loss grows, so the step goes against it")
        if same(new_v, mu * v - (1 - mu) * lr * g):
            raise Wrong("that is an average, with (1 - momentum) before the new step; here the whole step is added")
        if same(new_v, mu * (v - lr * g)):
            raise Wrong("momentum shrinks the old velocity only, not the new step")
        if same(new_v, mu * v - g) or same(new_v, mu * v + g):
            raise Wrong("PyTorch's form keeps the learning rate out of the velocity; in the formula above it is in it")
        if same(new_v, v):
            raise Wrong("the velocity is the old one: return the new one, which the next step needs")
        if not same(new_v, right_v):
            raise Wrong(f"the velocity is {np.round(new_v, 3).tolist()}, expected {right_v.round(6).tolist()}")
        if same(new_w, w + v):
            raise Wrong("the weights moved by the old velocity; use the new one")
        if same(new_w, w - lr * g):
            raise Wrong("the weights moved by the plain gradient; use the new velocity")
        if same(new_w, w + lr * right_v):
            raise Wrong("the learning rate is in the velocity already")
        if same(new_w, w + mu * right_v - lr * g):
            raise Wrong("that is Nesterov's momentum; here the weights move by the new velocity")
        if not same(new_w, right_w):
            raise Wrong(f"the weights are {np.round(new_w, 3).tolist()}, expected {right_w.round(6).tolist()}")
    return "right"


FAULTS = {  # the run's letter -> what is wrong with it, and what its curves show
    "A": ("labels shuffled", "the training loss falls while the validation loss only rises, above 2.30"),
    "B": ("rate too low", "both losses fall, together and without a jerk, but hardly"),
    "C": ("too few images", "the training loss falls to nothing, and the validation loss stays far above it"),
    "D": ("weights all zero", "the loss stands at 2.30 and stays: no neuron differs from its neighbour"),
    "E": ("rate too high", "the losses jump up and down from epoch to epoch, and stay high"),
}


def broken_runs(network: Callable, train: Callable, x: np.ndarray, y: np.ndarray) -> dict[str, list[dict]]:
    """Five small trainings with one fault each: the run's letter -> its history, with notebook 01's functions.

    `network(784, 32, 10)` makes a network, `train(network, x, y, epochs, lr=...)` trains it; x (N, 784), y (N,).
    """
    x, y = x[:2000], y[:2000]
    shuffled = np.random.default_rng(0).permutation(y)
    zero = network(784, 32, 10)
    for w in zero.weights:
        w[:] = 0
    runs: dict[str, Any] = {
        "A": (network(784, 32, 10), x[:500], shuffled[:500], 12, {"batch": 16}),
        "B": (network(784, 32, 10), x, y, 12, {"lr": 2e-4}),
        "C": (network(784, 32, 10), x[:64], y[:64], 12, {"batch": 8}),
        "D": (zero, x, y, 12, {}),
        "E": (network(784, 32, 10), x, y, 12, {"lr": 1.0}),
    }
    with np.errstate(all="ignore"):
        return {letter: train(*arguments, **settings) for letter, (*arguments, settings) in runs.items()}


@exercise
def diagnosis(answer) -> str:
    """Exercise 1.6: what is wrong with each of `broken_runs`, read from its curves: letter -> fault."""
    faults = [fault for fault, _ in FAULTS.values()]
    if not isinstance(answer, dict):
        raise Wrong(f"expected a dict with the keys A to E, got {type(answer).__name__}")
    given = {str(letter).strip().upper(): fault for letter, fault in answer.items()}
    if unknown := given.keys() - FAULTS.keys():
        raise Wrong(f"there is no run {sorted(unknown)[0]}: expected the keys A to E")
    for letter, fault in given.items():
        if fault is not ... and fault not in faults:
            near = get_close_matches(str(fault).lower(), faults, 1, 0.4)
            raise Wrong(f"{letter}: {fault!r} is not in the list" + (f"; {near[0]!r}?" if near else ""))
    wrong = [letter for letter in given if given[letter] is not ... and given[letter] != FAULTS[letter][0]]
    if wrong:
        first = wrong[0]
        raise Wrong(f"{len(wrong)} not right, {first} for one: look again, {FAULTS[first][1]}")
    if missing := [letter for letter in FAULTS if given.get(letter, ...) is ...]:
        raise Wrong(f"right so far; still to come: {', '.join(missing)}")
    return "right, all five"
