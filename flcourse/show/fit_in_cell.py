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
    **options: Unpack[FitOptions],
) -> list[dict]:
    """`loop.fit`, for a cell that is followed by others; arguments, history and errors are its.

    Raises `Stopped` where the training was interrupted: what it had so far is no result to show or to go on with.
    `last.pt` is kept, and with `resume=True` the same call goes on from there.
    """
    history = fit(model, task, train_set, val_set, config, out, device=device, **options)
    state = read_training(out / "last.pt")
    if state["batch"]:  # a training that has ended has ended with an epoch
        far = f"{len(history)} of {config.epochs} epochs"
        if config.minutes:
            far = f"{state['spent'] / 60:.1f} of {config.minutes:g} minutes"
        raise Stopped(
            f"stopped after {far}; run this cell again to start anew, or with resume=True in the call to go on"
        )
    return history
