"""The command `flcourse`: arguments in, one clear line and exit code 2 on bad input. Each command imports what it needs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flcourse import __version__
from flcourse.errors import CourseError


def train(args: argparse.Namespace) -> None:
    """Train a landmark network; draws its curves beside the checkpoints."""
    from dataclasses import replace

    from flcourse.data.ibug import read_imglab
    from flcourse.recipes import get_recipe, load_network, train_landmarks
    from flcourse.show.plot import save_training_curves
    from flcourse.train import choose_device

    recipe = get_recipe(args.recipe)
    loop = {
        name: value for name in ("epochs", "batch_size", "lr", "seed") if (value := getattr(args, name)) is not None
    }
    net = {name: value for name in ("size", "width") if (value := getattr(args, name)) is not None}
    recipe = replace(recipe, config=replace(recipe.config, **loop), **net)
    out = args.out or Path("runs") / args.recipe
    if (out / "last.pt").exists() and not args.resume:
        raise CourseError(f"{out}: holds a training already; go on with --resume, or give another --out")
    faces = read_imglab(args.data)
    start = load_network(args.weights)[0] if args.weights else None
    with choose_device(args.device) as device:
        chief = device.rank == 0
        if chief:
            print(f"training {args.recipe} on {len(faces)} faces of {args.data} ({device.device}), writing to {out}")
        _, history = train_landmarks(
            faces,
            recipe,
            out,
            start=start,
            device=device,
            resume=args.resume,
            workers=args.workers,
            on_epoch=lambda history: save_training_curves(history, out / "curves.png"),
        )
        if not chief:
            return
    if len(history) < recipe.config.epochs:
        print(f"stopped; go on with: flcourse train ... --out {out} --resume")
        return
    best = min(history, key=lambda row: row["val_nme"])
    print(f"best epoch {best['epoch']}: {best['val_nme']:.2f} % of the eye distance on the held-out faces")
    print(f"weights: {out / 'best.safetensors'}, curves: {out / 'curves.png'}")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="flcourse", description="Face landmarks from scratch: train, evaluate and use a 68-point network."
    )
    parser.add_argument("--version", action="version", version=f"flcourse {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: object, name: str, help: str, **kwargs: object) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=f"{help}.", **kwargs)
        sub.set_defaults(run=run)
        return sub

    sub = command(train, "train", "Train a landmark network on imglab XML (iBUG 300-W, or faces of your own)")
    sub.add_argument("--data", type=Path, required=True, metavar="XML", help="training faces")
    sub.add_argument("--recipe", default="course", help="course (default) or original")
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: runs/RECIPE")
    sub.add_argument("--resume", action="store_true", help="go on from DIR's last checkpoint")
    sub.add_argument("--weights", type=Path, metavar="W", help="first weights, instead of random ones")
    sub.add_argument("--epochs", type=int, metavar="N")
    sub.add_argument("--batch-size", type=int, metavar="N", help="of all processes together")
    sub.add_argument("--lr", type=float, metavar="X", help="highest learning rate")
    sub.add_argument("--seed", type=int, metavar="N")
    sub.add_argument("--size", type=int, metavar="PX", help="side of the crops")
    sub.add_argument("--width", type=float, metavar="X", help="multiplies the network's channels")
    sub.add_argument("--device", help="cuda, mps or cpu; default: the first there is")
    sub.add_argument("--workers", type=int, default=0, metavar="N", help="processes that prepare data (default: 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one line on stderr where the input is bad, 130 on Ctrl-C."""
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except CourseError as error:
        print(f"flcourse: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nflcourse: interrupted", file=sys.stderr)
        sys.exit(130)
