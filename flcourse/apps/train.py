"""`flcourse train`: a landmark network from annotated faces: checkpoints, curves, and at the end its confidence."""

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flcourse.apps.options import number, whole
from flcourse.apps.terminal import say, shows_bars
from flcourse.errors import CourseError, command
from flcourse.metadata import MOST_BLOCKS, SIDES, WIDTHS

if TYPE_CHECKING:
    from flcourse.training.recipes import Recipe
    from flcourse.training.xception import Xception

LOOP, NET = ("epochs", "batch_size", "lr", "seed"), ("size", "width", "middle_blocks")  # what a recipe's are changed by
MOST_WORKERS = 256
WRITTEN = ("last.pt", "best.safetensors", "history.csv", "history.json", "curves.png", "confidence.png")  # into --out


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse train` takes."""
    add = parser.add_argument
    add("--data", type=Path, metavar="XML", help="training faces; default: iBUG's, where it lies in a data folder")
    also = "further faces to train on, never held out, and their share of all, 0 to 1; may be repeated"
    add("--also", nargs=2, action="append", default=[], metavar=("XML", "SHARE"), help=also)
    recipes = "course (default), finish (its last stretch, for --weights), few (for 3 to 100 faces), detail or original"
    add("--recipe", default="course", help=recipes)
    add("--out", type=Path, metavar="DIR", help="default: runs/RECIPE")
    add("--resume", action="store_true", help="go on from DIR's last checkpoint")
    weights = "first weights: xception, drawn, a .safetensors or a last.pt; the network then has their size and shape"
    add("--weights", metavar="W", help=weights)
    add("--epochs", type=whole(1, 100_000), metavar="N")
    add("--batch-size", type=whole(1, 65_536), metavar="N", help="of all processes together")
    add("--lr", type=number(0, 10), metavar="X", help="highest learning rate")
    add("--seed", type=whole(0, 2**32 - 1), metavar="N")
    add("--size", type=whole(*SIDES), metavar="PX", help="side of the crops")
    add("--width", type=number(*WIDTHS), metavar="X", help="multiplies the network's channels")
    blocks = "of the network; of deeper --weights some are left out"
    add("--middle-blocks", type=whole(1, MOST_BLOCKS), metavar="N", help=blocks)
    add("--device", type=device_name, help="cuda, cuda:N, mps or cpu; default: the first there is")
    workers = "processes that prepare data (default: 0)"
    add("--workers", type=whole(0, MOST_WORKERS), default=0, metavar="N", help=workers)


def device_name(text: str) -> str:
    """A PyTorch device by its form; whether it is there is `choose_device`'s to say."""
    if not re.fullmatch(r"[a-z]{1,16}(:[0-9]{1,2})?", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: expected cuda, cuda:N, mps or cpu")
    return text


def shares(texts: list[str]) -> list[float]:
    """The shares of `--also`. Raises `CourseError` where one is none, or where they leave nothing for `--data`."""
    try:
        found = [float(text) for text in texts]
    except ValueError:
        found = []
    if len(found) != len(texts) or not all(share > 0 for share in found) or sum(found) >= 1:
        raise CourseError(f"--also: shares {', '.join(texts)}, expected numbers above 0 that are below 1 together")
    return found


def run(args: argparse.Namespace) -> None:
    """Train a landmark network; draws its curves beside the checkpoints."""
    from flcourse.apps.calibrate import calibrate_weights
    from flcourse.apps.inputs import training_labels
    from flcourse.data.imglab import read_imglab
    from flcourse.show.plot import save, training_curves
    from flcourse.training.devices import choose_device
    from flcourse.training.recipes import get_recipe, train_landmarks

    recipe = given = get_recipe(args.recipe)
    args.weights = args.weights or recipe.start
    xml = training_labels(args.data)
    parts = shares([share for _, share in args.also])
    start = None
    if args.weights:
        start, recipe = first_weights(args, recipe)
    loop = {name: value for name in LOOP if (value := getattr(args, name)) is not None}
    net = {name: value for name in NET if (value := getattr(args, name)) is not None}
    recipe = replace(recipe, config=replace(recipe.config, **loop), **net)
    if recipe.size != given.size:  # the second size belongs to the first
        recipe = replace(recipe, still_size=None)
    out = args.out or Path("runs") / args.recipe
    there = [name for name in WRITTEN if os.path.lexists(out / name)]
    if there and not args.resume:
        raise CourseError(
            f"{out}: holds a training already ({', '.join(there)}); go on with --resume, or give another --out"
        )
    faces = read_imglab(xml)
    also = [(read_imglab(other), part) for (other, _), part in zip(args.also, parts, strict=True)]

    def on_epoch(history: list[dict]) -> None:
        save(training_curves(history), out / "curves.png")
        if not shows_bars():  # else the bar's own line says it
            row = history[-1]
            figures = ", ".join(f"{name} {row[name]:.4g}" for name in row if name.startswith(("train_", "val_")))
            print(f"epoch {row['epoch']}/{recipe.config.epochs}: {figures} ({row['seconds']:.0f} s)", flush=True)

    with choose_device(args.device) as device:
        chief = device.rank == 0
        if chief:
            say(f"training {args.recipe} on {len(faces)} faces of {xml} ({device.device}), writing to {out}")
        _, history = train_landmarks(
            faces,
            recipe,
            out,
            start=start,
            also=also,
            device=device,
            progress=shows_bars(),
            resume=args.resume,
            workers=args.workers,
            on_epoch=on_epoch,
        )
        if not chief:
            return
    if len(history) < recipe.config.epochs:
        say(f"stopped; go on with: {command('train ...')} --out {out} --resume")
        return
    best_weights = out / "best.safetensors"
    if recipe.head == "heatmap":
        try:
            calibrate_weights(best_weights, faces, best_weights)
        except CourseError as error:  # a first try of one epoch may be wrong everywhere; its weights still are whole
            say(f"no confidence: {error}")
    best = min(history, key=lambda row: row["val_nme"])
    print(f"best epoch {best['epoch']}: {best['val_nme']:.2f} % of the eye distance on the held-out faces")
    say(f"weights: {best_weights}, curves: {out / 'curves.png'}")


def first_weights(args: argparse.Namespace, recipe: "Recipe") -> "tuple[Xception, Recipe]":
    """The network of `--weights`, and the recipe with its size and shape.

    A recipe whose stem or exit flow is leaner keeps its own: `train_landmarks` fits the weights to it. Raises
    `CourseError` that names the option where they fit neither the recipe nor what else was asked for.
    """
    from flcourse.face.landmark_network import shipped_weights
    from flcourse.training.checkpoints import load_network

    path, shipped = Path(args.weights), shipped_weights()
    if args.weights in shipped:
        path = shipped[args.weights].with_suffix(".safetensors")
    elif path.suffix not in (".safetensors", ".pt"):
        raise CourseError(
            f"--weights {args.weights}: neither a shipped name ({', '.join(shipped)}) "
            "nor a .safetensors or last.pt file"
        )
    network, metadata = load_network(path)
    theirs = metadata["recipe"]
    if theirs["head"] != recipe.head:
        fit = "original" if theirs["head"] == "regression" else "course"
        raise CourseError(f"--recipe {args.recipe}: {args.weights} has a {theirs['head']} head; give --recipe {fit}")
    blocks = theirs.get("middle_blocks", 8)  # weights from before this could be chosen do not say
    if args.width is not None and args.width != theirs["width"]:
        raise CourseError(f"--width {args.width:g}: {args.weights} is {theirs['width']:g} wide; leave --width out")
    if args.middle_blocks is not None and args.middle_blocks > blocks:
        raise CourseError(
            f"--middle-blocks {args.middle_blocks}: {args.weights} has {blocks}; give --middle-blocks {blocks} or fewer"
        )
    defaults = {"stem_stride": 2, "exit_convolutions": 2}  # likewise
    shape = {name: theirs.get(name, value) for name, value in defaults.items()}
    if recipe.stem_stride > shape["stem_stride"] or recipe.exit_convolutions < shape["exit_convolutions"]:
        if args.middle_blocks is None and blocks < recipe.middle_blocks:
            raise CourseError(
                f"--recipe {args.recipe}: {args.weights} has {blocks} middle blocks, "
                f"expected {recipe.middle_blocks} or more"
            )
        return network, replace(recipe, width=theirs["width"])
    shape |= {"refine": recipe.refine or theirs.get("refine", False)}
    return network, replace(recipe, size=theirs["size"], width=theirs["width"], middle_blocks=blocks, **shape)
