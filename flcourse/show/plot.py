"""Figures of the course, drawn with matplotlib; functions return the figure, so notebooks show what programs save."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flcourse import metrics
from flcourse.files import atomic_write

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"


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


def error_curve(errors: dict[str, np.ndarray], limit: float = 10.0) -> Figure:
    """Cumulative error curves: for each name the part of faces (%) with an NME up to each value, from NMEs (N,)."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    limits = np.linspace(0, limit, 500)
    for (name, values), colour in zip(errors.items(), COLOURS, strict=False):
        label = f"{name}: mean {values.mean():.2f} %, AUC@{limit:g} {metrics.auc(values, limit):.3f}"
        ax.plot(limits, 100 * metrics.error_curve(values, limits), color=colour, label=label)
    ax.set(xlabel="NME (% of the eye distance)", ylabel="faces (%)", title="Cumulative error curve", ylim=(0, 101))
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    atomic_write(path, buffer.getvalue())
