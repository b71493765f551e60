"""One training loop for every task of the course: progress, history, best and last checkpoint, exact resume, torchrun.

What a training computes depends on its `Config`, its data and the number of processes and threads (fewer where the
machine is busy, see `threads`), not on when it was interrupted: batches are drawn from (seed, epoch), augmentation from
(seed, epoch, index), dropout from (seed, epoch, batch, process), and a checkpoint holds the rest.
"""

import contextlib
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from flcourse.data.epoch_dataset import by_epoch
from flcourse.errors import CourseError
from flcourse.training.checkpoints import resumed_checkpoint, write_checkpoint, write_history, write_weights
from flcourse.training.config import OPTIMIZER_STATE, Config, epoch_batches, make_optimizer, moving_average
from flcourse.training.devices import Device, memory_format, to_device
from flcourse.training.losses import Task
from flcourse.training.session import Clock, graceful_end, sole_writer
from flcourse.training.threads import Threads

CHECKPOINT_SECONDS = 300  # what an interrupted training loses at most, also in the middle of a long epoch


class FitOptions(TypedDict, total=False):
    """What `recipes.train_landmarks` passes on to `fit`."""

    resume: bool
    workers: int
    stop: Callable[[], bool]
    on_batch: Callable[[float], None]
    on_epoch: Callable[[list[dict]], None]


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
    The first Ctrl-C, SIGTERM or SIGHUP, or `stop()` turning true, ends it after the batch at hand, checkpoint kept.
    `on_batch` is told every batch's loss, `on_epoch` the history after every epoch.
    At the end `model` holds the last weights, those of the moving average where there is one.

    With `config.minutes` the clock takes the place of `config.epochs`: the schedule follows the time that has passed,
    and the training ends, in the middle of an epoch too, when just the last evaluation fits in. So a machine that
    becomes busy costs steps, not minutes, and one that becomes idle adds some. Such a training, too, can be stopped and
    resumed, with the time it had left; but what it computes depends on the machine's speed.

    Raises `CourseError` where `resume` finds no checkpoint or one of another configuration, where another training
    writes to `out`, and where a loss is no longer a number.
    """
    device = device or Device(torch.device("cpu"))
    run = _Run(model, task, len(train_set), config, out, describe or {}, device)
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(
            Threads(model, to_device(val_set[0][0], device.device), config.batch_size, device)
        )
        if run.out:
            stack.enter_context(sole_writer(run.out))
        if resume:
            run.load()
        else:
            run.save()  # from now on it can be resumed, whenever it is killed
        # Several processes would not stop at the same batch and wait for each other for ever: there a signal just ends.
        asked = stack.enter_context(graceful_end()) if device.world == 1 else None
        # One loader for the whole training: where workers are spawned, each is sent the data once, not once an epoch.
        loader = DataLoader(
            by_epoch(train_set),
            batch_sampler=run.batches_to_come(),
            num_workers=workers,
            pin_memory=device.device.type == "cuda",
        )
        batches = iter(loader)

        def over() -> bool:
            return stop() or bool(asked and asked.is_set())

        run.start_clock(val_set)
        while not run.is_over():
            if not run.train_epoch(batches, threads, over, on_batch, progress):
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
        if config.minutes and device.world > 1:
            raise CourseError(f"minutes={config.minutes} is for one process and its clock; give epochs under torchrun")
        if (batch := min(config.batch_size, examples)) < device.world:
            raise CourseError(
                f"a batch of {batch} (batch_size={config.batch_size}, {examples} examples) is too small for "
                f"{device.world} processes; give a larger batch, or start fewer"
            )
        form = memory_format(device.device)
        self.model = model.to(device.device, memory_format=form)  # type: ignore[call-overload]  # torch's stubs lack it
        self.parallel = self.model
        if device.world > 1:
            ids = [device.device.index] if device.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, device_ids=ids)
        average = moving_average(config.ema)
        self.ema = AveragedModel(self.model, avg_fn=average, use_buffers=True) if config.ema else None
        self.optimizer = make_optimizer(self.model, config)
        self.steps = len(epoch_batches(examples, config, 0))
        self.clock = Clock(config.minutes) if config.minutes else None
        self.cut = False  # the time was up within an epoch
        self.epoch = self.batch = 0  # the next to train
        self.sums: dict[str, float] = defaultdict(float)  # of this epoch so far; "n" counts examples, "s" seconds
        self.history: list[dict] = []

    def start_clock(self, val_set: Any) -> None:
        """Measure what an evaluation takes, where the clock ends the training and no evaluation has been timed yet."""
        if not self.clock or self.clock.evaluation:
            return
        for batches in (1, 2):  # the first only warms up
            few = Subset(val_set, range(min(len(val_set), batches * self.config.batch_size)))
            started = time.monotonic()
            evaluate(self.model, self.task, few, self.config.batch_size, self.device.device)
            self.clock.evaluation = (time.monotonic() - started) * len(val_set) / len(few)

    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        if self.clock:
            return self.cut or (self.epoch > 0 and not self.clock.is_worth_another())
        return self.epoch >= self.config.epochs

    def progress(self) -> float:
        """The part of the training that is done, 0 to 1: of its time, or of its steps."""
        if self.clock:
            return self.clock.progress
        return (self.epoch * self.steps + self.batch) / (self.config.epochs * self.steps)

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
        threads: Threads,
        stop: Callable[[], bool],
        on_batch: Callable[[float], None],
        progress: bool,
    ) -> bool:
        """Train what is left of the epoch, and of the time; False where `stop` ended it before."""
        bar = tqdm(
            total=self.steps,
            initial=self.batch,
            desc=self._title(),
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
                threads.adapt()
                if stop():
                    self.save()
                    return False
                if self.clock and self.clock.progress >= 1:
                    self.cut = True
                    bar.total = self.batch  # or a notebook leaves the bar behind in red, as if something had failed
                    break
                if now - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = now
        return True

    def _title(self) -> str:
        if self.clock:
            return f"epoch {self.epoch + 1}, minute {self.clock.spent / 60:.1f}/{self.config.minutes:g}"
        return f"epoch {self.epoch + 1}/{self.config.epochs}"

    def _step(self, inputs: Tensor, targets: Tensor) -> float:
        seed = np.random.SeedSequence((self.config.seed, self.epoch, self.batch, self.device.rank))
        torch.manual_seed(int(seed.generate_state(1)[0]))  # dropout, if any
        inputs, targets = (to_device(t, self.device.device) for t in (inputs, targets))
        with torch.autocast(self.device.device.type, torch.bfloat16, enabled=self.device.bfloat16):
            output = self.parallel(inputs)
            loss = self.task.loss(output, targets)
        value = loss.item()
        _demand_finite(f"epoch {self.epoch + 1}, batch {self.batch + 1}: the loss", value)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.progress())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        _add(self.sums, value, self.task.measures(output, targets), len(inputs))
        return value

    def finish_epoch(self, val_set: Any, progress: bool) -> None:
        """Evaluate, keep the weights if they are the best yet, and write history and checkpoint."""
        if self.device.rank == 0:
            judged = self.ema.module if self.ema else self.model
            rate, started = self.config.rate(self.progress()), time.monotonic()
            figures = evaluate(judged, self.task, val_set, self.config.batch_size, self.device.device)
            if self.clock:
                self.clock.evaluation = time.monotonic() - started
            for name, value in figures.items():
                _demand_finite(f"epoch {self.epoch + 1}: the held-out examples' {name}", value)
            n, seconds = self.sums.pop("n"), self.sums.pop("s")
            row = {"epoch": self.epoch + 1, "lr": rate, "seconds": round(seconds, 2)}
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
                tqdm.write(f"{self._title()}: {text} ({seconds:.0f} s)")
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, defaultdict(float)
        self.save()
        if self.device.world > 1:
            torch.distributed.barrier()

    def save(self) -> None:
        """Write `last.pt` and the history: atomic, so a kill at any moment leaves a whole checkpoint."""
        if not self.out or not self.checkpoint:
            return
        state = {
            "config": asdict(self.config),
            "describe": self.describe,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "spent": self.clock.spent if self.clock else None,
            "evaluation": self.clock.evaluation if self.clock else None,
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
        try:
            self.model.load_state_dict(state["model"])
            if self.ema:
                self.ema.load_state_dict(state["ema"])
            groups = self.optimizer.state_dict()["param_groups"]  # they follow from the settings, which are the same
            self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CourseError(f"{self.checkpoint}: its weights are not this network's; start anew") from error
        remembered = OPTIMIZER_STATE[self.config.optimizer] if state["epoch"] or state["batch"] else set()
        for parameter in self.model.parameters():
            values = self.optimizer.state.get(parameter, {})
            shapes = {value.shape for value in values.values() if isinstance(value, Tensor)}
            if values.keys() != remembered or not shapes <= {parameter.shape, torch.Size()}:
                raise CourseError(f"{self.checkpoint}: its optimizer is not this network's; start anew")
        if self.config.minutes:
            self.clock = Clock(self.config.minutes, state["spent"], state["evaluation"])
        self.epoch, self.batch, self.history = state["epoch"], state["batch"], state["history"]
        self.sums = defaultdict(float, state["sums"])


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


def _demand_finite(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise CourseError(f"{what} is {value}; lower the learning rate")


def _add(sums: dict[str, float], loss: float, measures: dict[str, Tensor], n: int) -> None:
    sums["n"] += n
    sums["loss"] += loss * n
    for name, values in measures.items():
        sums[name] += values.detach().sum().item()
