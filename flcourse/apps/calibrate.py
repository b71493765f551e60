"""`flcourse calibrate`: fits the confidence of trained weights on faces that their training held out."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flcourse.errors import CourseError

if TYPE_CHECKING:
    from flcourse.data.imglab import Face


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse calibrate` takes."""
    parser.description += (
        " Learned from the faces that the training held out, and written into the weights, from which export takes it."
        " Training does this at its end."
    )
    text = "best.safetensors, as train writes it"
    parser.add_argument("--weights", type=Path, required=True, metavar="W", help=text)
    parser.add_argument("--data", type=Path, metavar="XML", help="the file it was trained on (default: iBUG's)")


def run(args: argparse.Namespace) -> None:
    """Fit a trained network's confidence."""
    from flcourse.data.imglab import read_imglab, training_labels

    if args.weights.suffix != ".safetensors":
        raise CourseError(f"{args.weights}: expected .safetensors, as flcourse train writes them")
    calibrate_weights(args.weights, read_imglab(training_labels(args.data)))


def calibrate_weights(weights: Path, faces: "list[Face]") -> None:
    """Fit the confidence of weights on what their training held out of `faces`, and write it into them."""
    from flcourse.files import atomic_write
    from flcourse.show.plot import reliability_curve, save
    from flcourse.training.calibration import calibrate, held_out
    from flcourse.training.checkpoints import load_network, pack_weights

    network, metadata = load_network(weights)
    chosen = held_out(faces, metadata["recipe"])
    found = calibrate(network, chosen, metadata["recipe"]["size"], progress=sys.stderr.isatty())
    figures = {name: round(value, 4) for name, value in found.figures().items()}
    metadata |= {"calibration": found.calibration._asdict(), "calibrated": figures}
    curve = weights.with_name("confidence.png")
    save(reliability_curve(found.chance, found.trial.right, found.trial.face), curve)
    atomic_write(weights, pack_weights(network, metadata))
    print(
        f"confidence: {figures['faces']} hard crops of {len(chosen)} faces, {figures['wrong_faces']} off by over 8 %;"
    )
    print(f"  AUC of telling these {figures['auc']:.3f}, calibration error {figures['calibration_error']:.3f}: {curve}")
