"""`flcourse fit-boxes`: how each detector's boxes map to the annotated ones; prints lines for `points.BOX_MAPS`."""

import argparse
from pathlib import Path

from flcourse.apps.options import DETECTORS
from flcourse.apps.terminal import shows_bars

SOURCES = ("tight", *DETECTORS)


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse fit-boxes` takes."""
    parser.add_argument("xml", type=Path, metavar="XML")
    names = ", ".join(SOURCES)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES, metavar="NAME", help=names)


def run(args: argparse.Namespace) -> None:
    """Fit the detectors' box maps."""
    from flcourse.apps.evaluation import fit_boxes

    for source, (box_map, rest) in fit_boxes(args.xml, args.sources, progress=shows_bars()).items():
        print(f'"{source}": BoxMap(scale={box_map.scale:.4f}, dx={box_map.dx:.4f}, dy={box_map.dy:.4f}),  # {rest}')
