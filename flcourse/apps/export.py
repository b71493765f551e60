"""`flcourse export`: a trained network as ONNX, in full, half or 8-bit precision, or as weights alone."""

import argparse
import os
from pathlib import Path

from flcourse.apps.terminal import say
from flcourse.errors import CourseError


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse export` takes."""
    add = parser.add_argument
    add("--weights", type=Path, required=True, metavar="W", help=".safetensors or last.pt")
    add("--onnx", type=Path, metavar="FILE", help="the network, for --weights FILE of the other commands")
    add("--safetensors", type=Path, metavar="FILE", help="the weights alone, for PyTorch")
    add("--int8", type=Path, metavar="FILE", help="the network with 8-bit convolutions: smaller, faster")
    add("--half", action="store_true", help="store the weights in half precision, cast on loading")


def run(args: argparse.Namespace) -> None:
    """Write a trained network as ONNX or as weights alone."""
    from flcourse.files import atomic_write, work_folder
    from flcourse.training.checkpoints import load_network, pack_weights
    from flcourse.training.export import drawn_crops, export_onnx, quantize_onnx

    if not (args.onnx or args.safetensors or args.int8):
        raise CourseError("nothing to write: give --onnx FILE, --int8 FILE, --safetensors FILE, or more than one")
    wanted = [path for path in (args.safetensors, args.onnx, args.int8) if path]
    places = [os.path.realpath(path) for path in (args.weights, *wanted)]
    for path, place in zip(wanted, places[1:], strict=True):
        if places.count(place) > 1:
            raise CourseError(f"{path}: is named twice, and would be written over; give every file a name of its own")
    for path in wanted:
        if os.path.lexists(path) and not _is_network(path):
            raise CourseError(f"{path}: is there already, and no network of flcourse's; give another name")
    network, metadata = load_network(args.weights)
    if args.safetensors:
        atomic_write(args.safetensors, pack_weights(network, metadata, half=args.half))
    if args.onnx:
        export_onnx(network, metadata, args.onnx, half=args.half)
    if args.int8:
        with work_folder("flcourse") as folder:
            full = folder / "full.onnx"
            export_onnx(network, metadata, full)
            quantize_onnx(full, drawn_crops(metadata["recipe"]["size"]), args.int8)
    for path in wanted:
        say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _is_network(path: Path) -> bool:
    """Whether a file is one that export may have written, and so may replace."""
    from flcourse.apps.evaluation import open_network

    try:
        open_network(str(path.absolute()))  # never a shipped name
    except CourseError:
        return False
    return True
