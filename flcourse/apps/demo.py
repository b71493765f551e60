"""`flcourse demo`: the points of the course's photograph or of the user's, a video, and what to do next. No torch."""

import argparse
from pathlib import Path

from flcourse.apps.options import add_detector, add_recursive
from flcourse.apps.terminal import say


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse demo` takes."""
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="files or folders; default: a portrait")
    add_recursive(parser)
    parser.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    add_detector(parser)


def run(args: argparse.Namespace) -> None:
    """Find the points in the given images, or in a portrait at hand, and say what can be done next."""
    from flcourse.apps.advice import advice
    from flcourse.apps.inputs import Inputs, gather
    from flcourse.apps.outputs import OutputFolder
    from flcourse.apps.results import DRAWING, find, result_files, sentence
    from flcourse.data.datasets import portrait
    from flcourse.errors import command
    from flcourse.face.detect import open_detector
    from flcourse.face.landmarker import FaceLandmarker
    from flcourse.images import read_image

    detector = open_detector(args.detector)
    landmarker = FaceLandmarker(detector=detector)
    if args.images:
        inputs, shown, image = gather(args.images, args.recursive), None, None
    else:
        stem, shown, image = portrait()
        inputs = Inputs([Path(f"{stem}.png")])
    out = OutputFolder(args.out, inputs.images if args.images else [])
    times: list[float] = []  # ms of each image with faces, and how many these are
    faces = 0

    def look(path: Path) -> None:
        nonlocal faces
        pixels = read_image(path) if image is None else image
        if not times:
            landmarker(pixels)  # the first run warms up caches and threads, and would be timed as if it were typical
        found = find(landmarker, pixels, shown or str(path))
        say(sentence(found, advice(landmarker, found)))
        say(f"  -> {out.write(path, result_files(found, as_json=True, close_ups=True))[DRAWING]}")
        if found.faces:
            times.append(found.milliseconds)
            faces += len(found.faces)

    failed = inputs.each(look)
    if faces:
        count = "1 face" if faces == 1 else f"{faces} faces"
        print(f"\n{count}, {sum(times) / faces:.1f} ms a face (detector: {detector.name})")
    if not args.images:
        from flcourse.apps.reel import reel

        print("\nA video of two faces with every overlay that the webcam has, and a sheet of them:", flush=True)
        written = out.write(Path("overlays.mp4"), reel(landmarker))
        say(f"  -> {written['.mp4']}, {written['_sheet.png']}")
    say(f"Images, close-ups and points are in {args.out.resolve()}")
    print(
        f"\nYour own images, files or folders: {command('demo photo.jpg holiday/')}\n"
        f"Your own webcam, live:             {command('webcam')}\n"
        f"Points for your own programs:      {command('detect photo.jpg --json')}"
    )
    if failed:
        raise failed
