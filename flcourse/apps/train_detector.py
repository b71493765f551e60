"""`flcourse train-detector`: the face detector, from scenes composed of annotated faces and of things."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flcourse.apps.terminal import say
from flcourse.errors import CourseError, command
from flcourse.files import fast

if TYPE_CHECKING:
    import numpy as np

    from flcourse.points import Box

DRAWN = 6_000  # faces, for --drawn


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse train-detector` takes."""
    parser.add_argument("data", nargs="*", type=Path, metavar="XML", help="annotated faces (default: iBUG's)")
    parser.add_argument("--drawn", action="store_true", help=f"train on {DRAWN:,} drawn faces alone, drawn if need be")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: runs/detector, with --drawn runs/detector_drawn"
    )
    parser.add_argument("--resume", action="store_true", help="go on from DIR's last checkpoint")
    parser.add_argument(
        "--weights", type=Path, metavar="W", help="first weights (.safetensors), instead of random ones"
    )
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--scenes", type=int, metavar="N", help="an epoch")
    parser.add_argument("--batch-size", type=int, metavar="N", help="of all processes together")
    parser.add_argument("--lr", type=float, metavar="X", help="highest learning rate")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--device", help="cuda, mps or cpu; default: the first there is")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that prepare data (default: 0)")


def run(args: argparse.Namespace) -> None:
    """Train, and write the detector's ONNX file beside the checkpoints."""
    from flcourse.apps.inputs import training_labels
    from flcourse.data.datasets import fetch_drawn_faces
    from flcourse.data.imglab import read_imglab
    from flcourse.training.detector import (
        DetectorRecipe,
        export_detector,
        gather_sources,
        load_detector,
        train_detector,
    )
    from flcourse.training.devices import choose_device

    if args.drawn and args.data:
        raise CourseError(f"--drawn trains on drawn faces alone, not on {args.data[0]}; give one or the other")
    files = [fetch_drawn_faces(160 if fast() else DRAWN)] if args.drawn else args.data or [training_labels()]
    out = args.out or Path("runs") / ("detector_drawn" if args.drawn else "detector")
    if (out / "last.pt").exists() and not args.resume:
        raise CourseError(f"{out}: holds a training already; go on with --resume, or give another --out")
    recipe = DetectorRecipe()
    loop = {
        name: value for name in ("epochs", "batch_size", "lr", "seed") if (value := getattr(args, name)) is not None
    }
    recipe = replace(recipe, scenes=args.scenes or recipe.scenes, config=replace(recipe.config, **loop))
    faces = [face for file in files for face in read_imglab(file)]
    start = load_detector(args.weights)[0] if args.weights else None
    label = None if args.drawn else _label()
    train, val = gather_sources(faces, label, recipe.config.seed, progress=True)
    with choose_device(args.device) as device:
        chief = device.rank == 0
        if chief:
            say(f"training the detector on {len(train.photos)} photographs ({device.device}), writing to {out}")
        _, history = train_detector(
            train, val, recipe, out, start=start, device=device, resume=args.resume, workers=args.workers
        )
        if not chief:
            return
    if len(history) < recipe.config.epochs:
        say(f"stopped; go on with: {command('train-detector ...')} --out {out} --resume")
        return
    best = min(history, key=lambda row: row["val_heat"])
    network, metadata = load_detector(out / "best.safetensors")
    export_detector(network, metadata, out / "detector.onnx")
    say(
        f"best epoch {best['epoch']}: of {best['val_faces']:.2f} faces in a scene {best['val_missed']:.2f} missed, "
        f"{best['val_false']:.2f} false ones"
    )
    say(f"weights: {out / 'best.safetensors'}, for use: {out / 'detector.onnx'}")


def _label() -> "Callable[[np.ndarray], list[tuple[Box, float]]]":
    """Finds the faces that nobody annotated, by YuNet, also where it is unsure."""
    from flcourse.data.photos import HEEDED
    from flcourse.face.detect import open_detector

    detector = open_detector("yunet", HEEDED)
    return lambda image: [(detector.box_map(found.box), found.score) for found in detector(image)]
