"""Figures of the course, drawn with matplotlib; functions return the figure, so notebooks show what programs save."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from flcourse import colours, metrics
from flcourse.colours import hex_code
from flcourse.files import atomic_write

# As matplotlib takes them. Vermilion is called orange here: the orange that is to be told from the blue.
BLUE, ORANGE = hex_code(colours.BLUE), hex_code(colours.VERMILION)
GREEN, PINK = hex_code(colours.GREEN), hex_code(colours.PINK)
COLOURS = BLUE, ORANGE, GREEN, PINK
LINES = ("-", "--", ":", "-.")
FEWEST = 5  # answers that a full dot of a reliability curve stands for
GALLERY_TOP = 0.06  # inches above a gallery without a title: its images' titles would touch the edge


class Figure(matplotlib.figure.Figure):
    """A figure that every notebook shows as an image, also before pyplot has told IPython how."""

    def _repr_png_(self) -> bytes:
        return to_png(self, dpi=80)


def to_png(figure: matplotlib.figure.Figure, dpi: int = 110) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def log_axis(ax: Axes) -> None:
    """Make the y axis logarithmic, its values written as 0.2 and not as 2 times ten to the power of minus one."""
    ax.set_yscale("log")
    # Losses seldom span a decade: 0.2 and 0.5 say more than 10^-1 alone, and are read faster than 2 x 10^-1.
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda loss, _: f"{loss:.4g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def training_curves(history: list[dict], accuracy_label: str = "points within 15 px of 299 (%)") -> Figure:
    """Loss and accuracy of training and validation over the epochs, from `loop.fit`'s history."""
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
                label={"train": "training", "val": "validation"}[part],
            )
        ax.set(xlabel="epoch", ylabel=label, title=label.split(" (")[0].capitalize())
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.legend(loc="best" if name == "loss" else "lower right")  # accuracies rise away from there
    log_axis(axes[0])
    return figure


def error_curve(errors: dict[str, np.ndarray], limit: float = 10.0) -> Figure:
    """Cumulative error curves: for each name the part of faces (%) with an NME up to each value, from NMEs (N,)."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    limits = np.linspace(0, limit, 500)
    for number, (name, values) in enumerate(errors.items()):
        label = f"{name}: mean {values.mean():.2f} %, AUC@{limit:g} {metrics.auc(values, limit):.3f}"
        # When the colours are used up, they come again in another kind of line.
        colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
        ax.plot(limits, 100 * metrics.error_curve(values, limits), label=label, color=colour, linestyle=line)
    ax.set(xlabel="NME (% of the eye distance)", ylabel="faces (%)", title="Cumulative error curve", ylim=(0, 101))
    ax.grid(alpha=0.3)
    ax.legend()
    return figure


def reliability_curve(chance: np.ndarray, right: np.ndarray, face: np.ndarray, bins: int = 10) -> Figure:
    """How often answers are right, by their confidence (both (N,)), and how many faces and other things have which.

    A bin of fewer than `FEWEST` answers has a hollow dot: of one or two the share right is 0 or 100 %, by chance.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, side = figure.subplots(1, 2)
    edges = np.linspace(0, 1, bins + 1)
    mean, share, count = metrics.reliability(chance, right, bins)
    few = count < FEWEST
    left.plot([0, 1], [0, 100], "--", color="grey", label="as it should be")
    left.plot(mean, 100 * share, "o-", color=BLUE, label="as it is")
    if few.any():
        told = f"of fewer than {FEWEST} crops"
        left.plot(mean[few], 100 * share[few], "o", color=BLUE, markerfacecolor="white", label=told)
    left.set(
        xlabel="confidence", ylabel="error at most 8 % (% of crops)", title="Reliability", xlim=(0, 1), ylim=(0, 101)
    )
    kinds = {"faces, right": face & right, "faces, wrong": face & ~right, "no faces": ~face}
    groups = [chance[chosen] for chosen in kinds.values()]
    side.hist(groups, edges, stacked=True, color=[BLUE, ORANGE, GREEN], label=list(kinds))
    side.set(xlabel="confidence", ylabel="crops", title="How many crops have which confidence", xlim=(0, 1))
    for ax in (left, side):
        ax.grid(alpha=0.3)
        ax.legend()
    return figure


def gallery(
    images: Sequence[np.ndarray],
    titles: Sequence[str] = (),
    *,
    columns: int = 8,
    cmap: str = "gray",
    title: str = "",
    size: float = 1.1,
) -> Figure:
    """A grid of images, (H, W) drawn with `cmap` or (H, W, 3) RGB, each `size` inches wide, with a title above each.

    A colour map that diverges ("PuOr_r") is centred on zero for each image.
    """
    rows = max(1, -(-len(images) // columns))  # nothing to show is a sheet without images
    lines = 1 + max((text.count("\n") for text in titles), default=0) if titles else 0
    line = 0.06 + 0.17 * lines  # inches above each image
    top = 0 if title else GALLERY_TOP
    height = (size + line) * rows + (0.35 if title else top)
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - top / height))
    figure = Figure(figsize=(size * columns, height), layout=layout)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes, images, strict=False)):
        limit = float(np.abs(image).max()) or 1.0
        limits = {"vmin": -limit, "vmax": limit} if cmap in ("PuOr", "PuOr_r") else {}
        ax.imshow(image, cmap=cmap, **limits)
        if i < len(titles):
            ax.set_title(titles[i], fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Which classes are taken for which: true ones in rows, predicted in columns, (N,) class indices each.

    The diagonal, all that is right, is left out, so that the mistakes set the colours.
    """
    from sklearn.metrics import confusion_matrix as count  # here: importing scikit-learn takes a second

    counts = count(true, predicted, labels=range(len(classes)))
    mistakes = np.where(np.eye(len(classes), dtype=bool), 0, counts)
    figure = Figure(figsize=(6, 5), layout="constrained")
    ax = figure.subplots()
    ax.imshow(mistakes, cmap="Blues")
    for i, j in zip(*np.nonzero(mistakes), strict=True):
        dark = mistakes[i, j] > mistakes.max() / 2
        ax.text(j, i, str(mistakes[i, j]), ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ticks = range(len(classes))
    turned = 45 if max(map(len, classes)) > 2 else 0
    ax.set_xticks(ticks, classes, rotation=turned, ha="right" if turned else "center")
    ax.set_yticks(ticks, classes)
    ax.set(xlabel="predicted", ylabel="true", title=f"Mistakes: {mistakes.sum():,} of {len(true):,}")
    return figure


def digit_and_bars(image: np.ndarray, probabilities: Sequence[float]) -> Figure:
    """A digit as the network sees it, (28, 28), beside the ten probabilities; the drawing pad as a still image."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    left.imshow(image, cmap="gray")
    left.axis("off")
    left.set_title("what the network sees")
    best = int(np.argmax(probabilities))
    right.bar(range(10), 100 * np.asarray(probabilities), color=[ORANGE if i == best else BLUE for i in range(10)])
    right.set_xticks(range(10))
    right.set(xlabel="digit", ylabel="probability (%)", ylim=(0, 100))
    right.set_title(f"a {best}, says the network: {100 * probabilities[best]:.0f} %")
    return figure


def save(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure as a PNG, atomically."""
    atomic_write(path, to_png(figure))
