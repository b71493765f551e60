"""`flcourse evaluate`: a landmark network against annotated faces. Imports torch only for PyTorch's weights."""

import argparse
from pathlib import Path

from flcourse.apps.options import DETECTORS, add_description, add_tta
from flcourse.apps.terminal import say, shows_bars, strict_json

BOXES = ("file", "tight", *DETECTORS)


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse evaluate` takes."""
    add_description(
        parser,
        "ms_per_face is crop and network, with a detector's boxes also detection.",
    )
    parser.add_argument("xml", type=Path, metavar="XML")
    parser.add_argument("--weights", metavar="W", help="a shipped name, .onnx, .safetensors or last.pt")
    boxes = "file (default), tight (around the true points), course, drawn, yunet, ssd or haar"
    parser.add_argument(
        "--boxes", choices=BOXES, default="file", metavar="NAME", help=f"where the crops come from: {boxes}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="write sheets of best, median and worst faces")
    views = parser.add_mutually_exclusive_group()
    add_tta(views)
    views.add_argument("--live", action="store_true", help="as in video: one view, and the network's smaller crops")


def run(args: argparse.Namespace) -> None:
    """Measure a network on annotated faces."""
    from flcourse.apps.evaluation import evaluate

    how = {"tta": args.tta, "live": args.live}
    figures = evaluate(args.xml, args.weights, args.boxes, args.gallery, **how, progress=shows_bars())
    if args.json:
        print(strict_json(figures))
        return
    say(f"{figures['faces']} faces of {args.xml}, {figures['missed']} missed; {args.boxes} boxes, {figures['weights']}")
    print(f"  NME                       {figures['nme']:7.2f} % of the outer eye corners' distance")
    print(f"  failures over 8 %, 10 %   {figures['fr8']:7.2f} %, {figures['fr10']:.2f} %")
    print(f"  AUC to 8 %, 10 %          {figures['auc8']:7.3f}, {figures['auc10']:.3f}")
    print(f"  points within 15 of 299   {figures['within15of299']:7.2f} %")
    views = f"{figures['tta']} views" if figures["tta"] > 1 else "one view"
    print(
        f"  time                      {figures['ms_per_face']:7.2f} ms a face "
        f"({figures['engine']}, {views} of {figures['size']} px)"
    )
    if args.gallery:
        say(f"best, median and worst faces and the error curve: {args.gallery}")
