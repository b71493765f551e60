"""`flcourse demo`: the points of the course's photograph or of the user's, close-ups, and what to do next. No torch."""

import argparse
from pathlib import Path

from flcourse.apps.options import add_detector


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse demo` takes."""
    parser.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="files or folders; default: a portrait at hand"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    add_detector(parser)


def run(args: argparse.Namespace) -> None:
    """Find the points in the given images, or in a portrait at hand, and say what can be done next."""
    from flcourse.apps.inputs import image_paths, unique_stems
    from flcourse.apps.results import find, sentence, write_results
    from flcourse.data.datasets import portrait
    from flcourse.face.draw import close_up
    from flcourse.face.landmarker import FaceLandmarker
    from flcourse.images import read_image, write_image

    landmarker = FaceLandmarker(detector=args.detector)
    if args.images:
        images = image_paths(args.images)
        loaded = [(stem, str(path), read_image(path)) for path, stem in zip(images, unique_stems(images), strict=True)]
    else:
        loaded = [portrait()]
    landmarker(loaded[0][2])  # the first run warms up caches and threads, and would be timed as if it were typical
    total, faces = 0.0, 0
    for stem, name, image in loaded:
        found = find(landmarker, image, name)
        print(f"{sentence(found)}\n  -> {write_results(found, args.out, stem)}")
        for number, face in enumerate(found.faces, start=1):
            write_image(args.out / f"{stem}_face{number}.png", close_up(image, face))
        total, faces = total + found.milliseconds, faces + len(found.faces)
    if faces:
        count = "1 face" if faces == 1 else f"{faces} faces"
        print(f"\n{count}, {total / faces:.1f} ms a face (detector: {landmarker.detector.name})")
    print(
        f"Images, close-ups and points are in {args.out.resolve()}\n\n"
        "What next:\n"
        "  python3 course.py demo photo.jpg holiday/    your own images, files or folders\n"
        "  python3 course.py lab                        the course, in JupyterLab\n"
        "  flcourse detect photo.jpg --json             points for your own programs (in .venv/bin)"
    )
