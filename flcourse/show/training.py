"""A landmark training to watch in a notebook: the loss as it falls, and a button that stops it, checkpoint kept."""

import threading
import time
from pathlib import Path

import ipywidgets
import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import Face, split_faces
from flcourse.show.notes import KernelNote, show_with_note
from flcourse.show.plot import BLUE, ORANGE, Figure, log_axis, to_png
from flcourse.show.widgets import one_line
from flcourse.training.checkpoints import load_network, read_training, run_folder
from flcourse.training.config import epoch_batches
from flcourse.training.loop import evaluate
from flcourse.training.recipes import Recipe, describe_training, train_landmarks
from flcourse.training.session import Clock
from flcourse.training.xception import Xception

REDRAW_SECONDS = 2.0  # drawing takes a tenth of a second, which training then waits for


def live_figure(epoch: np.ndarray, losses: list[float], history: list[dict], epochs: int | None) -> Figure:
    """The loss of every batch so far, its running mean and every epoch's, and the error on the held-out faces.

    `epoch` says when each batch came, as a fraction of epochs from 1; `epochs` is how many there will be in all, None
    where the clock decides.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epoch, losses, "-" if len(losses) > 1 else ".", color=BLUE, alpha=0.3, linewidth=0.8)
    if len(losses) > 2:
        window = min(20, len(losses) - 1)  # a mean of all of them would be one point, which is no line
        mean = np.convolve(losses, np.ones(window) / window, "valid")
        first = (window - 1) // 2  # each mean stands in the middle of its batches
        left.plot(epoch[first : first + len(mean)], mean, color=BLUE, label=f"mean of {window} batches")
    if history:  # also of epochs trained earlier, whose batches are gone
        ends = [row["epoch"] + 0.5 for row in history]
        left.plot(
            ends, [row["train_loss"] for row in history], "o", color=ORANGE, markersize=4, label="mean of an epoch"
        )
    if history or len(losses) > 2:
        left.legend()
    left.set(title="Training loss", xlabel="epoch", ylabel="loss", xlim=(1, epochs and epochs + 1))
    log_axis(left)
    right.plot([row["epoch"] for row in history], [row["val_nme"] for row in history], "o-", color=ORANGE)
    end = (epochs or max(1, len(history))) + 0.5
    right.set(title="Held-out faces", xlabel="epoch", ylabel="NME (% of the eye distance)", xlim=(0.5, end))
    if history:
        right.set_ylim(0, 1.1 * max(row["val_nme"] for row in history))
        best = min(history, key=lambda row: row["val_nme"])
        right.set_title(f"Held-out faces: best {best['val_nme']:.2f} % (epoch {best['epoch']})")
    else:
        right.text(0.5, 0.5, "after the first epoch", transform=right.transAxes, ha="center", va="center", color="grey")
        right.set_yticks([])
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3)
    return figure


class LiveTraining:
    """Trains a landmark network in the background and shows how it goes; `result()` waits for the end.

    Arguments are `recipes.train_landmarks`'s. *Stop*, and interrupting `result()`, end the training after the batch at
    hand; its checkpoint stays in `out`, and another `LiveTraining` of the same faces and recipe goes on from there.
    One of other settings goes to a folder of its own beside it (`checkpoints.run_folder`); `note` then says so, and
    `out` is that folder. `resume` decides otherwise: True goes on in `out` or fails, False begins anew there. One that
    still runs in this kernel is stopped first: a cell that is run again would leave it behind, unseen and without a
    button, and two at a time are slower than one after the other.
    """

    _newest: "LiveTraining | None" = None

    def __init__(
        self, faces: list[Face], recipe: Recipe, out: Path, resume: bool | None = None, **options: object
    ) -> None:
        self.out, self.recipe, self.note = out, recipe, ""
        if LiveTraining._newest:
            LiveTraining._newest.stop()
            LiveTraining._newest._ended.wait()
        if resume is None:
            self.out, resume, other = run_folder(out, describe_training(faces, recipe))
            if self.out != out:
                done = "goes on" if resume else "begins"
                other = other.replace("recipe.", "")  # as in the notebook
                self.note = f"{out.name!r} was trained with {other}; this one {done} as {self.out.name!r}"
        options["resume"] = resume
        train_faces, self._held_out = split_faces(faces, recipe.val_fraction, recipe.config.seed)
        self._batches = len(epoch_batches(len(train_faces), recipe.config, 0))  # of an epoch
        self.losses: list[float] = []  # of this session's batches
        self.history: list[dict] = []
        self._before = 0.0  # epochs trained earlier
        self._spent: float = 0.0  # seconds trained earlier
        self._clock: Clock | None = None  # from the first batch on, where the training goes by the clock
        if resume:
            earlier = read_training(self.out / "last.pt")
            self.history = earlier["history"]
            self._before = earlier["epoch"] + earlier["batch"] / self._batches
            self._spent = earlier["spent"] or 0.0
        self._error: BaseException | None = None
        self._network: Xception | None = None  # as the training left it
        self._stop = threading.Event()
        self._ended = threading.Event()  # not the thread's join: until Python 3.12 an interrupted one calls it dead
        self._drawn = 0.0
        self.button = ipywidgets.Button(description="Stop", icon="stop", tooltip="stop and keep the checkpoint")
        self.button.on_click(lambda button: self.stop())
        self.status = ipywidgets.Label(self.note or "reading faces")
        self.progress = ipywidgets.FloatProgress(0, min=0, max=1, layout=ipywidgets.Layout(width="16em"))
        self.image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%", display="none"))
        self._note = KernelNote()
        self.widget = ipywidgets.VBox(
            [ipywidgets.HBox([self.button, self.progress, self.status]), self.image, self._note],
        )
        self._thread = threading.Thread(target=self._train, args=(faces, options), daemon=True)
        self._thread.start()
        LiveTraining._newest = self

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str] | None:
        return self.widget._repr_mimebundle_(**kwargs)

    def _ipython_display_(self) -> None:
        show_with_note(self.widget, self._note.note)

    def stop(self) -> None:
        """End the training after the batch at hand; nothing happens where it has ended."""
        if not self._ended.is_set():
            self._stop.set()
            self.button.disabled = True
            self.status.value = "stopping"

    def result(self) -> tuple[Xception, list[dict]]:
        """Wait for the end; the best network so far and the history. Raises what the training raised.

        Where it was stopped within its first epoch they are the network as it is, evaluated now, as epoch 0.
        """
        ended = False
        while not ended:
            try:
                ended = self._ended.wait(0.2)  # with a timeout, so that an interrupt comes through
            except KeyboardInterrupt:
                self.stop()
        if self._error:
            raise self._error
        if not self.history and self._network:
            return self._network, [self._first_look(self._network)]
        return load_network(self.out / "best.safetensors")[0], self.history

    def _first_look(self, network: Xception) -> dict:
        """A row of a history for a network that no epoch has ended with."""
        started = time.monotonic()
        held_out = FaceDataset(self._held_out, self.recipe.size)
        config = self.recipe.config
        figures = evaluate(network, self.recipe.task(), held_out, config.batch_size, torch.device("cpu"))
        row = {"epoch": 0, "seconds": round(time.monotonic() - started, 2)}
        return row | {f"val_{name}": value for name, value in figures.items()}

    @property
    def figure(self) -> Figure:
        """The curves so far, as an image that stays."""
        epoch = 1 + self._before + np.arange(len(self.losses)) / self._batches
        return live_figure(
            epoch, self.losses, self.history, None if self.recipe.config.minutes else self.recipe.config.epochs
        )

    def _train(self, faces: list[Face], options: dict) -> None:
        try:
            self._network, self.history = train_landmarks(
                faces,
                self.recipe,
                self.out,
                progress=False,
                stop=self._stop.is_set,
                on_batch=self._on_batch,
                on_epoch=self._on_epoch,
                **options,
            )
            self._draw()
            config = self.recipe.config
            done = not self._stop.is_set() if config.minutes else len(self.history) == config.epochs
            self.progress.value = 1 if done else self.progress.value
            epochs = f"{len(self.history)} epoch{'' if len(self.history) == 1 else 's'}"
            self.status.value = "done" if done else f"stopped after {epochs}; the checkpoint is kept"
        except Exception as error:  # it is the caller's, who meets it in `result`
            self._error = error
            self.status.value = one_line(error)
        finally:
            self.button.disabled = True
            self._ended.set()

    def _on_batch(self, loss: float) -> None:
        self.losses.append(loss)
        if self.recipe.config.minutes and not self._clock:
            self._clock = Clock(self.recipe.config.minutes, self._spent)
        if time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._draw()

    def _on_epoch(self, history: list[dict]) -> None:
        self.history = list(history)
        self._draw()

    def _draw(self) -> None:
        epoch, epochs = len(self.history) + 1, self.recipe.config.epochs
        self.image.value = to_png(self.figure, dpi=80)
        self.image.layout.display = None  # until now there was nothing to show, which browsers show as a broken image
        if self._clock:
            self.progress.value = self._clock.progress
            where = f"epoch {epoch}, minute {self._clock.spent / 60:.1f} of {self.recipe.config.minutes:g}"
        else:
            self.progress.value = len(self.history) / epochs
            where = f"epoch {min(epoch, epochs)} of {epochs}"
        if not self._ended.is_set() and self.losses and not self._stop.is_set():
            self.status.value = f"{where}, loss {self.losses[-1]:.4f}"
        self._drawn = time.monotonic()
