"""The attack table of notebooks 01 to 03: many wrong answers, each told what is wrong, and right ones in odd forms."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flcourse.exercises import cifar10_cnn as n3
from flcourse.exercises import numpy_mnist as n1
from flcourse.exercises import pytorch_mnist as n2
from flcourse.exercises.verdict import NOT_YET

FAULTS = {letter: fault for letter, (fault, _) in n1.FAULTS.items()}
OTHER = {
    "A": "rate too low",
    "B": "labels shuffled",
    "C": "rate too high",
    "D": "too few images",
    "E": "labels shuffled",
}


def rows(z, axis=1, keep=True):
    e = np.exp(z - z.max(axis=axis, keepdims=keep))
    return e / e.sum(axis=axis, keepdims=keep)


def naive(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def shifted(by):
    return lambda z: naive(z - by(z))


def leaves(z):
    sys.exit("done")


def changed(z):
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z


def moved(w, v, g, lr, mu):
    v *= mu
    v -= lr * g
    w += v
    return w, v


def adam(w, g, state, lr):
    """Notebook 02's, which exercise 2.3 may call."""
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["s"] = 0.999 * state.get("s", 0) + 0.001 * g**2
    return w - lr * (state["m"] / (1 - 0.9**t)) / ((state["s"] / (1 - 0.999**t)).sqrt() + 1e-8)


def step(*order, own=0.0, mode=None, back_to=None, sign=1, reduction="mean", softmax=False, times=1, give="item"):
    """A training step that does "zero", "forward", "back", "step" in the order given, with the mistakes asked for."""

    def training_step(model, optimizer, inputs, labels):
        if mode is not None:
            model.train(mode)
        for what in order or ("zero", "forward", "back", "step"):
            if what == "zero":
                optimizer.zero_grad()
            elif what == "none":
                for p in model.parameters():
                    p.grad = None
            elif what == "forward":
                logits = model(inputs)
                loss = F.cross_entropy(logits.softmax(1) if softmax else logits, labels, reduction=reduction)
            elif what == "back":
                (sign * loss).backward()
            elif what == "step":
                for _ in range(times):
                    optimizer.step()
            elif what == "own":
                with torch.no_grad():
                    for p in model.parameters():
                        p -= own * p.grad
            elif what == "another":
                torch.optim.SGD(model.parameters(), lr=own).step()
        if back_to is not None:
            model.train(back_to)
        forms = {"item": loss.item, "numpy": lambda: loss.detach().numpy(), "one": lambda: [loss.item()]}
        forms |= {"tensor": lambda: loss, "detached": loss.detach, "nan": lambda: float("nan"), "none": lambda: None}
        return forms[give]()

    return training_step


def alpha(g):
    return g.mean(dim=(1, 2))[:, None, None]


def cam(a, g):
    return (alpha(g) * a).sum(0).relu()


def size(n, k, s, p):
    return (n + 2 * p - k) // s + 1


def field(layers):
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, jump * stride
    return size


def added(layers):
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, jump + stride - 1
    return size


def last(layers):
    size, jump = 1, 1
    for kernel, stride in layers:
        size, jump = size + (kernel - 1) * jump, stride
    return size


def parted(photo, share):
    """Whole photographs, until there is enough to validate on."""
    held, count = set(), 0
    for one in np.unique(photo):
        if count < share * len(photo):
            held.add(one)
            count += (photo == one).sum()
    mask = np.array([one in held for one in photo])
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def by_image(photo, share):
    order = np.random.default_rng(1).permutation(len(photo))
    n = round(share * len(photo))
    return order[n:], order[:n]


def ink(image):
    return 1 - torch.from_numpy(image)[None, None].float() / 127.5


def own_scale(image):
    x = 255 - torch.from_numpy(image)[None, None].float()
    return (x - x.mean()) / x.std()


