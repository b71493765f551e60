"""`flcourse detect`: images in, annotated images and points out. Never imports torch."""

import argparse
from pathlib import Path

from flcourse.apps.options import add_description, add_detector, add_recursive, add_tta, add_weights
from flcourse.apps.terminal import say, strict_json


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse detect` takes."""
    add_description(
        parser,
        "Draws them into DIR/NAME_faces.png, with a number behind NAME where that is a file of yours. Points are in "
        "image pixels; (0, 0) is the centre of the first pixel.",
    )
    images = "files, folders, or patterns such as '*.jpg'"
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help=images)
    add_recursive(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outputs; with --json: nothing is written")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, and with --out write NAME_faces.json too")
    form.add_argument("--pts", action="store_true", help="also write iBUG's NAME_face1.pts, ..., which count from 1")
    add_tta(parser)
    add_weights(parser)
    add_detector(parser)


def run(args: argparse.Namespace) -> None:
    """Find the points in images and folders; those that cannot be read are named, and the others done."""
    from flcourse.apps.advice import advice
    from flcourse.apps.inputs import gather
    from flcourse.apps.outputs import OutputFolder
    from flcourse.apps.results import DRAWING, find, result_files, sentence
    from flcourse.face.landmark_network import DEFAULT_WEIGHTS
    from flcourse.face.landmarker import FaceLandmarker
    from flcourse.images import read_image

    folder = args.out or (None if args.json else Path("outputs"))
    landmarker = FaceLandmarker(args.weights or DEFAULT_WEIGHTS, detector=args.detector, tta=args.tta)
    inputs = gather(args.images, args.recursive)
    out = OutputFolder(folder, inputs.images) if folder else None
    results = []

    def look(path: Path) -> None:
        found = find(landmarker, read_image(path), str(path))
        written = out.write(path, result_files(found, as_json=args.json, as_pts=args.pts)) if out else None
        results.append(found.as_json())
        if not args.json:
            say(sentence(found, advice(landmarker, found)) + (f" -> {written[DRAWING]}" if written else ""))

    failed = inputs.each(look)
    if args.json:
        print(strict_json(results))
    if failed:
        raise failed
