"""A training as one cell of a notebook: when the learner interrupts it, the cells behind it do not run."""

from pathlib import Path
from typing import Any, Unpack

from torch import nn

from flcourse.errors import CourseError
from flcourse.training.checkpoints import read_training
from flcourse.training.config import Config
from flcourse.training.devices import Device
from flcourse.training.loop import FitOptions, fit
from flcourse.training.losses import Task


class Stopped(CourseError):
    """A training that the learner ended. Notebooks show its one line without a traceback, and stop *Run All* there."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


def fit_in_cell(
    model: nn.Module,
    task: Task,
    train_set: Any,
    val_set: Any,
    config: Config,
    out: Path,
    *,
    device: Device | None = None,
    progress: bool = True,
    **options: Unpack[FitOptions],
) -> list[dict]:
    """`loop.fit`, for a cell that is followed by others; arguments, history and errors are its.

    With `progress` its first line says what is trained on and for how long: it is what JupyterLab shows of a cell's
    hidden output, and so must not be a result that the learner is still to guess.

    Raises `Stopped` where the training was interrupted: what it had so far is no result to show or to go on with.
    `last.pt` is kept, and with `resume=True` the same call goes on from there.
    """
    if progress:
        length = f"{config.minutes:g} minutes" if config.minutes else f"{config.epochs} epochs"
        print(f"training on {len(train_set):,} examples for {length}")
    history = fit(model, task, train_set, val_set, config, out, device=device, progress=progress, **options)
    state = read_training(out / "last.pt")
    if state["batch"]:  # a training that has ended has ended with an epoch
        far = f"{len(history)} of {config.epochs} epochs"
        if config.minutes:
            far = f"{state['spent'] / 60:.1f} of {config.minutes:g} minutes"
        raise Stopped(
            f"stopped after {far}; run this cell again to start anew, or with resume=True in the call to go on"
        )
    return history