WRONG = [  # check, answer, words of the hint
    (n1.parameters, "many", "expected numbers"),
    (n1.parameters, float("nan"), "finite"),
    (n1.parameters, None, "expected"),
    (n1.parameters, [200960, 32896], "one number"),
    (n1.parameters, [200704, 32768, 1280], "weights alone"),
    (n1.parameters, 200960, "three layers"),
    (n1.parameters, 234752 + 3, "each layer one"),
    (n1.parameters, "234,752", "bias"),
    (n1.parameters, lambda: 235146, "expected numbers"),
    (n1.softmax, lambda z: np.nan_to_num(naive(z)), "hiding the overflow"),
    (n1.softmax, lambda z: np.nan_to_num(naive(z), nan=1.0), "overflow"),
    (n1.softmax, lambda z: naive(z.clip(max=30)), "changes the answer"),
    (n1.softmax, lambda z: naive(z.clip(-700, 700)), "changes the answer"),
    (n1.softmax, lambda z: naive(np.minimum(z, 500)), "changes the answer"),
    (n1.softmax, shifted(lambda z: z.mean(axis=1, keepdims=True)), "mean"),
    (n1.softmax, shifted(lambda z: 1000), "softmax of"),
    (n1.softmax, shifted(lambda z: z.min(axis=1, keepdims=True)), "overflows"),
    (n1.softmax, shifted(lambda z: z.max()), "whole batch"),
    (n1.softmax, shifted(lambda z: z.max(axis=0)), "softmax of"),
    (n1.softmax, lambda z: rows(z, keep=False), "keepdims=True"),
    (n1.softmax, lambda z: np.exp(z) / np.exp(z).sum(axis=1), "keepdims=True"),
    (n1.softmax, lambda z: np.exp(z - z.max(axis=1)), "keepdims=True"),
    (n1.softmax, lambda z: np.exp(z - z.max(axis=1, keepdims=True)), "softmax of"),
    (n1.softmax, lambda z: np.exp(z), "divide each row"),
    (n1.softmax, lambda z: rows(z, axis=0), "columns"),
    (n1.softmax, lambda z: z / z.sum(axis=1, keepdims=True), "softmax of"),
    (n1.softmax, lambda z: rows(z).tolist()[0], "shape"),
    (n1.softmax, lambda z: rows(z).max(axis=1), "shape"),
    (n1.softmax, lambda z: naive(-z), "softmax of"),
    (n1.softmax, lambda z: 2 ** (z - z.max(axis=1, keepdims=True)), "softmax of"),
    (n1.softmax, lambda z: naive(z.astype(np.float32)), "overflows"),
    (n1.softmax, leaves, "SystemExit"),
    (n1.softmax, lambda z: "probabilities", "expected numbers"),
    (n1.softmax, lambda z: ..., NOT_YET),
    (n1.softmax, lambda: 0, "raised TypeError"),
    (n1.softmax, lambda z: unknown(z), "NameError"),  # noqa: F821
    (n1.softmax, 3.0, "expected a function"),
    (n1.untrained_loss, float("nan"), "finite"),
    (n1.untrained_loss, np.nan, "finite"),
    (n1.untrained_loss, float("inf"), "finite"),
    (n1.untrained_loss, [np.log(10)] * 10, "one number"),
    (n1.untrained_loss, -0.1 * np.log(0.1), "p log p"),
    (n1.untrained_loss, 10 * np.log(10), "ten classes"),
    (n1.untrained_loss, 0.9, "probability"),
    (n1.untrained_loss, 0, "is not it"),
    (n1.untrained_loss, 2.2, "is not it"),
    (n1.untrained_loss, [], "one number"),
    (n1.untrained_loss, "log 10", "expected numbers"),
    (n1.tanh_backward, lambda d, a: d * (1 - a**2) / len(a), "do not divide"),
    (n1.tanh_backward, lambda d, a: d * (1 - a**2) / d.size, "do not divide"),
    (n1.tanh_backward, lambda d, a: d * 1 - a**2, "parentheses"),
    (n1.tanh_backward, lambda d, a: d * (a**2 - 1), "sign"),
    (n1.tanh_backward, lambda d, a: (d * (1 - a**2)).sum(axis=0), "no sums"),
    (n1.tanh_backward, lambda d, a: (d * (1 - a**2)).T, "shape"),
    (n1.tanh_backward, lambda d, a: d @ (1 - a**2), "ValueError"),
    (n1.tanh_backward, lambda d, a: np.nan * d, "not yet"),
    (n1.tanh_backward, lambda d, a: d, "not yet"),
    (n1.tanh_backward, lambda d, a: 1 - np.tanh(d) ** 2, "not yet"),
    (n1.tanh_backward, lambda d, a: None, "returns nothing"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + 0.9 * v - 0.1 * g, 0.9 * v - 0.1 * g), "use the arguments"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + mu * v - 0.1 * g, mu * v - 0.1 * g), "the velocity is"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + 0.9 * v - lr * g, 0.9 * v - lr * g), "the velocity is"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (mu * v - lr * g, w + mu * v - lr * g), "swapped"),
    (n1.momentum_step, lambda w, v, g, lr, mu: [mu * v - lr * g, w + mu * v - lr * g], "swapped"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + lr * (mu * v - g), mu * v - g), "PyTorch's form"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w - lr * (mu * v + g), mu * v + g), "PyTorch's form"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + mu * v - lr * g, v), "old one"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w + mu * (mu * v - lr * g) - lr * g, mu * v - lr * g), "Nesterov"),
    (n1.momentum_step, lambda w, v, g, lr, mu: w + mu * v - lr * g, "two things"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w, v, g), "two things"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w - mu * v + lr * g, mu * v - lr * g), "uphill"),
    (n1.momentum_step, lambda w, v, g, lr, mu: (w, np.nan * v), "the velocity is"),
    (n1.momentum_step, lambda w, v, g, lr, mu: 7, "two things"),
    (n1.diagnosis, "A", "expected a dict"),
    (n1.diagnosis, {}, "still to come"),
    (n1.diagnosis, dict.fromkeys("ABCDE", ...), "still to come: A, B"),
    (n1.diagnosis, {"A": "labels shuffled"}, "still to come: B"),
    (n1.diagnosis, FAULTS | {"F": "rate too low"}, "no run F"),
    (n1.diagnosis, FAULTS | {"B": "rate to low"}, "'rate too low'?"),
    (n1.diagnosis, FAULTS | {"B": 3}, "not in the list"),
    *((n1.diagnosis, FAULTS | {letter: other}, f"1 not right, {letter}") for letter, other in OTHER.items()),
    (n1.diagnosis, dict(zip("ABCDE", reversed(FAULTS.values()), strict=True)), "4 not right"),
    (n2.accumulated_gradient, float("nan"), "finite"),
    (n2.accumulated_gradient, 14, "value and a derivative"),
    (n2.accumulated_gradient, 8, "2 w"),
    (n2.accumulated_gradient, 21, "15 is the value"),
    (n2.accumulated_gradient, [6, 5], "one number"),
    (n2.accumulated_gradient, None, "expected"),
    (n2.accumulated_gradient, "eleven", "expected numbers"),
    (n2.training_step, step(mode=False), "eval()"),
    (n2.training_step, step(mode=False, back_to=True), "eval()"),
    (n2.training_step, step(back_to=False), "eval()"),
    (n2.training_step, step("none", "forward", "back", "own", own=0.5), "not by optimizer.step()"),
    (n2.training_step, step("zero", "forward", "back", "another", own=0.5), "not by optimizer.step()"),
    (n2.training_step, step("none", "forward", "back", "own", own=0.1), "not by optimizer.step()"),
    (n2.training_step, step("zero", "forward", "back", "step", "own", own=0.1), "not where"),
    (n2.training_step, step(times=2), "2 times"),
    (n2.training_step, step("zero", "forward", "back", "step", "forward", "back", "step"), "2 times"),
    (n2.training_step, step("zero", "forward"), "have not moved"),
    (n2.training_step, step("zero", "forward", "step"), "have not moved"),
    (n2.training_step, step("zero", "forward", "back"), "have not moved"),
    (n2.training_step, step("forward", "back", "zero", "step"), "have not moved"),
    (n2.training_step, step("zero", "forward", "step", "back"), "have not moved"),
    (n2.training_step, step("forward", "back", "step"), "zero_grad"),
    (n2.training_step, step("forward", "back", "step", "zero"), "begin with"),
    (n2.training_step, step(sign=-1), "uphill"),
    (n2.training_step, step(reduction="sum"), "mean"),
    (n2.training_step, step(softmax=True), "softmax comes twice"),
    (n2.training_step, step(give="tensor"), "loss.item()"),
    (n2.training_step, step(give="nan"), "finite"),
    (n2.training_step, step(give="none"), "returns nothing"),
    (n2.training_step, step("zero", "forward", "back", "step", "forward"), "before the step"),
    (n2.training_step, lambda model, optimizer, inputs, labels: sys.exit(), "SystemExit"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w, g, s, lr) - lr * wd * adam(w, g, dict(s), lr), "not yet"),
    (n2.adamw, lambda w, g, s, lr, wd: (1 - lr * wd) * adam(w, g, s, lr), "the order"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * wd * w, g, {}, lr), "hand `state` on"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * 0.01 * w, g, s, lr), "argument weight_decay"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * w, g, s, lr), "weight_decay is missing"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - 0.1 * wd * w, g, s, 0.1), "not yet"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * wd * w.sign(), g, s, lr), "not yet"),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * wd, g, s, lr), "not yet"),
    (n2.adamw, lambda w, g, s, lr, wd: np.nan * w, "not yet"),
    (n2.adamw, lambda w, g, s, lr, wd: w[:2], "not yet"),
    (n2.dropout, lambda x, keep, p, training: x * keep / keep.mean() if training else x, "happened to keep"),
    (n2.dropout, lambda x, keep, p, training: F.dropout(x, p, training), "drawn already"),
    (n2.dropout, lambda x, keep, p, training: x[keep.bool()] / (1 - p) if training else x, "zeros stay"),
    (n2.dropout, lambda x, keep, p, training: x * keep if training else x * (1 - p), "2012"),
    (n2.dropout, lambda x, keep, p, training: x * keep / 0.75 if training else x, "not yet"),
    (n2.dropout, lambda x, keep, p, training: x * keep / (1 - p) if not training else x, "in use"),
    (n2.dropout, lambda x, keep, p, training: x * keep / (1 - p) if training else 0 * x, "in use"),
    (n2.dropout, lambda x, keep, p, training: np.nan * x if training else x, "each call"),
    (n2.dropout, lambda x, keep, p, training: x / (1 - p) if training else x, "not yet"),
    (n2.prepare, lambda image: -ink(image), "the paper is 1"),
    (n2.prepare, lambda image: (ink(image) + 1) / 2, "0 to 1"),
    (n2.prepare, lambda image: 1 - (ink(image) + 1) / 2, "paper is 1 and ink 0"),
    (n2.prepare, lambda image: torch.from_numpy(255 - image)[None, None].float(), "0 to 255"),
    (n2.prepare, lambda image: torch.from_numpy(image)[None, None].float(), "nothing has changed"),
    (n2.prepare, lambda image: torch.from_numpy(-image)[None, None] / 127.5 - 1, "wraps"),
    (n2.prepare, lambda image: torch.from_numpy(-image)[None, None].float(), "wraps"),
    (n2.prepare, lambda image: ink(image)[0, 0], "(1, 1, 28, 28)"),
    (n2.prepare, lambda image: ink(image)[0], "(1, 1, 28, 28)"),
    (n2.prepare, lambda image: ink(image)[..., :14], "expected (1, 1, 28, 28)"),
    (n2.prepare, lambda image: ink(image).numpy(), "torch.from_numpy"),
    (n2.prepare, lambda image: ink(image).double(), "float32"),
    (n2.prepare, own_scale, "scale of its own"),
    (n2.prepare, lambda image: ink(image) / 2, "values go from"),
    (n2.prepare, lambda image: np.nan * ink(image), "values go from"),
    (n3.output_size, lambda n, k, s, p: (n - k) // s + 1, "padding is missing"),
    (n3.output_size, lambda n, k, s, p: n + 2 * p - k + 1, "stride is missing"),
    (n3.output_size, lambda n, k, s, p: (n + 2 * p) // s, "kernel is missing"),
    (n3.output_size, lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1, "round down"),
    (n3.output_size, lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "rounding"),
    (n3.output_size, lambda n, k, s, p: n // s, "expected"),
    (n3.output_size, lambda n, k, s, p: (size(n, k, s, p), size(n, k, s, p)), "one number"),
    (n3.output_size, lambda n, k, s, p: float("nan"), "finite"),
    (n3.output_size, lambda n, k, s, p: 1 / 0, "ZeroDivisionError"),
    (n3.receptive_field, added, "multiply"),
    (n3.receptive_field, last, "product of all"),
    (n3.receptive_field, lambda layers: field(layers[::-1]), "own order"),
    (n3.receptive_field, lambda layers: 3 if len(layers) == 1 else field(layers) + 1, "expected"),
    (n3.receptive_field, lambda layers: field(layers) if layers else 0, "expected 1"),
    (n3.receptive_field, lambda layers: (field(layers), 1), "one number"),
    (n3.receptive_field, lambda layers: None, "returns nothing"),
    (n3.count_parameters, lambda i, o, k, n, m: (m * (n + 1), o * (i * k**2 + 1)), "swapped"),
    (n3.count_parameters, lambda i, o, k, n, m: (i * k**2 + 1, m * (n + 1)), "one filter"),
    (n3.count_parameters, lambda i, o, k, n, m: (i * (o * k**2 + 1), m * (n + 1)), "output channel"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * (i * k**2 + 1), n * (m + 1)), "each output"),
    (n3.count_parameters, lambda i, o, k, n, m: (o * (i * k**2 + 1), m * n + 1), "dense"),
    (n3.count_parameters, lambda i, o, k, n, m: o * (i * k**2 + 1) + m * (n + 1), "two things"),
    (n3.count_parameters, lambda i, o, k, n, m: (3329, 1290), "convolution 64"),
    (n3.count_parameters, lambda i, o, k, n, m: ("a", "b"), "expected numbers"),
    (n3.grad_cam, lambda a, g: cam(a, g)[None], "without keepdim"),
    (n3.grad_cam, lambda a, g: (alpha(g) * a).sum(0).abs(), "against the class"),
    (n3.grad_cam, lambda a, g: cam(g, a), "other way round"),
    (n3.grad_cam, lambda a, g: (g.mean(0) * a).sum(0).relu(), "not over the channels"),
    (n3.grad_cam, lambda a, g: (alpha(g).abs() * a).sum(0).relu(), "not yet"),
    (n3.grad_cam, lambda a, g: (g.mean(dim=(1, 2)) * a).sum(0).relu(), "two axes more"),
    (n3.grad_cam, lambda a, g: cam(a, g).T, "shape"),
    (n3.grad_cam, lambda a, g: np.nan * cam(a, g), "not yet"),
    (n3.grad_cam, lambda a, g: 1 - cam(a, g), "not yet"),
    (n3.grad_cam, lambda a, g: cam(a, g) / 2, "not yet"),
    (n3.split, by_image, "on both sides: draw photographs"),
    (n3.split, lambda photo, share: parted(photo, share)[::-1], "swapped"),
    (n3.split, lambda photo, share: (parted(photo, share)[0], []), "validation set is empty"),
    (n3.split, lambda photo, share: ([], parted(photo, share)[1]), "training set is empty"),
    (n3.split, lambda photo, share: parted(photo, 0.6), "to validate on"),
    (n3.split, lambda photo, share: [np.unique(photo[side]) for side in parted(photo, share)], "neither side"),
    (n3.split, lambda photo, share: (np.arange(len(photo)), parted(photo, share)[1]), "twice"),
    (n3.split, lambda photo, share: [side + 1 for side in parted(photo, share)], "indices go from"),
    (n3.split, lambda photo, share: [photo[side] + 0.5 for side in parted(photo, share)], "indices go from"),
    (n3.split, lambda photo, share: parted(photo, share)[0], "two things"),
    (n3.split, lambda photo, share: (parted(photo, share)[0][::2], parted(photo, share)[1]), "neither side"),
    (n3.split, lambda photo, share: None, "returns nothing"),
]

RIGHT = [
    *((n1.parameters, answer) for answer in (235146, 235146.0, "235,146", "235_146", " 235146 ", [235146], (235146,))),
    *((n1.parameters, answer) for answer in (np.int64(235146), np.array([[235146]]), torch.tensor(235146))),
    (n1.parameters, [200960, 32896, 1290]),
    (n1.softmax, rows),
    (n1.softmax, changed),
    (n1.softmax, lambda z: torch.from_numpy(z).softmax(dim=1).numpy()),
    (n1.softmax, lambda z: torch.from_numpy(z).softmax(dim=1)),
    (n1.softmax, lambda z: rows(z).tolist()),
    (n1.softmax, lambda z: np.stack([rows(row[None])[0] for row in z])),
    (n1.softmax, lambda z: rows(z.T, axis=0).T),
    (n1.softmax, lambda z: np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))),
    (n1.softmax, lambda z: rows(z.astype(np.float32))),
    *((n1.untrained_loss, answer) for answer in (np.log(10), 2.3, "2.303", [2.303], np.array([2.3026]))),
    *((n1.untrained_loss, answer) for answer in (torch.tensor(2.3026), np.float32(2.3026), -np.log(0.1))),
    (n1.tanh_backward, lambda d, a: d * (1 - a) * (1 + a)),
    (n1.tanh_backward, lambda d, a: d - d * a * a),
    (n1.tanh_backward, lambda d, a: d / np.cosh(np.arctanh(a)) ** 2),
    (n1.tanh_backward, lambda d, a: (d * (1 - np.square(a))).tolist()),
    (n1.momentum_step, moved),
    (n1.momentum_step, lambda w, v, g, lr=0.1, momentum=0.9: [w + momentum * v - lr * g, momentum * v - lr * g]),
    (n1.momentum_step, lambda w, v, g, lr, mu: np.stack([w + mu * v - lr * g, mu * v - lr * g])),
    (n1.momentum_step, lambda w, v, g, lr, mu: (list(w + mu * v - lr * g), list(mu * v - lr * g))),
    (n1.momentum_step, lambda w, v, g, lr, mu: map(torch.tensor, (w + mu * v - lr * g, mu * v - lr * g))),
    (n1.diagnosis, FAULTS),
    (n1.diagnosis, {letter.lower(): fault for letter, fault in reversed(FAULTS.items())}),
    *((n2.accumulated_gradient, answer) for answer in (11, 11.0, "11", [11], np.array([11.0]), torch.tensor(11.0))),
    (n2.accumulated_gradient, torch.tensor([11.0], requires_grad=True)),
    (n2.training_step, step()),
    (n2.training_step, step("none", "forward", "back", "step")),
    (n2.training_step, step("forward", "zero", "back", "step")),
    (n2.training_step, step("zero", "forward", "back", "step", "zero")),
    (n2.training_step, step(mode=True)),
    *((n2.training_step, step(give=give)) for give in ("numpy", "detached", "one")),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * wd * w, g, s, lr)),
    (n2.adamw, lambda w, g, s, lr, weight_decay=0.01: adam(w * (1 - lr * weight_decay), g, s, lr)),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w.mul_(1 - lr * wd), g, s, lr)),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w, g, s, lr) - lr * wd * w),
    (n2.adamw, lambda w, g, s, lr, wd: adam(w - lr * wd * w, g, s, lr).numpy()),
    (n2.dropout, lambda x, keep, p, training: x * keep / (1 - p) if training else x),
    (n2.dropout, lambda x, keep, p, training: torch.where(keep.bool(), x / (1 - p), 0.0) if training else x),
    (n2.dropout, lambda x, keep, p, training: (x * keep / (1 - p) if training else x).tolist()),
    (n2.dropout, lambda x, keep, p, training: x.numpy() * (keep.numpy() / (1 - p) if training else 1)),
    (n2.prepare, ink),
    (n2.prepare, lambda image: torch.tensor(255 - image).reshape(1, 1, 28, 28) / 127.5 - 1),
    (n2.prepare, lambda image: (127.5 - torch.tensor(image, dtype=torch.float32)[None, None]) / 127.5),
    (n2.prepare, lambda image: (128 - torch.tensor(image, dtype=torch.float32)[None, None]) / 128),
    (n3.output_size, size),
    (n3.output_size, lambda n, k, s, p: float(size(n, k, s, p))),
    (n3.output_size, lambda n, k, s, p: np.array([size(n, k, s, p)])),
    (n3.output_size, lambda n, k, s, p: int((n + 2 * p - k) / s + 1)),
    (n3.output_size, lambda n, k, s, p: len(range(0, n + 2 * p - k + 1, s))),
    (n3.receptive_field, field),
    (n3.receptive_field, lambda layers: [field(layers)]),
    (n3.receptive_field, lambda layers: torch.tensor(field(layers))),
    (n3.count_parameters, lambda i, o, k, n, m: [o * (i * k * k + 1), (n + 1) * m]),
    (n3.count_parameters, lambda i, o, k, n, m: np.array([o * (i * k * k + 1), (n + 1) * m])),
    (
        n3.count_parameters,
        lambda i, o, k, n, m: tuple(
            sum(p.numel() for p in layer.parameters()) for layer in (torch.nn.Conv2d(i, o, k), torch.nn.Linear(n, m))
        ),
    ),
    (n3.grad_cam, cam),
    (n3.grad_cam, lambda a, g: cam(a.requires_grad_(), g)),
    (n3.grad_cam, lambda a, g: cam(a, g).tolist()),
    (n3.grad_cam, lambda a, g: cam(a, g) / cam(a, g).max()),
    (n3.grad_cam, lambda a, g: np.maximum(np.einsum("c,chw->hw", g.mean((1, 2)).numpy(), a.numpy()), 0)),
    (n3.grad_cam, lambda a, g: F.relu(torch.einsum("c,chw->hw", g.mean(dim=(1, 2)), a))),
    (n3.split, parted),
    (n3.split, lambda photo, share: [side.tolist() for side in parted(photo, share)]),
    (n3.split, lambda photo, share: [np.isin(np.arange(len(photo)), side) for side in parted(photo, share)]),
    (n3.split, lambda photo, share: [torch.from_numpy(side) for side in parted(photo, share)]),
]


