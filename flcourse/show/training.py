"""A landmark training to watch in a notebook: the loss as it falls, and a button that stops it, checkpoint kept."""

import threading
import time
from pathlib import Path

import ipywidgets
import numpy as np
from matplotlib.ticker import MaxNLocator

from flcourse.data.imglab import Face, split_faces
from flcourse.show.notes import KernelNote, show_with_note
from flcourse.show.plot import BLUE, ORANGE, Figure, to_png
from flcourse.show.widgets import one_line
from flcourse.training.checkpoints import load_network, read_training
from flcourse.training.config import epoch_batches
from flcourse.training.nets import Xception
from flcourse.training.recipes import Recipe, train_landmarks
from flcourse.training.session import Clock

REDRAW_SECONDS = 2.0  # drawing takes a tenth of a second, which training then waits for


def live_figure(epoch: np.ndarray, losses: list[float], history: list[dict], epochs: int | None) -> Figure:
    """The loss of every batch so far, with its running mean, and the error on the held-out faces after every epoch.

    `epoch` says when each batch came, as a fraction of epochs from 1; `epochs` is how many there will be in all, None
    where the clock decides.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epoch, losses, color=BLUE, alpha=0.3, linewidth=0.8)
    if len(losses) > 1:
        window = min(20, len(losses))
        mean = np.convolve(losses, np.ones(window) / window, "valid")
        left.plot(epoch[window - 1 :], mean, color=BLUE, label=f"mean of {window} batches")
        left.legend()
    left.set(title="Training loss", xlabel="epoch", ylabel="loss", yscale="log", xlim=(1, epochs and epochs + 1))
    right.plot([row["epoch"] for row in history], [row["val_nme"] for row in history], "o-", color=ORANGE)
    end = (epochs or max(1, len(history))) + 0.5
    right.set(title="Held-out faces", xlabel="epoch", ylabel="NME (% of the eye distance)", xlim=(0.5, end))
    if history:
        right.set_ylim(0, 1.1 * max(row["val_nme"] for row in history))
        best = min(history, key=lambda row: row["val_nme"])
        right.set_title(f"Held-out faces: best {best['val_nme']:.2f} % (epoch {best['epoch']})")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    return figure


class LiveTraining:
    """Trains a landmark network in the background and shows how it goes; `result()` waits for the end.

    Arguments are `recipes.train_landmarks`'s. *Stop*, and interrupting `result()`, end the training after the batch at
    hand; its checkpoint stays in `out`, and a new `LiveTraining` with `resume=True` goes on from there.
    """

    def __init__(self, faces: list[Face], recipe: Recipe, out: Path, **options: object) -> None:
        self.out, self.recipe = out, recipe
        train_faces, _ = split_faces(faces, recipe.val_fraction, recipe.config.seed)
        self._batches = len(epoch_batches(len(train_faces), recipe.config, 0))  # of an epoch
        self.losses: list[float] = []  # of this session's batches
        self.history: list[dict] = []
        self._before = 0.0  # epochs trained earlier
        self._spent: float = 0.0  # seconds trained earlier
        self._clock: Clock | None = None  # from the first batch on, where the training goes by the clock
        if options.get("resume"):
            earlier = read_training(out / "last.pt")
            self.history = earlier["history"]
            self._before = earlier["epoch"] + earlier["batch"] / self._batches
            self._spent = earlier["spent"] or 0.0
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._drawn = 0.0
        self.button = ipywidgets.Button(description="Stop", icon="stop", tooltip="stop and keep the checkpoint")
        self.button.on_click(lambda button: self.stop())
        self.status = ipywidgets.Label("reading faces")
        self.progress = ipywidgets.FloatProgress(0, min=0, max=1, layout=ipywidgets.Layout(width="16em"))
        self.image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        self._note = KernelNote()
        self.widget = ipywidgets.VBox(
            [ipywidgets.HBox([self.button, self.progress, self.status]), self.image, self._note],
        )
        self._thread = threading.Thread(target=self._train, args=(faces, options), daemon=True)
        self._thread.start()

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str] | None:
        return self.widget._repr_mimebundle_(**kwargs)

    def _ipython_display_(self) -> None:
        show_with_note(self.widget, self._note.note)

    def stop(self) -> None:
        """End the training after the batch at hand."""
        self._stop.set()
        self.button.disabled = True
        self.status.value = "stopping"

    def result(self) -> tuple[Xception, list[dict]]:
        """Wait for the end; the best network so far and the history. Raises what the training raised.

        Raises `RuntimeError` where it was stopped within its first epoch: no network has been evaluated yet.
        """
        while self._thread.is_alive():
            try:
                self._thread.join(timeout=0.2)  # with a timeout, so that an interrupt comes through
            except KeyboardInterrupt:
                self.stop()
        if self._error:
            raise self._error
        if not self.history:
            raise RuntimeError("stopped within the first epoch: nothing was evaluated yet; train on with resume=True")
        return load_network(self.out / "best.safetensors")[0], self.history

    @property
    def figure(self) -> Figure:
        """The curves so far, as an image that stays."""
        epoch = 1 + self._before + np.arange(len(self.losses)) / self._batches
        return live_figure(
            epoch, self.losses, self.history, None if self.recipe.config.minutes else self.recipe.config.epochs
        )

    def _train(self, faces: list[Face], options: dict) -> None:
        try:
            _, self.history = train_landmarks(
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
            self.status.value = "done" if done else "stopped; the checkpoint is kept"
        except Exception as error:  # it is the caller's, who meets it in `result`
            self._error = error
            self.status.value = one_line(error)
        finally:
            self.button.disabled = True

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
        if self._clock:
            self.progress.value = self._clock.progress
            where = f"epoch {epoch}, minute {self._clock.spent / 60:.1f} of {self.recipe.config.minutes:g}"
        else:
            self.progress.value = len(self.history) / epochs
            where = f"epoch {min(epoch, epochs)} of {epochs}"
        if self._thread.is_alive() and self.losses and not self._stop.is_set():
            self.status.value = f"{where}, loss {self.losses[-1]:.4f}"
        self._drawn = time.monotonic()
