"""What a landmark network's maps say: the points, by soft-argmax, and how sure they are, by the maps' sharpness."""

from typing import NamedTuple

import torch
from torch import Tensor

from flcourse.metadata import ACCEPT

RING = 1  # cells by which the maps reach beyond the crop on each side, because chins and cheeks often do


class Landmarks(NamedTuple):
    """What a landmark network says of N crops."""

    points01: Tensor  # (N, 68, 2), normalised to the crop
    logits: Tensor | None  # (N, 68, h, w) heatmaps before their softmax; None from the regression head
    first01: Tensor | None = None  # (N, 68, 2) the maps' own means, where a `PointRefiner` moved the points from them

    @property
    def maps(self) -> Tensor:
        """The heatmaps before their softmax. Raises `ValueError` where the head makes none."""
        if self.logits is None:
            raise ValueError("the regression head makes no heatmaps; use a network with head='heatmap'")
        return self.logits


def cell_centres(cells: int, ring: int, like: Tensor) -> Tensor:
    """Where the `cells` columns (or rows) of a map lie, in parts of the crop; `ring` of them on each side outside."""
    inside = cells - 2 * ring
    return (torch.arange(cells, dtype=torch.float32, device=like.device) - ring + 0.5) / inside


def soft_argmax(logits: Tensor, ring: int) -> Tensor:
    """The mean position under each map's softmax: (N, 68, h, w) -> (N, 68, 2), x then y, normalised to the crop.

    Differentiable, and finer than a cell (Nibali et al., "Numerical Coordinate Regression", 2018).
    """
    probabilities = logits.flatten(2).softmax(dim=2).unflatten(2, logits.shape[2:])
    x = (probabilities.sum(dim=2) * cell_centres(logits.shape[3], ring, logits)).sum(dim=2)
    y = (probabilities.sum(dim=3) * cell_centres(logits.shape[2], ring, logits)).sum(dim=2)
    return torch.stack([x, y], dim=2)


class Calibration(NamedTuple):
    """What makes a chance of the sharpness of a network's maps: logistic regression, see `calibration.calibrate`."""

    slope: float
    bias: float
    accept: float = ACCEPT  # the confidence from which this network's answers count as faces


def spread(logits: Tensor, means01: Tensor, ring: int = RING) -> Tensor:
    """How far each map's probability lies from its mean, along x and y: (N, 68, 2), mean squares in parts of the crop.

    `logits` (N, 68, h, w) are the maps, `means01` (N, 68, 2) their `soft_argmax`.
    """
    height, width = logits.shape[2:]
    probabilities = logits.flatten(2).softmax(dim=2).unflatten(2, (height, width))
    x = cell_centres(width, ring, logits) - means01[..., :1]  # (N, 68, w)
    y = cell_centres(height, ring, logits) - means01[..., 1:]
    squares = (probabilities.sum(dim=2) * x**2).sum(dim=2), (probabilities.sum(dim=3) * y**2).sum(dim=2)
    return torch.stack(squares, dim=2)


def log_spread(output: Landmarks, ring: int = RING) -> Tensor:
    """How far the maps' probability lies from its own mean: the log of the mean square in cells, of N crops (N,).

    Averaged over the 68 maps. Sharp single peaks have little spread, blurred maps or those with several peaks much.
    """
    means01 = output.points01 if output.first01 is None else output.first01
    height, width = output.maps.shape[2:]
    x, y = spread(output.maps, means01, ring).unbind(dim=2)
    cells = x * (width - 2 * ring) ** 2 + y * (height - 2 * ring) ** 2  # (N, 68)
    return cells.clamp(min=1e-6).log().mean(dim=1)


def confidence(output: Landmarks, calibration: Calibration) -> Tensor:
    """The chance that a heatmap network's points are right (an NME of at most 8 %) on each crop, (N,) in [0, 1].

    As far as `calibration` was measured for this network, and on crops like those it was measured on.
    """
    return torch.sigmoid(calibration.bias - calibration.slope * log_spread(output))
