"""Train and measure what notebook 05 states, on the real iBUG 300-W set (for contributors).

    .venv/bin/python tools/measure.py --list
    .venv/bin/python tools/measure.py course_15 original_15 ...

Every training goes to RUNS/NAME and can be interrupted and called again; what was measured goes to
`flcourse/weights/measured.json`: numbers only, no image. Only the experiments whose figures are stated for the test
faces look at them, once, after training; every choice is made on training faces that were held out.
"""

import argparse
import json
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import flcourse.weights
from flcourse import metrics
from flcourse.apps.evaluation import predict
from flcourse.data.datasets import fetch_drawn_faces
from flcourse.data.drawn_faces import draw_face, write_drawn_faces
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import IBUG_TEST, IBUG_TRAIN, Face, read_imglab, split_faces
from flcourse.errors import CourseError
from flcourse.face.landmarker import FaceLandmarks
from flcourse.files import atomic_write, download_folder, find_file
from flcourse.images import write_image
from flcourse.points import N_POINTS, PARTS, apply, crop_matrix, tight_box
from flcourse.training.checkpoints import load_network
from flcourse.training.devices import Device, choose_device
from flcourse.training.losses import measure_points
from flcourse.training.recipes import RECIPES, Recipe, train_landmarks

MEASURED = Path(flcourse.weights.__file__).parent / "measured.json"
ABLATION = {"width": 0.25, "epochs": 10}  # small, so that a row takes five minutes
DRAWN_FACES = 6_000
LIGHT = 0.375  # width of the network that drawn faces train: it ships in less than 8 MB
FINE_EPOCHS = 13
FINE_FACES, FINE_PX = 12_000, 320  # drawn larger, for networks of 256 px: the box is half as wide as the image
FEW = 200  # real faces, for the worth of drawn ones


def real(xml: str) -> Path:
    """A labels file of iBUG's."""
    path = find_file(xml)
    if path is None:
        raise CourseError(f"{xml}: not in a data folder; fetch it with flcourse data ibug")
    return path


def real_faces() -> list[Face]:
    """The training faces."""
    return read_imglab(real(IBUG_TRAIN))


def few_faces() -> list[Face]:
    """`FEW` of the training faces, always the same."""
    return random.Random(0).sample(real_faces(), FEW)


def drawn_faces() -> list[Face]:
    """`DRAWN_FACES` faces that the course draws itself."""
    return read_imglab(fetch_drawn_faces(DRAWN_FACES))


def fine_drawn_faces() -> list[Face]:
    """`FINE_FACES` drawn faces of twice the usual detail."""
    folder = download_folder() / f"drawn_faces_{FINE_FACES}_{FINE_PX}px"
    labels = folder / "labels_drawn_train.xml"  # written last
    return read_imglab(labels if labels.exists() else write_drawn_faces(folder, FINE_FACES, size=FINE_PX))


def recipe(name: str, epochs: int, **changes: object) -> Recipe:
    """A recipe of that many epochs, at the size that laptops can train."""
    found = RECIPES[name]
    settings = {"size": 112, "width": 0.5, "config": replace(found.config, epochs=epochs)} | changes
    return replace(found, **settings)


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


@dataclass(frozen=True)
class Experiment:
    """One training, and where it is measured."""

    about: str
    recipe: Recipe
    faces: Callable[[], list[Face]] = real_faces
    start: str = ""  # the experiment whose best weights it begins with
    test: bool = False  # evaluated on the test faces, file boxes, once


EXPERIMENTS = {
    "course_15": Experiment("course recipe, 20 epochs", recipe("course", 20), test=True),
    "course_40": Experiment("course recipe, 50 epochs", recipe("course", 50), test=True),
    "original_15": Experiment("original recipe at 112 px and half width, 20 epochs", recipe("original", 20), test=True),
    **{f"ablation_{i}": Experiment(name, row) for i, (name, row) in enumerate(ablation(**ABLATION).items())},
    "ablation_wing": Experiment(
        "Wing loss instead of smooth L1", replace(ablation(**ABLATION)["smooth L1 instead of MSE"], loss="wing")
    ),
    "drawn": Experiment("drawn faces only", recipe("course", 10, width=LIGHT), faces=drawn_faces, test=True),
    "drawn_fine": Experiment(
        "drawn faces only, in detail",
        recipe(
            "detail",
            FINE_EPOCHS,
            size=256,
            width=LIGHT,
            still_size=None,
            refine=False,  # what ships got its refiner afterwards, everything else as it was: see the model card
            config=replace(RECIPES["course"].config, epochs=FINE_EPOCHS),
            augment=replace(RECIPES["course"].augment, shut_eyes=0.2, dark=0.1),
        ),
        faces=fine_drawn_faces,
        test=True,
    ),
    "few": Experiment(f"{FEW} real faces only", recipe("course", 60, width=LIGHT), faces=few_faces, test=True),
    "drawn_few": Experiment(
        f"drawn faces, then {FEW} real ones",
        recipe("course", 60, width=LIGHT),
        faces=few_faces,
        start="drawn",
        test=True,
    ),
}


