"""The course's face detector: a small network that draws a map of face centres, how it is trained and exported.

The heatmap idea of the landmark head once more: not one map for each point, but one map for all faces. X. Zhou, D. Wang
and P. Kraehenbuehl, "Objects as Points" (2019), from which the loss is, too.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from skimage.data import stereo_motorcycle
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from flcourse.data.datasets import cifar10
from flcourse.data.drawn_faces import WALLS, wall_image
from flcourse.data.face_scenes import Sources
from flcourse.data.imglab import Face, split_faces
from flcourse.data.photos import halved, read_photos
from flcourse.data.scene_dataset import BOXED, DX, DY, HEAT, LOG_SIDE, STRIDE, UNIT, VALID, FaceScenes
from flcourse.data.shapes import draw_shapes
from flcourse.errors import CourseError
from flcourse.files import fast
from flcourse.points import Box
from flcourse.training.checkpoints import read_safetensors
from flcourse.training.config import Config
from flcourse.training.export import to_onnx, write_model
from flcourse.training.loop import fit
from flcourse.training.losses import Task
from flcourse.training.xception import SeparableConv2d

FOUND = 0.4  # score from which the training's own figures count a face as found


def _reduce(in_channels: int, out_channels: int) -> list[nn.Module]:
    """A separable convolution that halves the map's sides."""
    return [SeparableConv2d(in_channels, out_channels, stride=2), nn.BatchNorm2d(out_channels), nn.ReLU()]


class _Residual(nn.Module):
    """relu(x + separable convolution of x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(SeparableConv2d(channels, channels), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class FaceMaps(nn.Module):
    """Grey images (N, 1, H, W) in [-1, 1], H and W multiples of 16 -> (N, 4, H / 8, W / 8).

    For each cell: the logit of a face's centre being in it; where the centre is, from the cell's own, in cells (x, y);
    and the log of the face's side in `UNIT`s. 78,468 parameters. The deepest part works at stride 16, where looking far
    is cheap, and is laid over the finer map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),  # (N, 16, H / 2, W / 2)
            nn.BatchNorm2d(16),
            nn.ReLU(),
            *_reduce(16, 32),  # (N, 32, H / 4, W / 4)
            _Residual(32),
            *_reduce(32, 64),  # (N, 64, H / 8, W / 8)
            *(_Residual(64) for _ in range(2)),
        )
        self.coarse = nn.Sequential(
            *_reduce(64, 96),  # (N, 96, H / 16, W / 16)
            *(_Residual(96) for _ in range(4)),
            nn.Conv2d(96, 64, 1, bias=False),
            nn.BatchNorm2d(64),
        )
        self.both = nn.Sequential(*(_Residual(64) for _ in range(2)))
        self.head = nn.Conv2d(64, 4, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[:1], -4.6)  # a face in one cell of a hundred, so that training starts calmly

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        return self.head(self.both(torch.relu(fine + coarse)))


def _terms(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each cell's heat, and of its box, (N, h, w) each.

    Heat: the focal loss of "Objects as Points", equation 1 (alpha 2, beta 4). Box: smooth L1 of the centre, in parts of
    half a side, and of the log of the side.
    """
    logits, heat = output[:, 0].float(), target[:, HEAT]
    found = logits.sigmoid()
    centre = -((1 - found) ** 2) * F.logsigmoid(logits)
    elsewhere = -((1 - heat) ** 4) * found**2 * F.logsigmoid(-logits)
    heat_loss = torch.where(heat == 1, centre, elsewhere) * target[:, VALID]
    half_side = target[:, LOG_SIDE].exp() * UNIT / STRIDE / 2  # cells
    box = output[:, 1:].float()
    shift = F.smooth_l1_loss(box[:, :2], target[:, [DX, DY]], reduction="none", beta=0.1).sum(dim=1) / half_side
    side = F.smooth_l1_loss(box[:, 2], target[:, LOG_SIDE], reduction="none", beta=0.1)
    return heat_loss, (shift + side) * target[:, BOXED]


BOX_WEIGHT = 1.5


def scene_loss(output: Tensor, target: Tensor) -> Tensor:
    """Heat's loss for each face of the batch, plus `BOX_WEIGHT` times the boxes' mean loss."""
    heat, box = _terms(output, target)
    faces = ((target[:, HEAT] == 1) & (target[:, VALID] > 0)).sum()
    return heat.sum() / faces.clamp(min=1) + BOX_WEIGHT * box.sum() / target[:, BOXED].sum().clamp(min=1)


@torch.no_grad()
def measure_scenes(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Of each scene, (N,): faces, those missed, false ones (peaks over `FOUND`), and the loss of its heat."""
    scores = output[:, 0].float().sigmoid()
    highest = F.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0]
    face = (target[:, HEAT] == 1) & (target[:, VALID] > 0)
    false = (scores == highest) & (scores > FOUND) & (target[:, HEAT] < 0.3) & (target[:, VALID] > 0)
    heat, _ = _terms(output, target)
    counts = {"faces": face, "missed": face & (highest <= FOUND), "false": false}
    return {name: cells.flatten(1).sum(dim=1).float() for name, cells in counts.items()} | {"heat": heat.sum((1, 2))}


@dataclass(frozen=True)
class DetectorRecipe:
    """Everything that decides what a detector's training computes, besides the images."""

    size: int = 128  # of the scenes, px
    scenes: int = 8_000  # an epoch
    val_scenes: int = 500
    config: Config = field(
        default_factory=lambda: Config(
            epochs=30, batch_size=16, optimizer="adamw", lr=3e-3, weight_decay=1e-3, schedule="one_cycle", ema=0.998
        )
    )


