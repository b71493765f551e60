"""Landmark networks to look at: which there are and how good, Xception's three flows, and the maps it draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn

from flcourse.errors import CourseError
from flcourse.face.landmark_network import OnnxNetwork
from flcourse.show.plot import BLUE, GREEN, ORANGE, PINK, Figure
from flcourse.training.heatmaps import RING
from flcourse.training.xception import HeatmapHead, Xception

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
    parameters are written beside it. They come from a run of the network, not from a table. Of a heatmap head the three
    stages are drawn, and the lateral link from the entry flow.
    """
    stages: dict[str, tuple[nn.Module, Sequence[nn.Module], str]] = {  # output of the first, parameters of the others
        name: (module, [module], colour)
        for name, module, colour in (
            ("stem", network.entry.stem, BLUE),
            ("block 1", network.entry.block1, BLUE),
            ("block 2", network.entry.block2, BLUE),
            ("block 3", network.entry.block3, BLUE),
            (f"{len(network.middle)} middle\nblocks", network.middle, ORANGE),
        )
    }
    head = network.head
    if isinstance(head, HeatmapHead):
        stages["exit flow,\nnot pooled"] = (network.exit, [network.exit], GREEN)
        stages["pixel\nshuffle"] = (head.up, [head.up], PINK)
        stages["add, ring,\nconvolve"] = (head.join, [head.lateral, head.join], PINK)
        stages["68 maps"] = (head.maps, [head.maps], PINK)
        if network.refiner is not None:
            stages["68 points,\nrefined"] = (network.refiner.move, [network.refiner], PINK)
    else:
        stages["exit\nflow"] = (network.exit, [network.exit], GREEN)
        stages["pool,\nlinear"] = (head.linear, [head.linear], PINK)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str):
        def hook(module, inputs, output) -> None:
            shapes[name] = tuple(output.shape[1:]) if output.ndim == 4 else (output[0].numel(),)

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, (module, _, _) in stages.items()]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, in_channels, size, size))
    for hook in hooks:
        hook.remove()
    counts = {
        name: sum(p.numel() for part in parts for p in part.parameters()) for name, (_, parts, _) in stages.items()
    }
    link = ("block 2", "add, ring,\nconvolve") if isinstance(head, HeatmapHead) else None
    return _draw_stages(shapes, counts, {name: colour for name, (_, _, colour) in stages.items()}, link)


def _draw_stages(
    shapes: dict[str, tuple[int, ...]], counts: dict[str, int], colours: dict[str, str], link: tuple[str, str] | None
) -> Figure:
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    ax = figure.subplots()
    tallest = max(shape[-1] for shape in shapes.values() if len(shape) == 3)
    widest = max(np.sqrt(shape[0]) for shape in shapes.values() if len(shape) == 3)
    end = 0.0  # of the stage before
    places = {}
    for i, (name, (channels, *sides)) in enumerate(shapes.items()):
        x = i * (1 + GAP)
        height = sides[-1] / tallest if len(sides) == 2 else 0.15
        width = max(0.12, np.sqrt(channels) / widest) if len(sides) == 2 else 0.12
        places[name] = x, height / 2
        ax.add_patch(Rectangle((x - width / 2, -height / 2), width, height, facecolor=colours[name], edgecolor="white"))
        text = f"{channels} × {sides[0]} × {sides[1]}" if len(sides) == 2 else f"{channels // 2} points"
        count = counts[name]
        ax.text(x, 0.62, name, ha="center", va="bottom", fontsize=10)
        ax.text(x, -0.62, f"{text}\n{count / 1e6:.2f} M" if count >= 1e4 else text, ha="center", va="top", fontsize=9)
        if i:
            ax.annotate("", (x - width / 2 - 0.02, 0), (end + 0.02, 0), arrowprops={"arrowstyle": "->"})
        end = x + width / 2
    if link:
        (x0, y0), (x1, y1) = (places[name] for name in link)
        arrow = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.12", "color": PINK, "linewidth": 1.5}
        ax.annotate("", (x1, y1 + 0.02), (x0, y0 + 0.02), arrowprops=arrow)
        ax.text((x0 + x1) / 2, 0.45, "lateral link: block 2's finer maps", ha="center", color=PINK, fontsize=9)
    ax.text(1.5 * (1 + GAP), 0.95, "entry flow", ha="center", color=BLUE, fontsize=11, fontweight="bold")
    ax.set(xlim=(-0.7, (len(shapes) - 1) * (1 + GAP) + 0.7), ylim=(-1.0, 1.12))
    ax.axis("off")
    return figure


def map_overlays(crop: np.ndarray, logits: torch.Tensor, points: Sequence[int]) -> list[np.ndarray]:
    """The maps of some points laid over a crop: (size, size, 3) RGB, logits (68, h, w) -> one RGB image each.

    The maps reach `RING` cells beyond the crop; what lies there is cut off. A cell is the brighter the
    more it has than an even share: a map that is the same everywhere, as before training, leaves the crop as it is.
    """
    ring = RING
    probabilities = logits.flatten(1).softmax(dim=1).view_as(logits)[list(points)].numpy()
    even = 1 / (logits.shape[-1] * logits.shape[-2])
    grey = np.repeat(crop.mean(axis=2, keepdims=True), 3, axis=2)
    images = []
    for heat in probabilities[:, ring:-ring, ring:-ring]:
        heat = (heat - even).clip(0) / max(float(heat.max()) - even, even)
        heat = cv2.resize(heat, crop.shape[1::-1])[..., None]
        images.append((0.75 * (1 - heat) * grey + heat * (255, 190, 60)).clip(0, 255).astype(np.uint8))
    return images