def figures(weights: str, boxes: str = "file") -> dict:
    """NME and more of a network on the test faces."""
    return summarise(*predict(real(IBUG_TEST), weights, boxes, tta=1))


def summarise(faces: Sequence[Face], found: Sequence[FaceLandmarks], how: dict) -> dict:
    """What `predict` gave, as figures, with every face's NME and every part's mean error."""
    predicted = np.stack([landmarks.points for landmarks in found])
    true = np.stack([face.points for face in faces])
    summary = metrics.summary(predicted, true, [face.box for face in faces])
    distances = np.linalg.norm(predicted - true, axis=2) / metrics.eye_distance(true)[:, None]  # (N, 68)
    return {
        "faces": how["faces"],
        "missed": how["missed"],
        "boxes": how["boxes"],
        **{name: round(value, 3) for name, value in summary.items()},
        "parts": {name: round(100 * float(distances[:, list(part)].mean()), 2) for name, part in PARTS.items()},
        "errors": [round(float(value), 2) for value in np.sort(metrics.nme(predicted, true))],
    }


def mean_shape_error() -> float:
    """The NME on held-out faces of one shape for all, placed by the box: what a network must at least beat."""
    train_faces, val_faces = split_faces(real_faces(), 0.1)
    crops = [np.stack([apply(f.points, crop_matrix(f.box, 112)) for f in part]) for part in (train_faces, val_faces)]
    return float(metrics.nme(np.broadcast_to(crops[0].mean(axis=0), (len(val_faces), N_POINTS, 2)), crops[1]).mean())


def set_figures() -> dict:
    """What notebook 04 says of the training faces as a set: shapes, and how the boxes lie to tight ones."""
    faces = real_faces()
    shapes = np.stack([_upright(face.points) for face in faces]).astype(float)  # (N, 68, 2)
    mean = shapes.mean(axis=0)
    singular = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), compute_uv=False)
    tight = [tight_box(face.points) for face in faces]
    shifts = [np.subtract(f.box.centre, t.centre) / t.side for f, t in zip(faces, tight, strict=True)]
    ratio = [f.box.side / t.side for f, t in zip(faces, tight, strict=True)]
    boxes = {"right": [s[0] for s in shifts], "down": [s[1] for s in shifts], "size": ratio}
    return {
        "faces": len(faces),
        "photographs": len({face.photo for face in faces}),
        "mean_shape_aligned": round(float(metrics.nme(np.broadcast_to(mean, shapes.shape), shapes).mean()), 2),
        "modes": [round(100 * float(part), 1) for part in (singular**2 / (singular**2).sum())[:6]],
        "boxes": {name: _histogram(np.array(values)) for name, values in boxes.items()},
    }


def _upright(points: np.ndarray) -> np.ndarray:
    """Points (68, 2) without place, size and tilt, as notebook 04 aligns them."""
    centred = points - points.mean(axis=0)
    cos, sin = (points[45] - points[36]) / np.linalg.norm(points[45] - points[36])
    return centred @ np.array([[cos, -sin], [sin, cos]]) / np.sqrt((centred**2).sum() / N_POINTS)


def _histogram(values: np.ndarray, bins: int = 40) -> dict:
    counts, edges = np.histogram(values, bins)
    return {
        "mean": round(float(values.mean()), 3),
        "deviation": round(float(values.std()), 3),
        "counts": counts.tolist(),
        "edges": [round(float(edge), 4) for edge in edges],
    }


POSES = {  # the yaws of a training set, degrees: see `DrawnFace.yaw`
    "all": lambda rng: rng.normal(0, 19),
    "front": lambda rng: rng.normal(0, 4),
    "one side": lambda rng: -abs(rng.normal(0, 19)),
}
POSE_FACES, POSE_TEST = 400, 300
POSE_EDGES = (-45, -25, -8, 8, 25, 45)