def test_no_wrong_answer_is_accepted_and_each_is_told_what_is_wrong():
    verdicts = [(check.__name__, i, hint, check(answer)) for i, (check, answer, hint) in enumerate(WRONG)]
    missed = [row for row in verdicts if row[3].right or row[2] not in row[3].text]
    assert not missed, "\n".join(map(str, missed))
    assert len(WRONG) >= 150


def test_no_right_answer_is_refused_in_whatever_form_it_comes():
    verdicts = [(check.__name__, i, check(answer)) for i, (check, answer) in enumerate(RIGHT)]
    refused = [row for row in verdicts if not row[2].right]
    assert not refused, "\n".join(map(str, refused))
    assert len(RIGHT) >= 70


@pytest.mark.parametrize("module", [n1, n2, n3], ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_courses_own_answers_pass(module):
    checks = {name: check for name, check in vars(module).items() if getattr(check, "reference", None) is not None}
    assert len(checks) >= 4
    assert not [verdict for name, check in checks.items() if not (verdict := check(check.reference)).right]


def test_a_mistake_in_the_learners_code_is_told_with_its_line():
    names = {"np": np}
    exec(compile("def mine(z):\n    e = np.exp(z - z.max(axis=1))\n    return e", "<cell>", "exec"), names)
    assert "[mine, line 2" in n1.softmax(names["mine"]).text
