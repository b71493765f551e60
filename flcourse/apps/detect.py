"""`flcourse detect`: images in, annotated images and points out. Never imports torch."""

import argparse
import json
import sys
from pathlib import Path

from flcourse.apps.options import add_detector, add_tta, add_weights
from flcourse.errors import CourseError


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse detect` takes."""
    parser.description += (
        " Draws them into DIR/NAME_faces.png. Points are in image pixels; (0, 0) is the centre of the first pixel."
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files or folders")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outputs; with --json: nothing is written")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, and with --out write NAME_faces.json too")
    form.add_argument("--pts", action="store_true", help="also write iBUG's NAME_face1.pts, ..., which count from 1")
    add_tta(parser)
    add_weights(parser)
    add_detector(parser)


def run(args: argparse.Namespace) -> None:
    """Find the points in images and folders.

    Of several images those that cannot be read are named and left out; the `CourseError` that counts them comes last.
    """
    from flcourse.apps.inputs import image_paths, unique_stems
    from flcourse.apps.results import find, sentence, write_results
    from flcourse.face.landmarker import DEFAULT_WEIGHTS, FaceLandmarker
    from flcourse.images import read_image

    out = args.out or (None if args.json else Path("outputs"))
    landmarker = FaceLandmarker(args.weights or DEFAULT_WEIGHTS, detector=args.detector, tta=args.tta)
    images = image_paths(args.images)
    results, failed = [], 0
    for path, stem in zip(images, unique_stems(images), strict=True):
        try:
            image = read_image(path)
        except CourseError as error:
            if len(images) == 1:
                raise
            print(f"flcourse: {error}", file=sys.stderr)
            failed += 1
            continue
        found = find(landmarker, image, str(path))
        results.append(found.as_json())
        if out:
            written = write_results(found, out, stem, as_json=args.json, as_pts=args.pts)
        if not args.json:
            print(sentence(found) + (f" -> {written}" if out else ""))
    if args.json:
        print(json.dumps(results, indent=1))
    if failed:
        raise CourseError(f"{failed} of {len(images)} images could not be read, see above; the others are done")
