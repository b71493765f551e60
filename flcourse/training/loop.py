"""One training loop for every task of the course: progress, history, best and last checkpoint, exact resume, torchrun.

What a training computes depends on its `Config`, its data and the number of threads and processes, not on when it was
interrupted: batches are drawn from (seed, epoch), augmentation from (seed, epoch, index), dropout from (seed, epoch,
batch, process), and a checkpoint holds the rest.
"""

import contextlib
import copy
import itertools
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from flcourse.data.epoch_dataset import by_epoch
from flcourse.errors import CourseError
from flcourse.training.checkpoints import resumed_checkpoint, write_checkpoint, write_history, write_weights
from flcourse.training.devices import Device, memory_format, to_device
from flcourse.training.losses import Task

CHECKPOINT_SECONDS = 300  # what an interrupted training loses at most, also in the middle of a long epoch
TIMED_BATCHES = 16  # from which `epochs_in` tells the speed: a few seconds


@dataclass(frozen=True)
class Config:
    """How to train, whatever the network and the data. Stored in every checkpoint; `resume` demands the same."""

    epochs: int = 30
    batch_size: int = 32  # of all processes together
    optimizer: str = "adam"  # or "adamw", or "sgd" with Nesterov momentum 0.9
    lr: float = 7.5e-4  # the highest, where the schedule changes it
    weight_decay: float = 0.0
    schedule: str = "constant"  # or "one_cycle": up for a tenth of the steps, then down to nothing by a cosine
    ema: float = 0.0  # decay of the moving average of the weights that is evaluated and kept; 0: none
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise CourseError(f"{name}={getattr(self, name)}, expected at least 1")
        for name, known in (("optimizer", ("adam", "adamw", "sgd")), ("schedule", ("constant", "one_cycle"))):
            if getattr(self, name) not in known:
                raise CourseError(f"{name}={getattr(self, name)!r}, expected one of {', '.join(known)}")


def epoch_batches(examples: int, config: Config, epoch: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """This process's batches of indices for an epoch: a permutation drawn from (seed, epoch), shared out evenly.

    Examples that do not fill a last batch are left out of this epoch (batch norm wants full batches).
    """
    order = np.random.default_rng((config.seed, epoch)).permutation(examples).tolist()
    size = min(config.batch_size, examples)
    return [order[i : i + size][rank::world] for i in range(0, examples - size + 1, size)]


def fit(
    model: nn.Module,
    task: Task,
    train_set: Any,
    val_set: Any,
    config: Config,
    out: Path | None = None,
    *,
    describe: dict | None = None,
    resume: bool = False,
    device: Device | None = None,
    workers: int = 0,
    stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[float], None] = lambda loss: None,
    on_epoch: Callable[[list[dict]], None] = lambda history: None,
    progress: bool = True,
) -> list[dict]:
    """Train `model` in place and return its history, one row of figures an epoch.

    `train_set` and `val_set` are map-style datasets of (input, target) pairs; an `EpochDataset` is asked for
    (epoch, index). Where `out` is given it receives `last.pt` (everything `resume=True` needs),
    `best.safetensors` (the weights best on `val_set`, with `describe` as metadata), `history.csv` and `history.json`.
    Under torchrun one process writes, and the training figures are those of its share of the batches.
    The first Ctrl-C, or `stop()` turning true, ends after the batch at hand and keeps the checkpoint.
    `on_batch` is told every batch's loss, `on_epoch` the history after every epoch.
    At the end `model` holds the last weights, those of the moving average where there is one.

    Raises `CourseError` where `resume` finds no checkpoint or one of another configuration, and where the loss is no
    longer a number.
    """
    device = device or Device(torch.device("cpu"))
    run = _Run(model, task, len(train_set), config, out, describe or {}, device)
    if resume:
        run.load()
    # One loader for the whole training: where workers are spawned, each is sent the data once, not once an epoch.
    loader = DataLoader(
        by_epoch(train_set),
        batch_sampler=run.batches_to_come(),
        num_workers=workers,
        pin_memory=device.device.type == "cuda",
    )
    batches = iter(loader)
    with _graceful_interrupt(device) as interrupted:
        while run.epoch < config.epochs:
            if not run.train_epoch(batches, lambda: stop() or interrupted.is_set(), on_batch, progress):
                break
            run.finish_epoch(val_set, progress)
            if device.rank == 0:
                on_epoch(run.history)
    if run.ema:
        model.load_state_dict(run.ema.module.state_dict())
    return run.history


