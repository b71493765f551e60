"""How the course trains: classification; the landmark recipes, original and ours, their losses; networks on disk."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from flcourse import metrics
from flcourse.data.augment import Augment
from flcourse.data.ibug import Face, FaceDataset, split_faces
from flcourse.errors import CourseError
from flcourse.nets import (
    HeatmapHead,
    Landmarks,
    Xception,
    cell_centres,
    with_middle_blocks,
)
from flcourse.points import CROP_SCALE, OUTER_EYE_CORNERS
from flcourse.train import Config, Device, Task, fit, read_checkpoint


def classification(label_smoothing: float = 0.0) -> Task:
    """Logits (N, classes) and class indices (N,): cross-entropy, and accuracy in percent, which picks the checkpoint.

    `label_smoothing` is the part of the truth that is spread over all classes (Szegedy et al., CVPR 2016).
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    def measures(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"accuracy": 100 * (logits.argmax(dim=1) == labels).float()}

    return Task(loss, measures, best="accuracy", higher_is_better=True)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a landmark training computes, besides the faces."""

    size: int  # of the crop, px
    width: float  # of the network
    head: str
    loss: str  # a key of `LOSSES`
    config: Config
    augment: Augment
    middle_blocks: int = 8  # of the network; the paper's eight
    val_fraction: float = 0.1  # of the photographs, held out of the training file to pick the best checkpoint

    def __post_init__(self) -> None:
        if self.size < 32 or (self.head == "heatmap" and self.size % 16):
            raise CourseError(f"size={self.size}, expected at least 32 and, for heatmaps, a multiple of 16")
        if self.width <= 0:
            raise CourseError(f"width={self.width}, expected a positive number")

    def network(self) -> Xception:
        """A network with random weights drawn from the recipe's seed."""
        torch.manual_seed(self.config.seed)
        return Xception(width=self.width, head=self.head, middle_blocks=self.middle_blocks)

    def task(self) -> Task:
        """What its network learns: points, by the recipe's loss; the best checkpoint has the least NME."""
        return Task(LOSSES[self.loss], measure_points, best="nme", higher_is_better=False)

    def describe(self) -> dict:
        """The recipe as plain nested values, as checkpoints store it."""
        return asdict(self)


