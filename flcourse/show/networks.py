"""Landmark networks to look at: which there are and how good, Xception's three flows, and the maps it draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.patches import Rectangle

from flcourse.errors import CourseError
from flcourse.face.landmarker import OnnxNetwork
from flcourse.show.plot import BLUE, GREEN, ORANGE, PINK, Figure
from flcourse.training.nets import HeatmapHead, Xception

GAP = 0.35  # between two stages, in the width of one


def networks_table(networks: Mapping[str, Path], chosen: str) -> str:
    """Markdown: each network's error on faces that its training had held out, and whether it knows how sure it is.

    `networks` are ONNX files by name. One that cannot be opened has a row that says why.
    """
    rows = ["| | network | error (NME) | confidence |", "|---|---|---|---|"]
    for name, path in networks.items():
        try:
            network = OnnxNetwork(path, threads=1)
            error = network.held_out or "not measured"
            sure = "calibrated" if "calibration" in network.metadata else "–"
        except CourseError as problem:
            error, sure = problem, ""
        rows.append(f"|{' **in use**' if name == chosen else ''} | {name} | {error} | {sure} |")
    return "\n".join(rows)


def flows_figure(network: Xception, size: int, in_channels: int = 1) -> Figure:
    """Xception's entry, middle and exit flow and its head, drawn to scale for crops of `size` px.

    A stage is as high as its maps are wide and as wide as the root of its channels; channels, size of the maps and
    parameters are written beside it. They come from a run of the network, not from a table.
    """
    stages = {
        "stem": (network.entry.stem, BLUE),
        "block 1": (network.entry.block1, BLUE),
        "block 2": (network.entry.block2, BLUE),
        "block 3": (network.entry.block3, BLUE),
        f"{len(network.middle)} middle\nblocks": (network.middle, ORANGE),
        "exit\nflow": (network.exit, GREEN),
        "head": (network.head, PINK),
    }
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str):
        def hook(module, inputs, output) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, (module, _) in stages.items() if name != "head"]
    with torch.inference_mode():
        output = network.eval()(torch.zeros(1, in_channels, size, size))
    for hook in hooks:
        hook.remove()
    shapes["head"] = tuple((output.points01 if output.logits is None else output.logits).shape[1:])
    return _draw_stages(stages, shapes)


def _draw_stages(stages: dict, shapes: dict[str, tuple[int, ...]]) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    ax = figure.subplots()
    tallest = max(shape[-1] for shape in shapes.values() if len(shape) == 3)
    widest = max(np.sqrt(shape[0]) for shape in shapes.values())
    end = 0.0  # of the stage before
    for i, (name, (module, colour)) in enumerate(stages.items()):
        channels, *sides = shapes[name]
        x = i * (1 + GAP)
        height = sides[-1] / tallest if len(sides) == 2 else 0.15
        width = max(0.12, np.sqrt(channels) / widest)
        ax.add_patch(Rectangle((x - width / 2, -height / 2), width, height, facecolor=colour, edgecolor="white"))
        count = sum(p.numel() for p in module.parameters())
        text = f"{channels} × {sides[0]} × {sides[1]}" if len(sides) == 2 else f"{channels} points"
        ax.text(x, 0.56, name, ha="center", va="bottom", fontsize=10)
        ax.text(x, -0.56, f"{text}\n{count / 1e6:.2f} M" if count >= 1e4 else text, ha="center", va="top", fontsize=9)
        if i:
            ax.annotate("", (x - width / 2 - 0.02, 0), (end + 0.02, 0), arrowprops={"arrowstyle": "->"})
        end = x + width / 2
    ax.text(1.5 * (1 + GAP), 0.85, "entry flow", ha="center", color=BLUE, fontsize=11, fontweight="bold")
    ax.set(xlim=(-0.7, (len(stages) - 1) * (1 + GAP) + 0.7), ylim=(-0.95, 1.08))
    ax.axis("off")
    return figure


def map_overlays(crop: np.ndarray, logits: torch.Tensor, points: Sequence[int]) -> list[np.ndarray]:
    """The maps of some points laid over a crop: (size, size, 3) RGB, logits (68, h, w) -> one RGB image each.

    The maps reach `HeatmapHead.RING` cells beyond the crop; what lies there is cut off.
    """
    ring = HeatmapHead.RING
    probabilities = logits.flatten(1).softmax(dim=1).view_as(logits)[list(points)].numpy()
    grey = np.repeat(crop.mean(axis=2, keepdims=True), 3, axis=2)
    images = []
    for heat in probabilities[:, ring:-ring, ring:-ring]:
        heat = cv2.resize(heat / max(float(heat.max()), 1e-9), crop.shape[1::-1])[..., None]
        images.append((0.75 * (1 - heat) * grey + heat * (255, 190, 60)).clip(0, 255).astype(np.uint8))
    return images
