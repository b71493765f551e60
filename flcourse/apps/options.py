"""Options that several commands share, each said once. Light: what commands import to describe themselves."""

import argparse

DETECTORS = ("auto", "yunet", "ssd", "haar")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """`--weights` of the commands that run a network without PyTorch."""
    parser.add_argument("--weights", metavar="W", help="a shipped name or an .onnx file (default: the shipped network)")


def add_detector(parser: argparse.ArgumentParser) -> None:
    """`--detector`."""
    text = "face detector (default: the best there is)"
    parser.add_argument("--detector", choices=DETECTORS, default="auto", help=text)


def add_tta(parser: argparse.ArgumentParser) -> None:
    """`--tta`, test-time augmentation."""
    text = "views of each face: 2 adds the mirror image, 4 both again about the points found (default: 4)"
    parser.add_argument("--tta", type=int, choices=(1, 2, 4), default=4, help=text)