RECIPES = {
    # The original project's training (its FLD_Main_Sameer.py): 299 px, full width, pooling, MSE, Adam 7.5e-4, batch 32,
    # 30 epochs, colour jitter only; its archive holds a mirrored copy of every face. Ours differs in taking grey crops
    # by this package's geometry, and in one linear layer where the original has three.
    "original": Recipe(
        size=299,
        width=1.0,
        head="regression",
        loss="mse",
        config=Config(epochs=30, batch_size=32, optimizer="adam", lr=7.5e-4),
        augment=Augment(mirror=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
    ),
    # What landmarks need, for a laptop: a head that keeps places, L1-like loss, wide augmentation, schedule, average.
    "course": Recipe(
        size=112,
        width=0.5,
        head="heatmap",
        loss="heatmap",
        config=Config(
            epochs=80, batch_size=32, optimizer="adamw", lr=1.5e-3, weight_decay=0.01, schedule="one_cycle", ema=0.998
        ),
        augment=Augment(
            rotation=18,
            scale=0.1,
            offset=0.05,
            mirror=0.5,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            blur=0.2,
            noise=8,
            occlusion=0.3,
        ),
    ),
}
# The course recipe's last stretch, for weights that it has trained: milder augmentation and a lower rate, so that what
# the network sees at the end is like what it will be used on.
RECIPES["finish"] = replace(
    RECIPES["course"],
    config=replace(RECIPES["course"].config, epochs=36, lr=4e-4),
    augment=replace(
        RECIPES["course"].augment, rotation=12, scale=0.08, saturation=0.0, blur=0.1, noise=4, occlusion=0.15
    ),
)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `CourseError` listing the names there are."""
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def ablation(width: float, epochs: int) -> dict[str, Recipe]:
    """The way from the original recipe to the course's, one change a row, all at the course's crop: name -> recipe."""
    original, course = RECIPES["original"], RECIPES["course"]
    recipe = replace(original, size=course.size, width=width, config=replace(original.config, epochs=epochs))
    changes = {
        "original": {},
        "maps and soft-argmax instead of pooling": {"head": course.head},
        "smooth L1 instead of MSE": {"loss": "smooth_l1"},
        "every map drawn to one peak": {"loss": course.loss},
        "rotation, scale, offset, blur, noise, patches": {"augment": course.augment},
        "AdamW, one cycle, average of weights": {"config": replace(course.config, epochs=epochs)},
    }
    rows = {}
    for name, change in changes.items():
        recipe = rows[name] = replace(recipe, **change)
    return rows


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
MAP_WEIGHT = 0.02  # brings the maps' term to the size of the points' (about 0.01 each, late in training)


def heatmap_loss(output: Landmarks, points01: Tensor) -> Tensor:
    """Smooth L1 of the points, plus the divergence of each map from a Gaussian about the true point.

    The second term is Nibali et al.'s regulariser (2018), with Kullback-Leibler instead of Jensen-Shannon: it keeps
    every map one sharp peak, whose width tells how sure the network is (`nets.confidence`). Points beyond the maps have
    only the first term.
    """
    ring = HeatmapHead.RING
    height, width = output.logits.shape[2:]

    def gaussian(cells: int, centre01: Tensor) -> Tensor:  # (N, 68) -> (N, 68, cells), sums to 1
        offset = (cell_centres(cells, ring, centre01) - centre01[..., None]) * (cells - 2 * ring)
        return (-(offset**2) / (2 * MAP_SIGMA**2)).softmax(dim=2)

    x, y = points01.unbind(dim=2)
    target = gaussian(height, y)[..., :, None] * gaussian(width, x)[..., None, :]  # (N, 68, h, w)
    reach = ring / (width - 2 * ring)
    inside = ((points01 > -reach) & (points01 < 1 + reach)).all(dim=2)  # (N, 68)
    log_probabilities = output.logits.flatten(2).log_softmax(dim=2)
    divergence = F.kl_div(log_probabilities, target.flatten(2), reduction="none").sum(dim=2)  # (N, 68)
    return smooth_l1_loss(output, points01) + MAP_WEIGHT * (divergence * inside).mean()


LOSSES: dict[str, Callable[[Landmarks, Tensor], Tensor]] = {
    "mse": mse_loss,
    "smooth_l1": smooth_l1_loss,
    "wing": wing_loss,
    "heatmap": heatmap_loss,
}


@torch.no_grad()
def measure_points(output: Landmarks, points01: Tensor) -> dict[str, Tensor]:
    """NME (percent of the eye distance) and points within the original's radius (percent) of each crop, (N,)."""
    distances = (output.points01 - points01).norm(dim=2)  # (N, 68), in parts of the crop
    right, left = OUTER_EYE_CORNERS
    eyes = (points01[:, right] - points01[:, left]).norm(dim=1)
    # The crop is CROP_SCALE boxes wide; see metrics.within_radius. Exact where the crop was not rescaled at random.
    radius = metrics.RADIUS / metrics.RADIUS_PICTURE * metrics.RADIUS_BOX / CROP_SCALE
    return {"nme": 100 * distances.mean(dim=1) / eyes, "accuracy": 100 * (distances <= radius).float().mean(dim=1)}


def train_landmarks(
    faces: list[Face],
    recipe: Recipe,
    out: Path,
    *,
    start: nn.Module | None = None,
    device: Device | None = None,
    progress: bool = True,
    **options: object,
) -> tuple[Xception, list[dict]]:
    """Train a landmark network on `faces` by a recipe, a part of them held out; see `train.fit` for what is written.

    `start` gives the first weights instead of random ones; where it has more middle blocks than the recipe, some of
    them are left out. `options` go to `fit` (`resume`, `workers`, `stop`, ...).
    Returns the network with its last weights and the history. Raises `CourseError` where `start` is of another shape.
    """
    train_faces, val_faces = split_faces(faces, recipe.val_fraction, recipe.config.seed)
    show = progress and (device is None or device.rank == 0)
    train_set = FaceDataset(train_faces, recipe.size, recipe.augment, recipe.config.seed, progress=show)
    val_set = FaceDataset(val_faces, recipe.size, progress=show)
    model = recipe.network()
    if start is not None:
        try:
            model.load_state_dict(with_middle_blocks(start.state_dict(), recipe.middle_blocks))
        except RuntimeError as error:
            raise CourseError(
                f"the first weights are not of this network, expected width={recipe.width}, head={recipe.head!r} "
                f"and at least {recipe.middle_blocks} middle blocks"
            ) from error
    describe = {"recipe": recipe.describe(), "faces": [len(train_faces), len(val_faces)]}
    history = fit(
        model,
        recipe.task(),
        train_set,
        val_set,
        recipe.config,
        out,
        describe=describe,
        device=device,
        progress=show,
        **options,
    )
    return model, history


def load_network(path: str | os.PathLike) -> tuple[Xception, dict]:
    """A landmark network from a `.safetensors` file or a training's `last.pt`, in evaluation mode, and its metadata.

    Weights stored in half precision are cast to float32. From a `last.pt` the moving average is taken where there is
    one. Raises `CourseError` where the file is missing, truncated, a pickle of something else, or of another shape.
    """
    path = Path(path)
    if path.suffix == ".pt":
        checkpoint = read_checkpoint(path)
        metadata = checkpoint["describe"]
        state = checkpoint["model"]
        if checkpoint["ema"]:
            prefix = "module."
            state = {k.removeprefix(prefix): v for k, v in checkpoint["ema"].items() if k.startswith(prefix)}
    else:
        metadata, state = _read_safetensors(path)
    try:
        recipe = metadata["recipe"]
        blocks = int(recipe.get("middle_blocks", 8))  # weights from before this could be chosen do not say
        network = Xception(width=float(recipe["width"]), head=recipe["head"], middle_blocks=blocks)
    except (KeyError, TypeError, ValueError) as error:
        raise CourseError(f"{path}: holds weights, but not of one of flcourse's landmark networks") from error
    try:
        network.load_state_dict(state)  # copies into float32
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CourseError(f"{path}: the weights are of another shape than Xception's ({first})") from error
    return network.eval(), metadata


def _read_safetensors(path: Path) -> tuple[dict, dict[str, Tensor]]:
    if not path.is_file():
        raise CourseError(f"{path}: no such file, expected weights (.safetensors, .pt or .onnx)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("flcourse", "{}"))
            return metadata, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CourseError(f"{path}: truncated, or not a safetensors file; not loaded") from error