class _Run:
    """A training under way: everything that `last.pt` holds, and how to go on from it."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        examples: int,
        config: Config,
        out: Path | None,
        describe: dict,
        device: Device,
    ) -> None:
        self.task, self.config, self.describe, self.device = task, config, describe, device
        self.examples = examples
        self.out = out if device.rank == 0 else None  # one process writes
        self.checkpoint = out / "last.pt" if out else None
        self.model = model.to(device.device, memory_format=memory_format(device.device))
        self.parallel = self.model
        if device.world > 1:
            ids = [device.device.index] if device.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, device_ids=ids)
        self.ema = AveragedModel(self.model, avg_fn=_ema(config.ema), use_buffers=True) if config.ema else None
        self.optimizer = _optimizer(self.model, config)
        self.steps = len(epoch_batches(examples, config, 0))
        self.scheduler = _scheduler(self.optimizer, config, self.steps)
        self.epoch = self.batch = 0  # the next to train
        self.sums: dict[str, float] = defaultdict(float)  # of this epoch so far; "n" counts examples, "s" seconds
        self.history: list[dict] = []

    def batches_to_come(self) -> Iterator[list[tuple[int, int]]]:
        """This process's batches of (epoch, index) from here on, for ever."""
        start = self.batch
        for epoch in itertools.count(self.epoch):
            batches = epoch_batches(self.examples, self.config, epoch, self.device.rank, self.device.world)
            yield from ([(epoch, index) for index in batch] for batch in batches[start:])
            start = 0

    def train_epoch(
        self,
        batches: Iterator[tuple[Tensor, Tensor]],
        stop: Callable[[], bool],
        on_batch: Callable[[float], None],
        progress: bool,
    ) -> bool:
        """Train what is left of the epoch; False where `stop` ended it before its end."""
        bar = tqdm(
            total=self.steps,
            initial=self.batch,
            desc=f"epoch {self.epoch + 1}/{self.config.epochs}",
            unit="batch",
            leave=False,
            disable=not progress or self.device.rank > 0,
        )
        self.model.train()
        saved = last = time.monotonic()
        with bar:
            for inputs, targets in itertools.islice(batches, self.steps - self.batch):
                loss = self._step(inputs, targets)
                self.batch += 1
                now = time.monotonic()
                self.sums["s"] += now - last
                last = now
                bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
                bar.update()
                on_batch(loss)
                if stop():
                    self.save()
                    return False
                if now - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = now
        return True

    def _step(self, inputs: Tensor, targets: Tensor) -> float:
        seed = np.random.SeedSequence((self.config.seed, self.epoch, self.batch, self.device.rank))
        torch.manual_seed(int(seed.generate_state(1)[0]))  # dropout, if any
        inputs, targets = (to_device(t, self.device.device) for t in (inputs, targets))
        with torch.autocast(self.device.device.type, torch.bfloat16, enabled=self.device.bfloat16):
            output = self.parallel(inputs)
            loss = self.task.loss(output, targets)
        value = loss.item()
        if not math.isfinite(value):
            raise CourseError(
                f"epoch {self.epoch + 1}, batch {self.batch + 1}: the loss is {value}; lower the learning rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        _add(self.sums, value, self.task.measures(output, targets), len(inputs))
        return value

    def finish_epoch(self, val_set: Any, progress: bool) -> None:
        """Evaluate, keep the weights if they are the best yet, and write history and checkpoint."""
        if self.device.rank == 0:
            judged = self.ema.module if self.ema else self.model
            figures = evaluate(judged, self.task, val_set, self.config.batch_size, self.device.device)
            n, seconds = self.sums.pop("n"), self.sums.pop("s")
            row = {"epoch": self.epoch + 1, "lr": self.optimizer.param_groups[0]["lr"], "seconds": round(seconds, 2)}
            row |= {f"train_{name}": value / n for name, value in self.sums.items()}
            row |= {f"val_{name}": value for name, value in figures.items()}
            self.history.append(row)
            key = f"val_{self.task.best}"
            best = max if self.task.higher_is_better else min
            if self.out and row is best(self.history, key=lambda r: r[key]):
                metadata = self.describe | {"epoch": row["epoch"], "figures": row}
                write_weights(self.out / "best.safetensors", judged, metadata)
            if progress:
                text = ", ".join(f"{name} {row[name]:.4g}" for name in row if name.startswith(("train_", "val_")))
                tqdm.write(f"epoch {row['epoch']}/{self.config.epochs}: {text} ({seconds:.0f} s)")
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, defaultdict(float)
        self.save()
        if self.device.world > 1:
            torch.distributed.barrier()

    def save(self) -> None:
        """Write `last.pt` and the history: atomic, so a kill at any moment leaves a whole checkpoint."""
        if not self.out:
            return
        state = {
            "config": asdict(self.config),
            "describe": self.describe,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": dict(self.sums),
            "history": self.history,
            **self._circumstances(),
        }
        write_checkpoint(self.checkpoint, state)
        write_history(self.out, self.history)

    def _circumstances(self) -> dict:
        """What the order and precision of sums depends on: the same on resuming gives the same weights to the bit."""
        return {"threads": torch.get_num_threads(), "world": self.device.world, "bfloat16": self.device.bfloat16}

    def load(self) -> None:
        """Go on from `last.pt`."""
        state = resumed_checkpoint(self.checkpoint, {"config": asdict(self.config), "describe": self.describe})
        for name, value in self._circumstances().items():
            if state[name] != value:
                print(f"note: {name} was {state[name]}, now it is {value}: results differ in their last digits")
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.batch, self.history = state["epoch"], state["batch"], state["history"]
        self.sums = defaultdict(float, state["sums"])


def epochs_in(
    seconds: float, model: nn.Module, task: Task, train_set: Any, val_set: Any, config: Config, device: Device
) -> int:
    """How many epochs of `fit` take about `seconds` on this machine, at least 1; timed on a copy of `model`.

    The estimate is of a machine that has nothing else to do, from a few batches; it is no promise.
    """
    run = _Run(copy.deepcopy(model), task, len(train_set), config, None, {}, device)
    run.model.train()
    loader = DataLoader(train_set, batch_sampler=epoch_batches(len(train_set), config, 0)[:TIMED_BATCHES])
    times = []
    started = time.perf_counter()
    for inputs, targets in loader:
        run._step(inputs, targets)
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    few = Subset(val_set, range(min(len(val_set), 4 * config.batch_size)))
    evaluate(run.model, task, few, config.batch_size, device.device)
    evaluation = (time.perf_counter() - started) * len(val_set) / len(few)
    epoch = float(np.median(times[1:] or times)) * run.steps + evaluation  # the first batch also warms up
    return max(1, int(seconds / epoch))


@torch.inference_mode()
def evaluate(model: nn.Module, task: Task, dataset: Any, batch_size: int, device: torch.device) -> dict[str, float]:
    """The mean loss and measures of `model` over a dataset, in full precision: `{"loss": ..., measure: ...}`."""
    model.eval()
    sums: dict[str, float] = defaultdict(float)
    for inputs, targets in DataLoader(dataset, batch_size=batch_size):
        inputs, targets = (to_device(t, device) for t in (inputs, targets))
        output = model(inputs)
        _add(sums, task.loss(output, targets).item(), task.measures(output, targets), len(inputs))
    n = sums.pop("n")
    return {name: value / n for name, value in sums.items()}


def _add(sums: dict[str, float], loss: float, measures: dict[str, Tensor], n: int) -> None:
    sums["n"] += n
    sums["loss"] += loss * n
    for name, values in measures.items():
        sums[name] += values.detach().sum().item()


def _optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    kinds = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    }
    # Fused: one pass over all weights instead of one operation after the other, a tenth of a step here.
    return kinds[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _scheduler(optimizer: torch.optim.Optimizer, config: Config, steps: int) -> LRScheduler:
    if config.schedule == "constant":
        return ConstantLR(optimizer, factor=1.0)
    return OneCycleLR(optimizer, config.lr, total_steps=steps * config.epochs + 1, pct_start=0.1, cycle_momentum=False)


def _ema(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def average(averaged: Tensor, current: Tensor, count: Tensor) -> Tensor:
        if not averaged.is_floating_point():  # batch norm's counters
            return current
        warm = torch.clamp((1 + count) / (10 + count), max=decay)  # so that the first epochs are not all start value
        return torch.lerp(current, averaged, warm.to(averaged))

    return average


@contextlib.contextmanager
def _graceful_interrupt(device: Device) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    interrupted = threading.Event()
    # Several processes would not stop at the same batch and wait for each other for ever: there Ctrl-C just ends.
    if threading.current_thread() is not threading.main_thread() or device.world > 1:
        yield interrupted
        return

    def handle(number: int, frame: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