VAL_FRACTION = 0.06  # of the photographs with faces, of the things and of the walls, held out to choose a checkpoint


def gather_sources(
    faces: Sequence[Face],
    label: Callable[[np.ndarray], list[tuple[Box, float]]] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Sources, Sources]:
    """What scenes are composed of, for training and for validation, which share no photograph with a face.

    With `label`, which finds the faces that nobody annotated (see `read_photos`), things are CIFAR-10's training
    images. Without it all faces in the images must be annotated, as in drawn ones, and things are drawn shapes.
    """
    things = draw_shapes(2_000 if fast() else 6_000, seed)[0] if label is None else cifar10().train_x
    small = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in things])
    walls = [cv2.cvtColor(wall_image(i), cv2.COLOR_RGB2GRAY) for i in range(WALLS)]
    backgrounds = [halved(np.ascontiguousarray(image)) for image in face_free_photographs()]
    train, val = (read_photos(part, label, progress) for part in split_faces(faces, VAL_FRACTION, seed))
    m, n = (round((1 - VAL_FRACTION) * len(items)) for items in (small, walls))
    return Sources(train, backgrounds, small[:m], walls[:n]), Sources(val, backgrounds, small[m:], walls[n:])


def face_free_photographs() -> list[np.ndarray]:
    """Three photographs without a person: scikit-learn's two (CC BY 2.0) and scikit-image's motorcycle (CC0).

    On the others of scikit-image's the detectors are measured.
    """
    return [*load_sample_images().images, stereo_motorcycle()[0]]


def train_detector(
    train: Sources,
    val: Sources,
    recipe: DetectorRecipe,
    out: Path | None = None,
    *,
    start: FaceMaps | None = None,
    **options: Any,
) -> tuple[FaceMaps, list[dict]]:
    """Train a detector on scenes composed of `train`; the checkpoint kept is the best on those composed of `val`.

    `start` gives the first weights instead of random ones. `options` go to `fit` (`resume`, `device`, `workers`,
    `stop`, ...). Returns the network with its last weights, and the history.
    """
    seed = recipe.config.seed
    torch.manual_seed(seed)
    network = FaceMaps() if start is None else start
    task = Task(scene_loss, measure_scenes, best="heat", higher_is_better=False)
    train_set = FaceScenes(train, recipe.size, recipe.scenes, seed)
    val_set = FaceScenes(val, recipe.size, recipe.val_scenes, seed + 1)
    describe = {"detector": asdict(recipe), "photos": [len(train.photos), len(val.photos)]}
    return network, fit(network, task, train_set, val_set, recipe.config, out, describe=describe, **options)


def load_detector(path: Path) -> tuple[FaceMaps, dict]:
    """A detector's network from a `.safetensors` file, in evaluation mode, and its metadata.

    Raises `CourseError` where the file is missing, truncated or of another network.
    """
    network = FaceMaps()
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}

    def check(path: Path, metadata: dict, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes != expected:
            raise CourseError(f"{path}: holds weights, but not of flcourse's face detector")

    metadata, state = read_safetensors(path, check)
    network.load_state_dict(state)
    return network.eval(), metadata


class _Exported(nn.Module):
    """What the using wing reads: pixels in, and for every cell the face whose centre is there, in pixels."""

    def __init__(self, network: FaceMaps) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits, dx, dy, log_side = self.network(image.float() / 127.5 - 1).unbind(dim=1)  # (N, h, w) each
        scores = logits.sigmoid()
        highest = F.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0]
        scores = torch.where(scores < highest, 0.0, scores)  # only peaks are faces
        height, width = scores.shape[1:]
        first = (STRIDE - 1) / 2  # the centre of the first cell, px
        x = (torch.arange(width) + dx) * STRIDE + first
        y = (torch.arange(height)[:, None] + dy) * STRIDE + first
        return torch.stack([scores, x, y, log_side.exp() * UNIT], dim=1)


def folded(network: FaceMaps) -> FaceMaps:
    """A copy for use, each batch norm multiplied into the convolution before it: smaller, and as fast as it gets."""
    network = copy.deepcopy(network).eval()
    for layers in network.modules():
        if isinstance(layers, nn.Sequential):
            for i in range(1, len(layers)):
                before, norm = layers[i - 1], layers[i]
                if isinstance(norm, nn.BatchNorm2d):
                    if isinstance(before, SeparableConv2d):
                        before.pointwise = fuse_conv_bn_eval(before.pointwise, norm)
                    elif isinstance(before, nn.Conv2d):
                        layers[i - 1] = fuse_conv_bn_eval(before, norm)
                    layers[i] = nn.Identity()
    return network


def export_detector(network: FaceMaps, metadata: dict, path: Path) -> None:
    """Write the detector as ONNX: `image` (N, 1, H, W) uint8, multiples of 16 -> `faces` (N, 4, H / 8, W / 8).

    For every cell: the score of the face whose centre is in it, 0 where a neighbour's is higher, and that face's centre
    x, y and side in pixels of the image. `metadata` goes into the file's metadata under `flcourse`, as JSON.
    """
    rows, columns = (16 * torch.export.Dim(name, min=1, max=4096) for name in ("rows", "columns"))
    # Two images, because the exporter takes a batch of one for a constant.
    example, shapes = (
        torch.zeros(2, 1, 96, 128, dtype=torch.uint8),
        ({0: torch.export.Dim("images"), 2: rows, 3: columns},),
    )
    write_model(to_onnx(_Exported(folded(network)).eval(), example, "image", ["faces"], shapes), metadata, path)
