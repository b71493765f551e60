"""`flcourse calibrate`: fits the confidence of trained weights on faces that their training held out."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flcourse.apps.options import add_description
from flcourse.apps.terminal import say, shows_bars
from flcourse.errors import CourseError

if TYPE_CHECKING:
    from flcourse.data.imglab import Face


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse calibrate` takes."""
    add_description(
        parser,
        "Learned from the faces that the training held out, and kept in the weights, from which export takes it."
        " Training does this at its end. Half precision stays half.",
    )
    text = "best.safetensors, as train writes it"
    parser.add_argument("--weights", type=Path, required=True, metavar="W", help=text)
    parser.add_argument("--data", type=Path, metavar="XML", help="the file it was trained on (default: iBUG's)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="FILE", help="write the weights with their confidence here")
    where.add_argument("--in-place", action="store_true", help="write them into W itself")


def run(args: argparse.Namespace) -> None:
    """Fit a trained network's confidence."""
    from flcourse.apps.inputs import training_labels
    from flcourse.data.imglab import read_imglab

    out = args.weights if args.in_place else args.out
    for path in (args.weights, out):
        if path.suffix != ".safetensors":
            raise CourseError(f"{path}: expected .safetensors, as flcourse train writes them")
    if not args.in_place and os.path.lexists(out):
        same = out.exists() and args.weights.exists() and out.samefile(args.weights)
        advice = "--in-place writes into it" if same else "remove it, or give another --out"
        raise CourseError(f"{out}: is there already; {advice}")
    xml = training_labels(args.data)
    calibrate_weights(args.weights, read_imglab(xml), out, f"{xml}: ")


def calibrate_weights(weights: Path, faces: "list[Face]", out: Path, whose: str = "") -> None:
    """Fit the confidence of weights on what their training held out of `faces`; write them with it to `out`.

    `whose` begins the error of faces that are not the training's.
    """
    from flcourse.files import atomic_write
    from flcourse.show.plot import reliability_curve, save
    from flcourse.training.calibration import calibrate, held_out, label_shift
    from flcourse.training.checkpoints import load_network, pack_weights, stored_half

    network, metadata = load_network(weights)
    try:
        chosen = held_out(faces, metadata)
    except CourseError as error:
        raise CourseError(f"{whose}{error}") from error
    recipe, curve, lines = metadata["recipe"], out.with_name("confidence.png"), []
    for kind, size in (("", recipe["size"]), ("still_", recipe.get("still_size"))):
        if not size:
            continue
        found = calibrate(network, chosen, size, progress=shows_bars())
        figures = {name: round(value, 4) for name, value in found.figures().items()}
        metadata |= {f"{kind}calibration": found.calibration._asdict(), f"{kind}calibrated": figures}
        lines.append(
            f"confidence: {figures['faces']} hard crops of {len(chosen)} faces, {size} px, "
            f"{figures['wrong_faces']} off by over 8 %;\n"
            f"  AUC of telling these {figures['auc']:.3f}, calibration error {figures['calibration_error']:.3f}"
        )
        if not kind:
            save(reliability_curve(found.chance, found.trial.right, found.trial.face), curve)
    metadata["label_shift"] = round(label_shift(network, chosen, recipe["size"], shows_bars()), 5)
    atomic_write(out, pack_weights(network, metadata, half=stored_half(weights)))
    for line in lines:
        say(line)
    say(f"  curve: {curve}")
    if metadata["label_shift"]:
        side = "right" if metadata["label_shift"] > 0 else "left"
        say(f"labels: {100 * abs(metadata['label_shift']):.2f} % of the crop {side} of where mirrored copies put them")
    say(f"  wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
