"""`flcourse train`: a landmark network from annotated faces: checkpoints, curves, and at the end its confidence."""

import argparse
from dataclasses import replace
from pathlib import Path

from flcourse.errors import CourseError


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse train` takes."""
    faces = "training faces; default: iBUG's, where it lies in a data folder"
    parser.add_argument("--data", type=Path, metavar="XML", help=faces)
    recipes = "course (default), finish (its last stretch, for --weights) or original"
    parser.add_argument("--recipe", default="course", help=recipes)
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/RECIPE")
    parser.add_argument("--resume", action="store_true", help="go on from DIR's last checkpoint")
    parser.add_argument("--weights", type=Path, metavar="W", help="first weights, instead of random ones")
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--batch-size", type=int, metavar="N", help="of all processes together")
    parser.add_argument("--lr", type=float, metavar="X", help="highest learning rate")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the crops")
    parser.add_argument("--width", type=float, metavar="X", help="multiplies the network's channels")
    blocks = "of the network; of deeper --weights some are left out"
    parser.add_argument("--middle-blocks", type=int, metavar="N", help=blocks)
    parser.add_argument("--device", help="cuda, mps or cpu; default: the first there is")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that prepare data (default: 0)")


def run(args: argparse.Namespace) -> None:
    """Train a landmark network; draws its curves beside the checkpoints."""
    from flcourse.apps.calibrate import calibrate_weights
    from flcourse.data.imglab import read_imglab, training_labels
    from flcourse.show.plot import save, training_curves
    from flcourse.training.checkpoints import load_network
    from flcourse.training.devices import choose_device
    from flcourse.training.recipes import get_recipe, train_landmarks

    recipe = get_recipe(args.recipe)
    xml = training_labels(args.data)
    loop = {
        name: value for name in ("epochs", "batch_size", "lr", "seed") if (value := getattr(args, name)) is not None
    }
    net = {name: value for name in ("size", "width", "middle_blocks") if (value := getattr(args, name)) is not None}
    recipe = replace(recipe, config=replace(recipe.config, **loop), **net)
    out = args.out or Path("runs") / args.recipe
    if (out / "last.pt").exists() and not args.resume:
        raise CourseError(f"{out}: holds a training already; go on with --resume, or give another --out")
    faces = read_imglab(xml)
    start = load_network(args.weights)[0] if args.weights else None
    with choose_device(args.device) as device:
        chief = device.rank == 0
        if chief:
            print(f"training {args.recipe} on {len(faces)} faces of {xml} ({device.device}), writing to {out}")
        _, history = train_landmarks(
            faces,
            recipe,
            out,
            start=start,
            device=device,
            resume=args.resume,
            workers=args.workers,
            on_epoch=lambda history: save(training_curves(history), out / "curves.png"),
        )
        if not chief:
            return
    if len(history) < recipe.config.epochs:
        print(f"stopped; go on with: flcourse train ... --out {out} --resume")
        return
    if recipe.head == "heatmap":
        try:
            calibrate_weights(out / "best.safetensors", faces)
        except CourseError as error:  # a first try of one epoch may be wrong everywhere; its weights still are whole
            print(f"no confidence: {error}")
    best = min(history, key=lambda row: row["val_nme"])
    print(f"best epoch {best['epoch']}: {best['val_nme']:.2f} % of the eye distance on the held-out faces")
    print(f"weights: {out / 'best.safetensors'}, curves: {out / 'curves.png'}")
