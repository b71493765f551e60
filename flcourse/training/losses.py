"""What is learned: the losses of classification and landmarks, and what is measured of each example beside them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flcourse import metrics
from flcourse.points import CROP_SCALE, Box
from flcourse.training.heatmaps import RING, Landmarks, cell_centres


class Task(NamedTuple):
    """What is learned: a loss, what to measure, and which measure picks the best checkpoint."""

    loss: Callable[[Any, Any], Tensor]  # (output, target) -> scalar, the batch's mean
    measures: Callable[[Any, Any], dict[str, Tensor]]  # (output, target) -> one value an example, each (N,)
    best: str  # a key of `measures`
    higher_is_better: bool


def classification(label_smoothing: float = 0.0) -> Task:
    """Logits (N, classes) and class indices (N,): cross-entropy, and accuracy in percent, which picks the checkpoint.

    `label_smoothing` is the part of the truth that is spread over all classes (Szegedy et al., CVPR 2016).
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    def measures(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"accuracy": 100 * (logits.argmax(dim=1) == labels).float()}

    return Task(loss, measures, best="accuracy", higher_is_better=True)


def mse_loss(output: Landmarks, points01: Tensor) -> Tensor:
    """Mean squared error of normalised points (N, 68, 2)."""
    return F.mse_loss(output.points01, points01)


def smooth_l1_loss(output: Landmarks, points01: Tensor) -> Tensor:
    """Absolute error of normalised points, quadratic below 1 % of the crop, so that the last pixel is not shaken."""
    return F.smooth_l1_loss(output.points01, points01, beta=0.01)


WING_WIDTH, WING_CURVE = 0.04, 0.008  # parts of the crop; the paper's 10 and 2 px of 256


def wing_loss(output: Landmarks, points01: Tensor) -> Tensor:
    """Feng et al.'s Wing loss (CVPR 2018) of normalised points: a logarithm within 4 % of the crop, beyond it L1.

    The nearer a coordinate is, the harder it pulls, so that the many small errors count, not only the few large ones.
    """
    error = (output.points01 - points01).abs()
    near = WING_WIDTH * torch.log1p(error / WING_CURVE)
    far = error - WING_WIDTH + WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVE)
    return torch.where(error < WING_WIDTH, near, far).mean()


MAP_SIGMA = 1.0  # cells: what a map should look like around its point
FIRST_WEIGHT = 0.5  # of where the maps said that points are, before they were refined
MAP_WEIGHT = 0.02  # brings the maps' term to the size of the points' (about 0.01 each, late in training)


def heatmap_loss(output: Landmarks, points01: Tensor) -> Tensor:
    """Smooth L1 of the points, plus the divergence of each map from a Gaussian about the true point.

    The second term is Nibali et al.'s regulariser (2018), with Kullback-Leibler instead of Jensen-Shannon: it keeps
    every map one sharp peak, whose width tells how sure the network is (`heatmaps.confidence`). Points beyond the maps
    have only the first term. Where points were refined, the maps' own means have half a smooth L1 beside theirs.
    """
    ring = RING
    height, width = output.maps.shape[2:]

    def gaussian(cells: int, centre01: Tensor) -> Tensor:  # (N, 68) -> (N, 68, cells), sums to 1
        offset = (cell_centres(cells, ring, centre01) - centre01[..., None]) * (cells - 2 * ring)
        return (-(offset**2) / (2 * MAP_SIGMA**2)).softmax(dim=2)

    x, y = points01.unbind(dim=2)
    target = gaussian(height, y)[..., :, None] * gaussian(width, x)[..., None, :]  # (N, 68, h, w)
    reach = ring / (width - 2 * ring)
    inside = ((points01 > -reach) & (points01 < 1 + reach)).all(dim=2)  # (N, 68)
    log_probabilities = output.maps.flatten(2).log_softmax(dim=2)
    divergence = F.kl_div(log_probabilities, target.flatten(2), reduction="none").sum(dim=2)  # (N, 68)
    loss = smooth_l1_loss(output, points01) + MAP_WEIGHT * (divergence * inside).mean()
    if output.first01 is not None:
        loss = loss + FIRST_WEIGHT * smooth_l1_loss(Landmarks(output.first01, None), points01)
    return loss


LID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))  # upper and lower lid
LID_WEIGHT = 1.0


def lids_loss(output: Landmarks, points01: Tensor) -> Tensor:
    """`heatmap_loss`, plus smooth L1 of the four gaps between the lids.

    An eye that closes moves its lids by a thirtieth of the eye distance: too little for the mean over all points to
    feel, and all that tells a closed eye from an open one.
    """
    upper, lower = (list(side) for side in zip(*LID_PAIRS, strict=True))
    gaps, true = (points[:, lower] - points[:, upper] for points in (output.points01, points01))
    return heatmap_loss(output, points01) + LID_WEIGHT * F.smooth_l1_loss(gaps, true, beta=0.005)


LOSSES: dict[str, Callable[[Landmarks, Tensor], Tensor]] = {
    "mse": mse_loss,
    "smooth_l1": smooth_l1_loss,
    "wing": wing_loss,
    "heatmap": heatmap_loss,
    "lids": lids_loss,
}


@torch.no_grad()
def measure_points(output: Landmarks, points01: Tensor) -> dict[str, Tensor]:
    """`metrics.nme` and `metrics.within_radius` (both in percent) of each crop's points, (N,) on the CPU."""
    predicted, true = output.points01.float().numpy(force=True), points01.numpy(force=True)
    # The crop is CROP_SCALE boxes wide. Exact where it was not rescaled at random.
    box = Box.around((0.5, 0.5), 1 / CROP_SCALE)
    figures = {"nme": metrics.nme(predicted, true), "accuracy": metrics.within_radius(predicted, true, [box])}
    return {name: torch.from_numpy(values) for name, values in figures.items()}
