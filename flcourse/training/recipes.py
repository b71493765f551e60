"""How the course trains: classification; the landmark recipes, original and ours, their losses; networks on disk."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

import torch
from torch import nn

from flcourse.data.augment import Augment
from flcourse.data.epoch_dataset import Repeated
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import Face, fingerprint, split_faces
from flcourse.errors import CourseError
from flcourse.training.config import Config
from flcourse.training.devices import Device
from flcourse.training.loop import FitOptions, fit
from flcourse.training.losses import LOSSES, Task, measure_points
from flcourse.training.nets import Xception, with_middle_blocks


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
    draws: int = 0  # of faces in an epoch at least: fewer faces come several times, varied anew each time
    start: str | None = None  # the shipped weights to begin with, instead of random ones

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


# For 3 to 100 faces unlike the usual ones: the shipped weights, moved a little. So few are a batch or two; drawn many
# times over, each time turned, shifted, covered and lit anew, they are enough to move it by. Faces that the shipped
# network knows well gain nothing: on three people of CFP (points of a teacher that is half our own network) the mean
# error on four other images each went from 1.02 % to 1.07 % with 3 faces, to 1.03 % with 6. Compare before you keep it.
RECIPES["few"] = replace(
    RECIPES["course"],
    middle_blocks=4,  # the shipped network's
    config=replace(RECIPES["course"].config, epochs=5, batch_size=16, lr=2e-4, ema=0.95),
    draws=160,
    start="xception",
)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `CourseError` listing the names there are."""
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def train_landmarks(
    faces: list[Face],
    recipe: Recipe,
    out: Path,
    *,
    start: nn.Module | None = None,
    device: Device | None = None,
    progress: bool = True,
    **options: Unpack[FitOptions],
) -> tuple[Xception, list[dict]]:
    """Train a landmark network on `faces` by a recipe, a part of them held out; see `loop.fit` for what is written.

    `start` gives the first weights instead of random ones; where it has more middle blocks than the recipe, some of
    them are left out. `options` go to `fit` (`resume`, `workers`, `stop`, ...).
    Returns the network with its last weights and the history. Raises `CourseError` where `start` is of another shape.
    """
    train_faces, val_faces = split_faces(faces, recipe.val_fraction, recipe.config.seed)
    show = progress and (device is None or device.rank == 0)
    train_set = FaceDataset(train_faces, recipe.size, recipe.augment, recipe.config.seed, progress=show)
    val_set = FaceDataset(val_faces, recipe.size, progress=show)
    times = -(-recipe.draws // len(train_faces))
    model = recipe.network()
    if start is not None:
        try:
            model.load_state_dict(with_middle_blocks(start.state_dict(), recipe.middle_blocks))
        except RuntimeError as error:
            raise CourseError(
                f"the first weights are not of this network, expected width={recipe.width}, head={recipe.head!r} "
                f"and at least {recipe.middle_blocks} middle blocks"
            ) from error
    describe = {
        "recipe": recipe.describe(),
        "faces": [len(train_faces), len(val_faces)],
        "held_out": fingerprint(val_faces),  # for calibration, which must not take others
    }
    history = fit(
        model,
        recipe.task(),
        Repeated(train_set, times) if times > 1 else train_set,
        val_set,
        recipe.config,
        out,
        describe=describe,
        device=device,
        progress=show,
        **options,
    )
    return model, history
