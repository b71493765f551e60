"""What augmentation does to a face: a figure, and the controls to explore it with."""

import html
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ipywidgets
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes

from flcourse import metrics
from flcourse.data.augment import NO_AUGMENT, Augment
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import Face
from flcourse.errors import CourseError
from flcourse.face.landmark_network import Network
from flcourse.files import atomic_write, read_bytes
from flcourse.images import to_input
from flcourse.points import from01
from flcourse.show.faces import OUTLINE, show_face
from flcourse.show.plot import Figure
from flcourse.show.widgets import Explorer, make_controls, one_line

LARGE, SMALL = 3.5, 1.14  # inches: before and after; the further samples
SAMPLE_ROWS = 3
TITLE, TITLE_PAD = 11, 5  # typographic points: the titles' size, and how far above the images they stand


def augmentation_figure(
    face: Face,
    augment: Augment,
    seed: int = 0,
    size: int = 112,
    samples: int = 12,
    points: bool = True,
    network: Network | None = None,
) -> Figure:
    """A face's crop before and after augmentation, large, and `samples` further draws of the same settings.

    All come from `FaceDataset.crop`, so they are what training sees, but for grey: crops of `size` x `size` pixels.
    The same `seed` draws the same; `points` shows the 68 points, which must move with the image. With a `network`,
    whose crop size then takes the place of `size`, its NME is written on every crop.
    """
    dataset = FaceDataset([face], network.size if network else size, seed=seed)
    shown = [dataset.crop(0)]  # as no augmentation leaves it
    dataset.augment = augment
    shown += [dataset.crop(0, epoch) for epoch in range(1 + samples)]  # as training goes on: every epoch draws anew
    errors = _errors(network, shown) if network else None
    columns = -(-samples // SAMPLE_ROWS)
    gap, head = 0.12, 0.3  # inches
    width = 2 * LARGE + columns * SMALL + (3 if columns else 2) * gap
    figure = Figure(figsize=(width, LARGE + head))
    height = LARGE + head

    def axes(left: float, bottom: float, side: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, side / width, side / height))

    for number, title in enumerate(("before", "after")):
        ax = axes(gap / 2 + number * (LARGE + gap), 0, LARGE)
        show_face(ax, shown[number][0], shown[number][1] if points else None, LARGE)
        ax.set_title(title if errors is None else f"{title}: NME {errors[number]:.1f} %", fontsize=TITLE, pad=TITLE_PAD)
    side = SMALL - 0.03  # a little space between neighbours
    pitch = (LARGE - side) / (SAMPLE_ROWS - 1)  # so that the last row ends where the large ones do
    left = 2 * LARGE + 2.5 * gap
    for number, (crop, moved) in enumerate(shown[2:]):
        row, column = divmod(number, columns)
        ax = axes(left + column * SMALL, LARGE - row * pitch - side, side)
        show_face(ax, crop, moved if points else None, SMALL)
        if errors is not None:
            edge = [patheffects.withStroke(linewidth=2, foreground=OUTLINE)]
            where = (0.04, 0.04)
            text = f"{errors[number + 2]:.1f}"
            ax.text(*where, text, transform=ax.transAxes, color="white", fontsize=9, path_effects=edge, zorder=5)
    if samples:
        middle, line = (left + columns * SMALL / 2) / width, (LARGE + TITLE_PAD / 72) / height
        text = f"{samples} more draws"
        if errors is not None:
            text += f": mean NME {errors[2:].mean():.1f} %, worst {errors[2:].max():.1f} %"
        figure.text(middle, line, text, fontsize=TITLE, ha="center", va="baseline")
    return figure


