"""`flcourse bench`: how fast detectors, engines, the live loop and training are on this machine."""

import argparse
from pathlib import Path

from flcourse.apps.options import add_description, number
from flcourse.apps.terminal import shows_bars, strict_json

PARTS = ("detectors", "engines", "live", "training")


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse bench` takes."""
    add_description(
        parser,
        "Medians, quartiles, and ratios to each part's first row. Close other programs: what runs beside it shows.",
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    add("--json", action="store_true", help="print one JSON object")
    add("--weights", type=Path, metavar="W", help="a .safetensors file (default: the shipped network)")
    add("--seconds", type=number(0, 3600), default=2.0, metavar="S", help="for each row (default: 2)")
    add("--no-compile", dest="compile", action="store_false", help="without torch.compile (a minute)")


def run(args: argparse.Namespace) -> None:
    """Time detectors, engines, the live loop and training."""
    from flcourse.apps.benchmark import bench, table

    options = {"seconds": args.seconds, "compiled": args.compile, "progress": shows_bars()}
    result = bench(args.parts or PARTS, args.weights, **options)
    if args.json:
        print(strict_json(result))
    else:
        print(table(result))
