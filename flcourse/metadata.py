"""What the file of a network says of itself, checked, because a stranger may have written it (standard library)."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from flcourse.errors import CourseError

HEADS = ("regression", "heatmap")
SIDES = 32, 1024  # px, of a crop
WIDTHS = 0.01, 4.0  # of the full Xception's channels: from 8 everywhere to 170 times the shipped network's weights
STEM_STRIDES = 2, 4  # px, of the first convolution
EXIT_CONVOLUTIONS = 1, 2  # of the exit flow, after its block
MOST_BLOCKS = 64  # middle blocks; the paper has 8
ACCEPT = 0.2  # the confidence from which an answer counts as a face, unless its network says otherwise
CALIBRATIONS = "calibration", "still_calibration"  # for crops of `size`, and for larger ones
MOST_TEXT = 10_000_000  # characters of JSON


class HeldOut(NamedTuple):
    """How far a network was off on faces that its training had held out, as was measured then or at export."""

    nme: float  # percent of the outer eye corners' distance, one view
    faces: int
    of: str  # the set they are from, as far as it is known

    def __str__(self) -> str:
        return f"{self.nme:.2f} % on {self.faces} held-out {self.of}"

    @classmethod
    def read(cls, metadata: dict) -> "HeldOut | None":
        """What a network's checked metadata state: `figures.held_out`, else what its training's best epoch measured."""
        figures = metadata.get("figures") or {}
        if measured := figures.get("held_out"):
            return cls(measured["nme"], measured["faces"], measured["of"])
        if "val_nme" in figures and "faces" in metadata:
            return cls(figures["val_nme"], metadata["faces"][1], "faces of its training set")
        return None


def crop_sizes(recipe: dict) -> tuple[int, int]:
    """The sides of a network's crops, pixels: in video, and of still images."""
    return recipe["size"], recipe.get("still_size") or recipe["size"]


def least_confidence(metadata: dict) -> float:
    """From which confidence a calibrated network's answers count as faces."""
    return min((metadata.get(name) or {}).get("accept", ACCEPT) for name in CALIBRATIONS)


def parse_metadata(text: str, where: object) -> dict:
    """The metadata in a file's JSON, checked by `check_metadata`. Raises `CourseError` naming the file `where`."""
    if len(text) > MOST_TEXT:
        raise CourseError(f"{where}: metadata of {len(text) / 1e6:.0f} MB, expected at most {MOST_TEXT / 1e6:.0f} MB")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CourseError(f"{where}: its metadata are no JSON; not loaded") from error
    return check_metadata(metadata, where)


def check_metadata(metadata: object, where: object) -> dict:
    """The metadata of a landmark network, if what is used of them is of the right kind and within bounds.

    `recipe` must be there where a network is built; everything is optional here. Raises `CourseError` naming the file
    `where`, the value and what was expected.
    """
    top = _Part("null" if metadata is None else metadata, where, "")
    recipe = top.part("recipe")
    recipe.check("width", _number(*WIDTHS), f"a number from {WIDTHS[0]} to {WIDTHS[1]}")
    recipe.check("head", HEADS.__contains__, " or ".join(HEADS))
    for name, known in (("stem_stride", STEM_STRIDES), ("exit_convolutions", EXIT_CONVOLUTIONS)):
        recipe.check(
            name, lambda value, known=known: type(value) is int and value in known, " or ".join(map(str, known))
        )
    known = (False, True) if recipe.values.get("head") == "heatmap" else (False,)
    recipe.check("refine", lambda value: any(value is one for one in known), "false or, with head heatmap, true")
    sides = f"a whole number of pixels from {SIDES[0]} to {SIDES[1]}"
    recipe.check("size", _whole(*SIDES), sides)
    recipe.check("still_size", lambda value: value is None or _whole(*SIDES)(value), f"{sides}, or null")
    if recipe.values.get("head") == "heatmap":
        stride = 8 * recipe.values.get("stem_stride", 2)
        for name in ("size", "still_size"):
            recipe.check(name, lambda value: not value or value % stride == 0, f"a multiple of {stride}, for heatmaps")
    recipe.check("middle_blocks", _whole(1, MOST_BLOCKS), f"a whole number from 1 to {MOST_BLOCKS}")
    recipe.check("val_fraction", _number(0, 1), "a number from 0 to 1")
    recipe.part("config").check("seed", _whole(0, 2**63), "a whole number from 0")
    for calibration in map(top.part, CALIBRATIONS):
        if not calibration:
            continue
        if set(calibration.values) - {"slope", "bias", "accept"} or not {"slope", "bias"} <= set(calibration.values):
            names = _short(list(calibration.values))
            raise CourseError(f"{where}: {calibration.name} has {names}, expected slope, bias, accept")
        for name in ("slope", "bias"):
            calibration.check(name, _number(-1e6, 1e6), "a number")
        calibration.check("accept", _number(0, 1), "a number from 0 to 1")
    top.check("label_shift", _number(-0.05, 0.05), "a number from -0.05 to 0.05, parts of the crop")
    held_out = top.part("held_out")
    held_out.check("faces", _whole(0, 10**9), "a whole number")
    held_out.check("names", lambda value: isinstance(value, str), "a text")
    top.part("calibrated")
    top.part("still_calibrated")
    top.check("faces", _two_counts, "two whole numbers: faces trained on, faces held out")
    figures = top.part("figures")
    figures.check("val_nme", _number(0, 1e9), "a percentage")
    measured = figures.part("held_out")
    if measured and not {"nme", "faces", "of"} <= set(measured.values):
        raise CourseError(f"{where}: figures.held_out has {_short(list(measured.values))}, expected nme, faces, of")
    measured.check("nme", _number(0, 1e9), "a percentage")
    measured.check("faces", _whole(1, 10**9), "a whole number")
    measured.check("of", lambda value: isinstance(value, str) and len(value) <= 100, "a text of up to 100 letters")
    return top.values


class _Part:
    """A JSON object within the metadata, empty where it is left out."""

    def __init__(self, values: object, where: object, name: str) -> None:
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise CourseError(f"{where}: {name or 'its metadata'} is {_short(values)}, expected names and values")
        self.values, self.where, self.name = values, where, name

    def __bool__(self) -> bool:
        return bool(self.values)

    def part(self, name: str) -> "_Part":
        return _Part(self.values.get(name), self.where, f"{self.name}.{name}" if self.name else name)

    def check(self, name: str, right: Callable[[Any], bool], expected: str) -> None:
        if name not in self.values:
            return
        try:
            fine = right(self.values[name])
        except TypeError:  # a list where a text is looked for
            fine = False
        if not fine:
            said = _short(self.values[name])
            what = f"{self.name}.{name}" if self.name else name
            raise CourseError(f"{self.where}: {what} is {said}, expected {expected}; not loaded")


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high  # type, because True is an int too


def _two_counts(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_whole(0, 10**9)(count) for count in value)


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high  # which NaN is not


def _short(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a thousand lists in each other
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}..."
