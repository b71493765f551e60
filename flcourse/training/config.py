"""How to train: the settings, and what follows from them alone: batches, learning rate, optimizer, moving average."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from flcourse.errors import CourseError


@dataclass(frozen=True)
class Config:
    """How to train, whatever the network and the data. Stored in every checkpoint; `resume` demands the same."""

    epochs: int = 30
    batch_size: int = 32  # of all processes together
    optimizer: str = "adam"  # or "adamw", or "sgd" with Nesterov momentum 0.9
    lr: float = 7.5e-4  # the highest, where the schedule changes it
    weight_decay: float = 0.0
    schedule: str = "constant"  # or "one_cycle": up for a tenth of the training, then down to nothing by a cosine
    ema: float = 0.0  # decay of the moving average of the weights that is evaluated and kept; 0: none
    seed: int = 0
    minutes: float | None = None  # instead of `epochs`: train for so long, evaluations and all; see `loop.fit`

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise CourseError(f"{name}={getattr(self, name)}, expected at least 1")
        for name, known in (("optimizer", ("adam", "adamw", "sgd")), ("schedule", ("constant", "one_cycle"))):
            if getattr(self, name) not in known:
                raise CourseError(f"{name}={getattr(self, name)!r}, expected one of {', '.join(known)}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise CourseError(f"minutes={self.minutes}, expected more than 0")

    def rate(self, progress: float) -> float:
        """The learning rate when a part of the training, 0 to 1, is done."""
        return self.lr * (one_cycle(progress) if self.schedule == "one_cycle" else 1)


RISE = 0.1  # the part of the training in which one-cycle's rate rises
FIRST, LAST = 1 / 25, 1 / 250_000  # its first and last rate, in parts of the highest; as PyTorch's OneCycleLR has them


def one_cycle(progress: float) -> float:
    """One-cycle's rate, in parts of the highest: up and down by half a cosine each.

    L. Smith and N. Topin, "Super-Convergence" (2018). PyTorch's `OneCycleLR` wants the number of steps beforehand,
    which a training by the clock does not know.
    """
    if progress < RISE:
        start, end, part = FIRST, 1.0, progress / RISE
    else:
        start, end, part = 1.0, LAST, (progress - RISE) / (1 - RISE)
    return end + (start - end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2


def epoch_batches(examples: int, config: Config, epoch: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """This process's batches of indices for an epoch: a permutation drawn from (seed, epoch), shared out evenly.

    Examples that do not fill a last batch are left out of this epoch (batch norm wants full batches).
    """
    order = np.random.default_rng((config.seed, epoch)).permutation(examples).tolist()
    size = min(config.batch_size, examples)
    return [order[i : i + size][rank::world] for i in range(0, examples - size + 1, size)]


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """The optimizer that the settings name, for all of a model's parameters."""
    kinds = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    }
    # Fused: one pass over all weights instead of one operation after the other, a tenth of a step here.
    return kinds[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


# What each optimizer remembers of every parameter.
OPTIMIZER_STATE = {
    "adam": {"step", "exp_avg", "exp_avg_sq"},
    "adamw": {"step", "exp_avg", "exp_avg_sq"},
    "sgd": {"momentum_buffer"},
}


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The function that torch's `AveragedModel` averages with."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():  # batch norm's counters
            return current
        count = torch.as_tensor(count)
        warm = torch.clamp((1 + count) / (10 + count), max=decay)  # so that the first epochs are not all start value
        return torch.lerp(current, averaged, warm.to(averaged))

    return average
