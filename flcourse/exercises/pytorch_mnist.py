"""Checks of notebook 02's exercises."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flcourse.exercises.verdict import Wrong, array, ask, exercise, number, same


def _training_step(model, optimizer, inputs, labels):
    """The course's answer to exercise 2.2."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def _adamw(w, g, state, lr, weight_decay=0.01):
    """The course's answer to exercise 2.3."""
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["s"] = 0.999 * state.get("s", 0) + 0.001 * g**2
    step = (state["m"] / (1 - 0.9**t)) / ((state["s"] / (1 - 0.999**t)).sqrt() + 1e-8)
    return w - lr * weight_decay * w - lr * step


def _dropout(x, keep, p, training):
    """The course's answer to exercise 2.4."""
    return x * keep / (1 - p) if training else x


def _prepare(image):
    """The course's answer to exercise 2.5."""
    return 1 - torch.from_numpy(image)[None, None].float() / 127.5


@exercise(reference=11.0)
def accumulated_gradient(answer) -> str:
    """Exercise 2.1: w.grad after two backward passes, of w**2 at w = 3 and of 5 w."""
    answer = number(answer)
    if answer == 6:
        raise Wrong("6 is the first gradient; the second backward adds its own to it")
    if answer == 5:
        raise Wrong("5 is the second gradient alone: backward adds to .grad, it does not overwrite it")
    if answer == 9 + 15:
        raise Wrong("24 adds the values; .grad holds derivatives: of w**2 and of 5 w")
    if answer == 9 + 5:
        raise Wrong("14 adds a value and a derivative; the derivative of w**2 at 3 is 2 w = 6")
    if answer == 3 + 5:
        raise Wrong("the derivative of w**2 is 2 w, at 3 it is 6")
    if answer == 6 + 15:
        raise Wrong("15 is the value of 5 w at 3; its derivative is 5 everywhere")
    if answer != 11:
        raise Wrong(f"{answer:g} is not it: what is the derivative of w**2 at 3, of 5 w, and what happens to both?")
    return "right: 6 + 5, because backward adds to .grad"


