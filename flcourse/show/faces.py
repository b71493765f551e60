"""Figures of faces with their 68 points."""

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.layout_engine import ConstrainedLayoutEngine

from flcourse.face.draw import PART_COLOURS
from flcourse.points import CLOSED_PARTS, N_POINTS, PARTS
from flcourse.show.plot import Figure

# Of OpenCV's colours, as matplotlib takes them.
COLOURS = {name: tuple(value / 255 for value in colour) for name, colour in PART_COLOURS.items()}
OUTLINE = "#101418"  # around dots, lines and numbers: to be seen on any skin


def plot_points(ax: Axes, points: np.ndarray, inches: float, numbers: bool = False) -> None:
    """Plot 68 points (68, 2), pixels of the image shown in `ax`, with lines through their parts; NaN is left out.

    Dots and lines fit an image `inches` wide; `numbers` writes each point's index beside it. The view stays.
    """
    points = np.asarray(points, float)
    if points.shape != (N_POINTS, 2):
        raise ValueError(f"points: shape {points.shape}, expected ({N_POINTS}, 2)")
    ax.autoscale(False)
    width = float(np.clip(0.42 * inches, 0.5, 1.3))  # of lines, in typographic points
    diameter = float(np.clip(1.1 * np.sqrt(inches), 1.1, 3.5))
    lines = [points[[*part, part[0]] if name in CLOSED_PARTS else list(part)] for name, part in PARTS.items()]
    colours = [COLOURS[name] for name in PARTS]
    ax.add_collection(LineCollection(lines, colors=OUTLINE, linewidths=width + 0.7, alpha=0.5))
    ax.add_collection(LineCollection(lines, colors=colours, linewidths=width))
    ax.scatter(
        *points.T,
        s=diameter**2,
        c=[COLOURS[name] for name, part in PARTS.items() for _ in part],
        edgecolors=OUTLINE,
        linewidths=min(0.5, 0.2 * diameter),
        zorder=3,
    )
    if numbers:
        _plot_numbers(ax, points, inches)


def _plot_numbers(ax: Axes, points: np.ndarray, inches: float) -> None:
    """Write the 68 indices beside their points, where neighbours leave room."""
    size = float(np.clip(1.4 * inches, 4, 10))
    outline = [patheffects.withStroke(linewidth=0.28 * size, foreground=OUTLINE)]
    away = number_directions(points)
    for name, part in PARTS.items():
        for i in part:
            if np.isfinite(points[i]).all():
                x, y = (1.05 * size * away[i]).tolist()
                ax.annotate(
                    str(i),
                    points[i],
                    (x, -y),  # text is placed with y upwards
                    textcoords="offset points",
                    color=COLOURS[name],
                    fontsize=size,
                    ha="center",
                    va="center",
                    path_effects=outline,
                    annotation_clip=True,
                    zorder=4,
                )


def number_directions(points: np.ndarray) -> np.ndarray:
    """Unit vectors (68, 2), y down: to which side of each point its number stands.

    Eyes and lips have them above and below, and at the corners outside (the inner lips inside, for the outer's sake);
    jaw and brows away from the face's middle, the nose's bridge at its left in the image, its base above. Found from
    the points, so that a tilted face's numbers tilt.
    """
    points = np.where(np.isfinite(points), points, np.nanmean(points, axis=0))
    down = points[8] - points[27]
    down = down / max(float(np.hypot(*down)), 1e-9)
    right = np.array([down[1], -down[0]])
    away = np.tile(-down, (N_POINTS, 1))
    away[list(PARTS["jaw"])] = points[list(PARTS["jaw"])] - points[27:31].mean(axis=0)
    away[list(PARTS["nose_bridge"])] = -right
    for name in CLOSED_PARTS:
        index = list(PARTS[name])
        half = len(index) // 2
        along = (points[index] - points[index].mean(axis=0)) @ right
        # Above or below by their order, not by their place: a shut eye has neither.
        along = along / max(float(np.abs(along).max()), 1e-9)
        away[index] = 0.5 * along[:, None] * right + np.repeat([-1, 1], half)[:, None] * down
        away[index[0]], away[index[half]] = (right, -right) if name == "inner_lips" else (-right, right)
    return away / np.maximum(np.hypot(*away.T), 1e-9)[:, None]


def show_face(ax: Axes, image: np.ndarray, points: np.ndarray | None, inches: float, numbers: bool = False) -> None:
    """An image, and its points where there are any, in axes `inches` wide."""
    low, high = (0, 255) if image.dtype == np.uint8 else (None, None)  # a dark grey image stays dark
    ax.imshow(image, cmap="gray", vmin=low, vmax=high)
    ax.axis("off")
    if points is not None:
        plot_points(ax, points, inches, numbers)


def face_gallery(
    images: Sequence[np.ndarray],
    points: Sequence[np.ndarray | None] | None = None,
    titles: Sequence[str] = (),
    columns: int = 8,
    size: float = 1.4,
    numbers: bool = False,
) -> Figure:
    """A grid of images, (H, W, 3) RGB or (H, W) grey, each `size` inches wide, with its 68 points and a title.

    `points` has (68, 2) image pixels for each image, or None for one without. `numbers` writes the points' indices
    beside them: for one large face. Fewer images than `columns` make a narrower figure.
    """
    if not len(images):
        raise ValueError("no image to show, expected at least one")
    if points is not None and len(points) != len(images):
        raise ValueError(f"{len(points)} sets of points for {len(images)} images, expected as many")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = 1 + max((text.count("\n") for text in titles), default=0) if titles else 0
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    gap = 0.06
    row = size * tallest + gap + 0.21 * lines  # inches
    above = 0.07 if titles else gap / 2  # a title that touches the figure's edge looks cut off
    layout = ConstrainedLayoutEngine(w_pad=gap / 2, h_pad=above, wspace=0, hspace=0)
    figure = Figure(figsize=((size + gap) * columns, row * rows), layout=layout)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[len(images) :]:
        ax.axis("off")
    for i, image in enumerate(images):
        show_face(axes[i], image, points[i] if points is not None else None, size, numbers)
        if i < len(titles):
            axes[i].set_title(titles[i], fontsize=9, pad=3)
    return figure