def pose_figures() -> dict:
    """NME by yaw of one small network trained on three sets of drawn faces, which differ in their poses only."""
    small = recipe("course", 25, size=64, width=0.25)
    small = replace(small, augment=replace(small.augment, mirror=0.0, occlusion=0.0))
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        yaws = rng.uniform(POSE_EDGES[0], POSE_EDGES[-1], POSE_TEST)
        test = FaceDataset(_drawn_with(Path(folder) / "test", 1_000_000, yaws.tolist()), small.size)
        inputs, true = (torch.stack(part) for part in zip(*(test[i] for i in range(len(test))), strict=True))
        bins = np.digitize(yaws, POSE_EDGES[1:-1])
        table = {}
        for name, pose in POSES.items():
            drawn = [float(np.clip(pose(rng), POSE_EDGES[0], POSE_EDGES[-1])) for _ in range(POSE_FACES)]
            faces = _drawn_with(Path(folder) / name, 2_000_000, drawn)  # the same people each time
            network, _ = train_landmarks(faces, small, Path(folder) / f"run {name}", progress=False)
            network.eval()
            with torch.inference_mode():
                nme = measure_points(network(inputs), true)["nme"].numpy()
            table[name] = [round(float(nme[bins == k].mean()), 1) for k in range(len(POSE_EDGES) - 1)]
    return {"edges": list(POSE_EDGES), "nme": table, "training_faces": POSE_FACES, "test_faces": POSE_TEST}


def _drawn_with(folder: Path, seed: int, yaws: Sequence[float]) -> list[Face]:
    """Drawn faces turned by these yaws, as files."""
    faces = []
    for number, yaw in enumerate(yaws):
        drawn = draw_face(seed + number, yaw=float(yaw))
        write_image(folder / f"{number}.png", drawn.image)
        faces.append(Face(folder / f"{number}.png", f"{number}.png", drawn.box, drawn.points.astype(np.float32)))
    return faces


OTHERS: dict[str, tuple[str, Callable[[], object]]] = {
    "mean_shape": ("one shape for all faces", lambda: round(mean_shape_error(), 2)),
    "set": ("shapes and boxes of the training faces", set_figures),
    "poses": ("small networks trained on biased sets of drawn faces, by yaw", pose_figures),
}


def run(name: str, runs: Path, device: Device) -> dict:
    """Train (or go on with) one experiment and return what is to be recorded."""
    experiment = EXPERIMENTS[name]
    out = runs / name
    start = load_network(runs / experiment.start / "best.safetensors")[0] if experiment.start else None
    faces = experiment.faces()
    resume = (out / "last.pt").exists()
    _, history = train_landmarks(faces, experiment.recipe, out, start=start, device=device, resume=resume)
    if len(history) < experiment.recipe.config.epochs:
        raise CourseError(f"{name}: stopped after {len(history)} epochs; call again to go on")
    best = min(history, key=lambda row: row["val_nme"])
    minutes = np.cumsum([row["seconds"] for row in history]) / 60
    record = {
        "about": experiment.about,
        "recipe": experiment.recipe.describe(),
        "training_faces": len(faces),
        "threads": torch.get_num_threads(),
        "minutes": round(float(minutes[-1]), 1),
        "val_nme": round(best["val_nme"], 2),
        "history": {
            "minutes": minutes.round(2).tolist(),
            **{
                column: [float(f"{row[column]:.4g}") for row in history]
                for column in ("train_loss", "val_loss", "train_nme", "val_nme", "train_accuracy", "val_accuracy")
            },
        },
    }
    if experiment.test:
        record["test"] = figures(str(out / "best.safetensors"))
    return record


def main() -> None:
    """Run the experiments named on the command line, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--runs", type=Path, default=Path("runs/measured"), metavar="DIR", help="where trainings go")
    parser.add_argument("--json", type=Path, default=MEASURED, metavar="FILE", help=f"default: {MEASURED.name}")
    args = parser.parse_args()
    if args.list or not args.names:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:14} {experiment.about}")
        for name, (about, _) in OTHERS.items():
            print(f"{name:14} {about}")
        return
    if unknown := set(args.names) - {*EXPERIMENTS, *OTHERS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; --list says what there is")
    for name in args.names:
        with choose_device("cpu") as device:
            record = OTHERS[name][1]() if name in OTHERS else run(name, args.runs, device)
        measured = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {}
        measured[name] = record
        measured["machine"] = f"{platform.machine()}, torch {torch.__version__.partition('+')[0]}, times on CPU"
        atomic_write(args.json, json.dumps(measured, indent=1, sort_keys=True) + "\n")
        print(f"{name}: recorded in {args.json}")


if __name__ == "__main__":
    main()
