"""Options that several commands share, each said once, and numbers that are checked where they are parsed. Light."""

import argparse
import math
import re
from collections.abc import Callable

DETECTORS = ("course", "drawn", "yunet", "ssd", "haar")  # as `face.detect.DETECTORS`, which takes longer to import


def add_description(parser: argparse.ArgumentParser, more: str) -> None:
    """Say more below a command's one line, which the table of commands gave."""
    parser.description = f"{parser.description} {more}"


def whole(least: int, most: int) -> Callable[[str], int]:
    """An option's `type`: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: expected a whole number, {least} to {most}")
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text.strip()}: expected {least} to {most}")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """An option's `type`: a number from `least` to `most`; a `least` of 0 itself is not meant."""
    expected = f"a number from {least:g} to {most:g}" if least else f"a number above 0, at most {most:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and value):
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: expected {expected}")
        return value

    return parse


def add_weights(parser: argparse.ArgumentParser) -> None:
    """`--weights` of the commands that run a network without PyTorch."""
    parser.add_argument("--weights", metavar="W", help="a shipped name or an .onnx file (default: the shipped network)")


def add_detector(parser: argparse.ArgumentParser) -> None:
    """`--detector`."""
    text = "face detector: course (default), drawn (free for every use), yunet, ssd or haar"
    parser.add_argument("--detector", choices=("auto", *DETECTORS), default="auto", metavar="NAME", help=text)


def add_tta(parser: argparse._ActionsContainer) -> None:
    """`--tta`, test-time augmentation."""
    text = "views of each face: 2 adds the mirror image, 4 both again about the points found (default: 4)"
    parser.add_argument("--tta", type=int, choices=(1, 2, 4), default=4, help=text)


def add_recursive(parser: argparse.ArgumentParser) -> None:
    """`--recursive`."""
    parser.add_argument("--recursive", action="store_true", help="also look into folders' subfolders")
