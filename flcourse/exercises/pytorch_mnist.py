"""Checks of notebook 02's exercises."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from flcourse.exercises.verdict import Wrong, ask, exercise, same


@exercise
def accumulated_gradient(answer: float) -> str:
    """Exercise 2.1: w.grad after two backward passes, of w**2 at w = 3 and of 5 w."""
    answer = float(answer)
    if answer == 6:
        raise Wrong("6 is the first gradient; the second backward adds its own to it")
    if answer == 5:
        raise Wrong("5 is the second gradient alone: backward adds to .grad, it does not overwrite it")
    if answer == 9 + 15:
        raise Wrong("24 adds the values; .grad holds derivatives: of w**2 and of 5 w")
    if answer != 11:
        raise Wrong(f"{answer:g} is not it: what is the derivative of w**2 at 3, of 5 w, and what happens to both?")
    return "right: 6 + 5, because backward adds to .grad"


@exercise
def training_step(answer) -> str:
    """Exercise 2.2: one step of training that returns the loss."""
    torch.manual_seed(0)
    start = nn.Linear(4, 3)
    inputs, labels = torch.randn(8, 4), torch.randint(3, (8,))

    def after(step, stale: float = 0.0):
        model = copy.deepcopy(start)
        for p in model.parameters():
            p.grad = torch.full_like(p, stale)
        value = ask(step, model, torch.optim.SGD(model.parameters(), lr=0.5), inputs, labels)
        return torch.cat([p.detach().flatten() for p in model.parameters()]), value

    def right(model, optimizer, inputs, labels, twice=False, reduction="mean"):
        optimizer.zero_grad()
        logits = model(inputs)
        loss = F.cross_entropy(logits.softmax(dim=1) if twice else logits, labels, reduction=reduction)
        loss.backward()
        optimizer.step()
        return loss.item()

    weights, value = after(answer)
    expected, loss = after(right)
    if same(weights, torch.cat([p.detach().flatten() for p in start.parameters()])):
        raise Wrong("the weights have not moved: both loss.backward() and optimizer.step() are needed, in this order")
    if same(weights, after(lambda *a: right(*a, twice=True))[0]):
        raise Wrong("softmax comes twice: cross_entropy wants the logits and applies it itself")
    if same(weights, after(lambda *a: right(*a, reduction="sum"))[0]):
        raise Wrong("this is the gradient of the sum; take the batch's mean, cross_entropy's default")
    if not same(weights, expected):
        raise Wrong("the weights are not where one step of the optimiser on the batch's cross-entropy puts them")
    if not same(after(answer, stale=1.0)[0], expected):
        raise Wrong("old gradients are still in .grad and spoil the step: begin with optimizer.zero_grad()")
    if isinstance(value, torch.Tensor) and value.requires_grad:
        raise Wrong("the step is right, but you return a tensor that keeps the whole graph alive: return loss.item()")
    if not same(float(value), loss):
        raise Wrong(f"the step is right, but the loss is {float(value):.4f}, expected {loss:.4f} (before the step)")
    return "right"


@exercise
def adamw(answer) -> str:
    """Exercise 2.3: Adam with decoupled weight decay."""
    lr, decay = 0.1, 0.2
    start, gradients = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[0.3, 0.1, -2.0], [0.2, -0.4, 1.0]])

    def after(kind=torch.optim.Adam, shrink=1.0, **settings):
        w = nn.Parameter(start.clone())
        optimizer = kind([w], lr=lr, **settings)
        for g in gradients:
            w.data *= shrink
            w.grad = g.clone()
            optimizer.step()
        return w.detach()

    w, state = start.clone(), {}
    for g in gradients:
        w = ask(answer, w, g, state, lr, decay)
    if same(w, after()):
        raise Wrong("that is plain Adam: the weights do not decay")
    if same(w, after(weight_decay=decay)):
        raise Wrong("decay is added to the gradient, so Adam divides it by sqrt(s); shrink the weights instead")
    if same(w, after(shrink=1 - decay)):
        raise Wrong("the decay is not multiplied by the learning rate: w - lr * weight_decay * w")
    if same(w, after(shrink=1 + lr * decay)):
        raise Wrong("the weights grow: subtract the decay")
    if not same(w, after(torch.optim.AdamW, weight_decay=decay)):
        raise Wrong("not yet: first w - lr * weight_decay * w, then Adam's step from there, with the same g and state")
    return "right: equal to torch.optim.AdamW"


@exercise
def dropout(answer) -> str:
    """Exercise 2.4: inverted dropout with a given mask."""
    x, keep, p = torch.arange(1.0, 9.0), torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 1]), 0.25
    used = ask(answer, x, keep, p, False)
    if not same(used, x):
        raise Wrong("in use (training=False) dropout does nothing: return x as it is")
    trained = ask(answer, x, keep, p, True)
    if same(trained, x * keep):
        raise Wrong("what is left must be divided by 1 - p, or the expected sum shrinks")
    if same(trained, x * keep / p):
        raise Wrong("p is the probability of dropping; divide by that of keeping, 1 - p")
    if same(trained, x * keep * (1 - p)):
        raise Wrong("divide by 1 - p: what is left has to grow to make up for what is gone")
    if same(trained, x * (1 - keep) / (1 - p)) or same(trained, x * (1 - keep)):
        raise Wrong("keep is 1 where an activation stays")
    if not same(trained, x * keep / (1 - p)):
        raise Wrong("not yet: x where keep is 1 and 0 elsewhere, divided by 1 - p")
    return "right: the same as torch.nn.Dropout"
