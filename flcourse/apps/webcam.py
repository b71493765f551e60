"""`flcourse webcam`: points on the faces of a camera or a video, in a window or into files. Never imports torch."""

import argparse
from pathlib import Path

from flcourse.apps.options import add_description, add_detector, add_weights

HELP = "q or Esc quits, s saves an image, space pauses, m mirrors, o changes the overlay, h shows all keys"


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse webcam` takes."""
    add_description(
        parser,
        f"In the window {HELP}. --out writes a video with what is drawn and, beside it, a CSV: frame, time, face, "
        "confidence, x0, y0, ..., x67, y67 in the video's pixels.",
    )
    add = parser.add_argument
    add("--source", default="0", metavar="0|VIDEO", help="a camera's number or a video file (default: 0, the first)")
    add("--out", type=Path, metavar="VIDEO", help="write an annotated .mp4 or .avi and a .csv of points")
    add("--no-window", dest="window", action="store_false", help="only write files, as fast as it goes")
    overlays = "points (default), attention, expression, pose, glasses, mask or aligned"
    add("--overlay", default="points", metavar="NAME", help=f"what is drawn: {overlays}")
    add("--no-smooth", dest="smooth", action="store_false", help="each frame's points by themselves")
    add("--mirror", action="store_true", help="as in a mirror; the points are then in mirrored pixels")
    add_weights(parser)
    add_detector(parser)


def run(args: argparse.Namespace) -> None:
    """Follow the faces of a camera or a video."""
    from flcourse.apps.window import webcam
    from flcourse.face.landmark_network import DEFAULT_WEIGHTS
    from flcourse.face.landmarker import FaceLandmarker

    landmarker = FaceLandmarker(args.weights or DEFAULT_WEIGHTS, detector=args.detector)
    options = {name: getattr(args, name) for name in ("window", "out", "overlay", "smooth", "mirror")}
    webcam(landmarker, args.source, **options)
