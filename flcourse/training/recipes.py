"""How the course trains: classification; the landmark recipes, original and ours, their losses; networks on disk."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

import torch
from torch import nn

from flcourse.data.augment import Augment
from flcourse.data.epoch_dataset import Mixed, Repeated
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import Face, fingerprint, split_faces
from flcourse.errors import CourseError
from flcourse.training.checkpoints import NETWORK_OPTIONS
from flcourse.training.config import Config
from flcourse.training.devices import Device
from flcourse.training.loop import FitOptions, fit
from flcourse.training.losses import LOSSES, Task, measure_points
from flcourse.training.warm_start import with_exit_convolutions, with_middle_blocks, with_refiner, with_stem_stride
from flcourse.training.xception import Xception


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a landmark training computes, besides the faces."""

    size: int  # of the crop, px
    width: float  # of the network
    head: str
    loss: str  # a key of `LOSSES`
    config: Config
    augment: Augment
    middle_blocks: int = 8  # of the network, as are the next three; the paper's eight
    stem_stride: int = 2
    exit_convolutions: int = 2
    refine: bool = False
    val_fraction: float = 0.1  # of the photographs, held out of the training file to pick the best checkpoint
    draws: int = 0  # of faces in an epoch at least: fewer faces come several times, varied anew each time
    start: str | None = None  # the shipped weights to begin with, instead of random ones
    still_size: int | None = None  # of the crop, px, in every second epoch, and then of still images in use

    def __post_init__(self) -> None:
        stride = 8 * self.stem_stride
        for name, size in (("size", self.size), ("still_size", self.still_size or self.size)):
            if size < 2 * stride or (self.head == "heatmap" and size % stride):
                raise CourseError(
                    f"{name}={size}, expected at least {2 * stride} and, for heatmaps, a multiple of {stride}"
                )
        if self.width <= 0:
            raise CourseError(f"width={self.width}, expected a positive number")

    def network(self) -> Xception:
        """A network with random weights drawn from the recipe's seed."""
        torch.manual_seed(self.config.seed)
        options = {name: getattr(self, name) for name in NETWORK_OPTIONS}
        return Xception(width=self.width, head=self.head, **options)

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


# For detail in the time of the course's 112 px: 224 px and a second look at every point, paid for by a coarser stem,
# fewer middle blocks and a shorter exit; to be begun with weights of the course's recipes. Eyes are closed on every
# third photograph. Every second epoch has 320 px, for still images, which can wait for twice as many milliseconds.
RECIPES["detail"] = replace(
    RECIPES["course"],
    size=224,
    still_size=320,
    loss="lids",
    middle_blocks=3,
    stem_stride=4,
    exit_convolutions=1,
    refine=True,
    config=replace(RECIPES["course"].config, epochs=36, lr=8e-4, ema=0.995),
    augment=replace(
        RECIPES["course"].augment,
        rotation=15,
        scale=0.09,
        saturation=0.0,
        blur=0.1,
        noise=4,
        occlusion=0.25,
        shut_eyes=0.3,
        dark=0.1,
    ),
)


# For 3 to 100 faces unlike the usual ones: the shipped weights, moved a little. So few are a batch or two; drawn many
# times over, each time turned, shifted, covered and lit anew, they are enough to move it by. Negatives of photographs,
# on 100 others (held-out faces of iBUG's training file, one view, three minutes each on a busy core): NME 7.56, with 3
# faces 6.75, with 10 6.05, with 30 5.50 (begun with the weights that shipped before these). Faces that the network
# knows well gain nothing. Compare before you keep it.
RECIPES["few"] = replace(
    RECIPES["detail"],
    config=replace(RECIPES["detail"].config, epochs=5, batch_size=16, lr=2e-4, ema=0.95),
    draws=160,
    start="xception",
    still_size=None,  # an epoch of so few draws is a few batches: too few for two sizes
)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `CourseError` listing the names there are."""
    if name not in RECIPES:
        raise CourseError(f"unknown recipe {name!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def describe_training(faces: Sequence[Face], recipe: Recipe, also: Sequence[tuple[Sequence[Face], float]] = ()) -> dict:
    """What a checkpoint of `train_landmarks` says of its training: "config", and "describe" of recipe and faces."""
    train_faces, val_faces = split_faces(faces, recipe.val_fraction, recipe.config.seed)
    describe = {
        "recipe": recipe.describe(),
        "faces": [len(train_faces), len(val_faces)],
        "held_out": fingerprint(val_faces),  # for calibration, which must not take others
    }
    if also:
        describe["also"] = [[len(faces), share] for faces, share in also]
    return {"config": asdict(recipe.config), "describe": describe}


def train_landmarks(
    faces: list[Face],
    recipe: Recipe,
    out: Path,
    *,
    start: nn.Module | None = None,
    also: Sequence[tuple[Sequence[Face], float]] = (),
    device: Device | None = None,
    progress: bool = True,
    **options: Unpack[FitOptions],
) -> tuple[Xception, list[dict]]:
    """Train a landmark network on `faces` by a recipe, a part of them held out; see `loop.fit` for what is written.

    `start` gives the first weights instead of random ones; where it has more middle blocks than the recipe, some of
    them are left out; a finer stem, a longer exit flow and a refiner are fitted to the recipe's. `also` are further
    faces to train on, none of which is held out, each set with the share of every epoch that it makes up: drawn faces,
    or such whose points are less sure. `options` go to `fit` (`resume`, `workers`, `stop`, ...).
    Returns the network with its last weights and the history. Raises `CourseError` where `start` is of another shape.
    """
    train_faces, val_faces = split_faces(faces, recipe.val_fraction, recipe.config.seed)
    show = progress and (device is None or device.rank == 0)
    seed = recipe.config.seed
    train_set = FaceDataset(train_faces, recipe.size, recipe.augment, seed, show, recipe.still_size)
    if also:
        others = [FaceDataset(faces, recipe.size, recipe.augment, seed, show, recipe.still_size) for faces, _ in also]
        train_set = Mixed(train_set, others, [share for _, share in also], seed)
    val_set = FaceDataset(val_faces, recipe.size, progress=show)
    times = -(-recipe.draws // len(train_faces))
    model = recipe.network()
    if start is not None:
        try:
            weights = with_middle_blocks(start.state_dict(), recipe.middle_blocks)
            weights = with_stem_stride(weights, recipe.stem_stride)
            weights = with_refiner(with_exit_convolutions(weights, model), model)
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise CourseError(
                f"the first weights are not of this network, expected width={recipe.width}, head={recipe.head!r} "
                f"and at least {recipe.middle_blocks} middle blocks"
            ) from error
    describe = describe_training(faces, recipe, also)["describe"]
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