def _errors(network: Network, shown: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """A network's NME in percent, (N,), on crops (size, size, 3) with their points (68, 2)."""
    crops, points = zip(*shown, strict=True)
    found = from01(network(np.stack([to_input(crop) for crop in crops]))["points01"], network.size)
    return metrics.nme(found, np.stack(points))


@dataclass(frozen=True)
class Setting:
    """The control of one number of `Augment`: from 0 to `high`, opening at `start`."""

    label: str
    high: float
    step: float
    start: float

    def control(self) -> ipywidgets.FloatSlider:
        decimals = 2 if self.step < 0.1 else (1 if self.step < 1 else 0)
        return ipywidgets.FloatSlider(
            self.start, min=0, max=self.high, step=self.step, readout_format=f".{decimals}f", description=self.label
        )


# Augment's numbers by their names there: "typical" is a standard deviation (two draws of three stay within it), "up to"
# the end of an even range, "chance" a probability (1: always). The opening values are mild, but can be seen.
SETTINGS = {
    "rotation": Setting("rotation: typical, °", 45, 1, 10),
    "scale": Setting("scale: typical, of the size", 0.5, 0.01, 0.08),
    "offset": Setting("offset: typical, of the box", 0.3, 0.01, 0.04),
    "random_crop": Setting("random_crop: up to, cut away", 0.5, 0.01, 0.0),
    "mirror": Setting("mirror: chance", 1, 0.05, 0.5),
    "brightness": Setting("brightness: up to ±", 1, 0.05, 0.25),
    "contrast": Setting("contrast: up to ±", 1, 0.05, 0.25),
    "saturation": Setting("saturation: up to ±", 1, 0.05, 0.25),
    "hue": Setting("hue: up to ±, of the circle", 0.5, 0.01, 0.02),
    "blur": Setting("blur: chance", 1, 0.05, 0.2),
    "noise": Setting("noise: up to, of 255 levels", 40, 1, 6),
    "occlusion": Setting("occlusion: chance of a patch", 1, 0.05, 0.2),
    "shut_eyes": Setting("shut_eyes: chance", 1, 0.05, 0.0),
    "dark": Setting("dark: chance of little light", 1, 0.05, 0.0),
}
SEEDS = 100  # throws of the dice to choose from


def augment_code(augment: Augment) -> str:
    """The settings as the code that makes them; what is zero is left out."""
    given = ", ".join(f"{name}={value:g}" for name, value in asdict(augment).items() if value)
    return f"Augment({given})"


def kept_augment(path: str | os.PathLike, otherwise: Augment) -> Augment:
    """The settings that an `AugmentExplorer` kept in a file; `otherwise` where there is none.

    Raises `CourseError` where the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        return otherwise
    try:
        return Augment(
            **{name: float(value) for name, value in json.loads(read_bytes(path, "settings", 10_000)).items()}
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise CourseError(f"{path}: not the settings of an Augment; delete it, or keep others in notebook 4") from error


class AugmentExplorer(Explorer):
    """Controls for every setting of `Augment`, the face, the seed and the points, and `augmentation_figure` of them.

    `augment` are the settings as they are now, shown as code too. *Reset* brings the opening ones back, *Keep* writes
    them to the file `keep`, from which `kept_augment` reads them; without `keep` there is no such button.
    """

    def __init__(self, faces: Sequence[Face], network: Network | None = None, keep: Path | None = None) -> None:
        faces = list(faces)
        if not faces:
            raise ValueError("no face to augment, expected at least one")

        def figure(face: int, seed: int, points: bool, **settings: float) -> Figure:
            return augmentation_figure(faces[face], Augment(**settings), seed, points=points, network=network)

        names = [(f"{number}: {face.path.name}", number) for number, face in enumerate(faces)]
        controls = make_controls(
            figure,
            **{name: setting.control() for name, setting in SETTINGS.items()},
            face=ipywidgets.Dropdown(options=names, description="face"),
            seed=ipywidgets.IntSlider(0, min=0, max=SEEDS - 1, description="seed: another draw"),
            points=ipywidgets.Checkbox(True, description="show the 68 points"),
        )
        super().__init__(figure, controls)
        self.keep = keep
        self._start = {name: control.value for name, control in controls.items()}
        self.code = ipywidgets.HTML()
        reset = ipywidgets.Button(description="Reset", icon="undo", tooltip="the settings it opened with")
        reset.on_click(lambda button: self.reset())
        nothing = ipywidgets.Button(description="All to 0", tooltip="no augmentation")
        nothing.on_click(lambda button: self.set(NO_AUGMENT))
        self.buttons = ipywidgets.HBox([reset, nothing])
        if keep:
            store = ipywidgets.Button(description="Keep for notebook 5", icon="save", tooltip=f"writes {keep.name}")
            store.layout.width = "auto"
            store.on_click(lambda button: self.store())
            self.buttons.children = (*self.buttons.children, store)
        # Seventeen controls in one column would push the image off the screen: as many columns as there is room for.
        for control in controls.values():
            control.layout.width = "min(calc(100% - 4px), 32em)"
            control.style.description_width = "min(15em, 50%)"
        self.layout = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        for line in (self.buttons, self.code, self.status):
            line.layout.width = "calc(100% - 8px)"
        self.status.layout.min_height = "24px"
        self.children = (*controls.values(), self.buttons, self.code, self.status, self.image, self._note)
        self._tell()

    @property
    def augment(self) -> Augment:
        """The settings as they are now."""
        return Augment(**{name: self.controls[name].value for name in SETTINGS})

    def set(self, augment: Augment) -> None:
        """Move the controls to these settings."""
        self._move(asdict(augment))

    def reset(self) -> None:
        """Move all controls to where they opened."""
        self._move(self._start)

    def store(self) -> None:
        """Write the settings to `keep`, for notebook 5."""
        if self.keep:
            try:
                self.keep.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self.keep, json.dumps(asdict(self.augment), indent=1) + "\n")
                said = f"kept in {self.keep.name}: the lab of notebook 5 now trains with it"
            except (OSError, CourseError) as error:
                said = one_line(error)
            self._tell(said=said)

    def _update(self, _change: object = None) -> None:
        self._tell()  # first: on a busy machine drawing takes seconds
        super()._update(_change)

    def _move(self, values: dict) -> None:
        for name, value in values.items():  # one drawing for all of them, not one for each
            self.controls[name].unobserve(self._update, "value")
            self.controls[name].value = value
            self.controls[name].observe(self._update, "value")
        self._update()

    def _tell(self, said: str = "") -> None:
        self.code.value = f"<code>{html.escape(augment_code(self.augment))}</code> <em>{html.escape(said)}</em>"


def explore_augmentation(
    faces: Sequence[Face], network: Network | None = None, keep: Path | None = None
) -> AugmentExplorer:
    """An `AugmentExplorer` of these faces, with the NME of `network` on every draw."""
    return AugmentExplorer(faces, network, keep)
