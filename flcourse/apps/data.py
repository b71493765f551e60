"""`flcourse data`: fetches data sets and detectors, or draws faces, and says where they lie."""

import argparse
from pathlib import Path

from flcourse.apps.options import add_description, whole
from flcourse.apps.terminal import say, shows_bars
from flcourse.errors import CourseError, command

SETS = {
    "detectors": "the YuNet and SSD face detectors (11 MB)",
    "mnist": "70,000 handwritten digits (12 MB)",
    "cifar10": "60,000 small photographs in ten classes (170 MB)",
    "ibug": "7,674 faces with 68 points, for research and teaching (1.7 GB, and as much again to unpack)",
    "drawn-faces": "faces that the course draws itself, with exact points, as imglab XML",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse data` takes."""
    add_description(
        parser,
        "What is there and right is left alone, what is damaged is fetched again. Prints where it lies: in "
        "$FLCOURSE_DATA where that is set, else in the checkout's data/ or the user's cache folder.",
    )
    text = "; ".join(f"{name}: {what}" for name, what in SETS.items())
    parser.add_argument("what", choices=list(SETS), help=text)
    archive = "iBUG's tar.gz or Kaggle's zip that you have; it is kept, a downloaded one is removed once unpacked"
    parser.add_argument("--archive", type=Path, metavar="FILE", help=archive)
    parser.add_argument(
        "--count", type=whole(1, 1_000_000), metavar="N", help="how many faces to draw to train on (default: 2000)"
    )


def run(args: argparse.Namespace) -> None:
    """Fetch data."""
    if args.archive and args.what != "ibug":
        raise CourseError(f"--archive goes with ibug, not with {args.what}: {command('data ibug --archive FILE')}")
    if args.count is not None and args.what != "drawn-faces":
        right = command("data drawn-faces --count N")
        raise CourseError(f"--count goes with drawn-faces, not with {args.what}: {right}")
    if args.what == "detectors":
        from flcourse.face.detector_files import fetch_detectors

        paths = fetch_detectors()
    elif args.what == "ibug":
        from flcourse.data.ibug_archive import fetch_ibug

        paths = [fetch_ibug(args.archive)]
    elif args.what == "drawn-faces":
        from flcourse.data.datasets import fetch_drawn_faces

        paths = [fetch_drawn_faces(args.count or 2_000, progress=shows_bars())]
    else:
        from flcourse.data.datasets import fetch_cifar10, fetch_mnist

        paths = [{"mnist": fetch_mnist, "cifar10": fetch_cifar10}[args.what]()]
    for path in paths:
        say(path)
