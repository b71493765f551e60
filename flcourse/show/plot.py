"""Figures of the course, drawn with matplotlib; functions return the figure, so notebooks show what programs save."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from flcourse.files import atomic_write

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def training_curves(history: list[dict], accuracy_label: str = "points within 15 px of 299 (%)") -> Figure:
    """Loss and accuracy of training and validation over the epochs, from `train.fit`'s history."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for ax, name, label in zip(axes, ("loss", "accuracy"), ("loss", accuracy_label), strict=True):
        for part, colour in (("train", BLUE), ("val", ORANGE)):
            values = [row[f"{part}_{name}"] for row in history]
            ax.plot(
                epochs,
                values,
                "o-" if len(epochs) < 10 else "-",
                color=colour,
                label={"val": "validation"}.get(part, part),
            )
        ax.set(xlabel="epoch", ylabel=label, title=label.split(" (")[0].capitalize())
        ax.grid(alpha=0.3)
        ax.legend()
    axes[0].set_yscale("log")
    return figure


def save_training_curves(history: list[dict], path: Path) -> None:
    """Write `training_curves` as a PNG."""
    buffer = io.BytesIO()
    training_curves(history).savefig(buffer, format="png", dpi=110)
    atomic_write(path, buffer.getvalue())