class Counted(torch.optim.SGD):
    """An optimiser that counts its steps: weights that moved without one were moved by hand."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        return super().step(closure)


@exercise(reference=_training_step)
def training_step(answer) -> str:
    """Exercise 2.2: one step of training that returns the loss."""
    torch.manual_seed(0)
    # Batch norm tells training from use, and its running means must not have been touched by eval().
    start = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    inputs, labels = torch.randn(8, 4), torch.randint(3, (8,))

    def weights_of(model) -> Tensor:
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    def after(step, stale: float = 0.0):
        model = copy.deepcopy(start)
        for p in model.parameters():
            p.grad = torch.full_like(p, stale)
        optimizer = Counted(model.parameters(), lr=0.5)
        value = ask(step, model, optimizer, inputs, labels)
        return weights_of(model), value, model, optimizer.steps

    def mistaken(softmax=False, reduction="mean", evaluation=False):
        def step(model, optimizer, inputs, labels):
            optimizer.zero_grad()
            model.train(not evaluation)
            logits = model(inputs)
            loss = F.cross_entropy(logits.softmax(dim=1) if softmax else logits, labels, reduction=reduction)
            loss.backward()
            optimizer.step()
            return loss.item()

        return after(step)[0]

    weights, value, model, steps = after(answer)
    expected, loss, *_ = after(_training_step)
    if same(weights, weights_of(start)):
        raise Wrong(
            "the weights have not moved: loss.backward() and then optimizer.step() are needed, and zero_grad() before "
            "both, not between them"
        )
    if not steps:
        raise Wrong("the weights moved, but not by optimizer.step(): the optimizer that is handed over should do it")
    if steps > 1:
        raise Wrong(f"optimizer.step() was called {steps} times; one batch, one step")
    if not model.training or same(weights, mistaken(evaluation=True)):
        raise Wrong("eval() is for use: batch norm and dropout would not train; leave the model in training mode")
    if same(weights, mistaken(softmax=True)):
        raise Wrong("softmax comes twice: cross_entropy wants the logits and applies it itself")
    if same(weights, mistaken(reduction="sum")):
        raise Wrong("this is the gradient of the sum; take the batch's mean, cross_entropy's default")
    if same(weights, 2 * weights_of(start) - expected):
        raise Wrong("uphill: the gradient of the loss, not of minus the loss")
    if not same(weights, expected):
        raise Wrong("the weights are not where one step of the optimiser on the batch's cross-entropy puts them")
    if not same(after(answer, stale=1.0)[0], expected):
        raise Wrong("old gradients are still in .grad and spoil the step: begin with optimizer.zero_grad()")
    if isinstance(value, Tensor) and value.requires_grad:
        raise Wrong("the step is right, but you return a tensor that keeps the whole graph alive: return loss.item()")
    if not same(number(value), loss):
        raise Wrong(f"the step is right, but the loss is {number(value):.4f}, expected {loss:.4f} (before the step)")
    return "right"


@exercise(reference=_adamw)
def adamw(answer) -> str:
    """Exercise 2.3: Adam with decoupled weight decay."""
    start, gradients = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[0.3, 0.1, -2.0], [0.2, -0.4, 1.0]])

    def after(kind=torch.optim.Adam, before=1.0, behind=1.0, anew=False, **settings):
        w = nn.Parameter(start.clone())
        optimizer = kind([w], lr=lr, **settings)
        for g in gradients:
            w.data *= before
            w.grad = g.clone()
            if anew:
                optimizer.state.clear()
            optimizer.step()
            w.data *= behind
        return w.detach()

    for lr, decay in ((0.1, 0.2), (0.02, 0.5)):
        w, state = start.clone(), {}
        for g in gradients:
            w = torch.as_tensor(array(ask(answer, w, g, state, lr, decay)), dtype=torch.float32)
        if same(w, after()):
            raise Wrong("that is plain Adam: the weights do not decay")
        if same(w, after(weight_decay=decay)):
            raise Wrong("decay is added to the gradient, so Adam divides it by sqrt(s); shrink the weights instead")
        if same(w, after(before=1 - decay)):
            raise Wrong("the decay is not multiplied by the learning rate: w - lr * weight_decay * w")
        if same(w, after(before=1 - lr)):
            raise Wrong("weight_decay is missing in the decay: w - lr * weight_decay * w")
        if same(w, after(before=1 + lr * decay)):
            raise Wrong("the weights grow: subtract the decay")
        if same(w, after(behind=1 - lr * decay)):
            raise Wrong("the order: first the weights shrink, then comes Adam's step")
        if same(w, after(torch.optim.AdamW, weight_decay=decay, anew=True)):
            raise Wrong("Adam forgets: hand `state` on, it holds the averages from step to step")
        if same(w, after(torch.optim.AdamW, weight_decay=0.01)):
            raise Wrong("right for 0.01 only: use the argument weight_decay, not a number")
        if not same(w, after(torch.optim.AdamW, weight_decay=decay)):
            raise Wrong(
                "not yet: first w - lr * weight_decay * w, then Adam's step from there, with the same g and state"
            )
    return "right: equal to torch.optim.AdamW"


@exercise(reference=_dropout)
def dropout(answer) -> str:
    """Exercise 2.4: inverted dropout with a given mask."""
    x = torch.arange(1.0, 9.0)
    used = array(ask(answer, x, torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 1]), 0.25, False))
    if same(used, 0.75 * x):
        raise Wrong("that is the dropout of 2012, which scales in use; here training divides, and use does nothing")
    if not same(used, x):
        raise Wrong("in use (training=False) dropout does nothing: return x as it is")
    masks = [1.0, 1, 0, 1, 0, 1, 0, 1], [1.0, 1, 1, 1, 0, 1, 1, 1]  # neither keeps just the part 1 - p
    for keep, p in zip(map(torch.tensor, masks), (0.25, 0.4), strict=True):
        trained = array(ask(answer, x, keep, p, True))
        if trained.shape == x.shape and not same(trained, array(ask(answer, x, keep, p, True))):
            raise Wrong("each call gives something else: `keep` is drawn already, draw nothing")
        if same(trained, x * keep):
            raise Wrong("what is left must be divided by 1 - p, or the expected sum shrinks")
        if same(trained, x * keep / p):
            raise Wrong("p is the probability of dropping; divide by that of keeping, 1 - p")
        if same(trained, x * keep * (1 - p)):
            raise Wrong("divide by 1 - p: what is left has to grow to make up for what is gone")
        if same(trained, x * (1 - keep) / (1 - p)) or same(trained, x * (1 - keep)):
            raise Wrong("keep is 1 where an activation stays")
        if same(trained, x * keep / keep.mean()) or same(trained, x * keep * x.sum() / (x * keep).sum()):
            raise Wrong("divided by what this mask happened to keep; the probability of keeping is 1 - p")
        if trained.shape != x.shape:
            raise Wrong(
                f"the shape is {trained.shape}, expected that of x, {tuple(x.shape)}: zeros stay in their places"
            )
        if not same(trained, x * keep / (1 - p)):
            raise Wrong("not yet: what becomes of the activations that go, and what of those that stay?")
    return "right: the same as torch.nn.Dropout"


@exercise(reference=_prepare)
def prepare(answer) -> str:
    """Exercise 2.5: dark ink on white paper, (28, 28) uint8 -> what the network was trained on, (1, 1, 28, 28)."""
    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    image[0, :2] = 0, 255
    right = array(_prepare(image))
    given = ask(answer, image)
    values = array(given)
    if values.size == right.size and values.shape != right.shape:
        raise Wrong(f"the shape is {values.shape}, expected (1, 1, 28, 28): a batch of one image with one channel")
    if values.shape != right.shape:
        raise Wrong(f"the shape is {values.shape}, expected (1, 1, 28, 28)")
    wraps = (256 - image.astype(int)) % 256
    for wrong, why in (
        (-right, "the scale is right, but the paper is 1 and the ink -1; in training ink was light, 1, on dark, -1"),
        ((1 + right) / 2, "ink is light now, but the values go from 0 to 1; in training they went from -1 to 1"),
        ((1 - right) / 2, "paper is 1 and ink 0: in training ink was 1 and the background -1"),
        (255 - image, "these are 0 to 255; in training they went from -1 to 1"),
        (image, "nothing has changed: turn dark and light, and bring 0 to 255 to -1 to 1"),
        (wraps, "uint8 wraps: -image of 1 is 255; and the values go from 0 to 255"),
        (wraps / 127.5 - 1, "uint8 wraps: -image of 0 is 0, not 255; subtract from 255, or make floats first"),
    ):
        if same(values.squeeze(), np.asarray(wrong, float).squeeze()):
            raise Wrong(why)
    flat = 255.0 - image
    if same(values.squeeze(), (flat - flat.mean()) / flat.std(), 0.01):
        raise Wrong("each image got a scale of its own; in training all had the same: / 127.5 - 1")
    if not same(values, right, 0.01):  # 128 instead of 127.5 harms nobody
        low, high = values.min(), values.max()
        raise Wrong(f"white paper should become -1 and black ink 1; values go from {low:.3g} to {high:.3g}")
    if not isinstance(given, Tensor):
        raise Wrong("right numbers, but no tensor: torch.from_numpy(image)")
    if given.dtype != torch.float32:
        raise Wrong(f"right numbers, but {given.dtype}; the network's weights are float32: .float()")
    return "right: the same as in training"
