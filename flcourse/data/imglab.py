"""imglab XML <-> `Face` records, and their split by photograph (NumPy only).

Reads dlib's packaging of iBUG 300-W (https://ibug.doc.ic.ac.uk/resources/300-W/, `labels_ibug_300W_*.xml`) and any
other imglab file with the 68 points: whole or decimal coordinates, images without `width`, several boxes in an image,
parts in any order, boxes to be ignored. Files come from strangers, so everything in them has a limit.
"""

import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree

from flcourse.errors import CourseError, printable
from flcourse.files import atomic_write, read_bytes
from flcourse.images import read_image
from flcourse.points import N_POINTS, OUTER_EYE_CORNERS, Box

# Where the unpacked archive's labels lie in a data folder.
IBUG_TRAIN = "ibug_300W_large_face_landmark_dataset/labels_ibug_300W_train.xml"
IBUG_TEST = IBUG_TRAIN.replace("_train", "_test")

# Limits: what an honest file stays far below, and what keeps a hostile one from filling the memory or the evening.
MOST_BYTES = 100_000_000  # of an XML file; dlib's, of 6,666 faces, has about 25 MB
_MOST_ELEMENTS = 4_000_000  # in it; 100 MB of faces have 3
_LONGEST_NAME = 1_000  # characters of an image's name
_LONGEST_NUMBER = 32  # characters
_LARGEST = 1_000_000.0  # px, of a coordinate or a side: more than OpenCV reads
_SMALLEST_BOX = 1.0  # px, of a side
_SMALLEST_EYES = 0.1  # px between the outer eye corners, by which errors are divided
_CHUNK_BYTES = 8_000_000  # read at once: older expats begin a long tag anew with every piece of it
# Digits of ours only, as `float` takes Arabic ones, underscores and "infinity", too; two digits of an exponent will do.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d\d?)?", re.ASCII)
_PART_NAME = re.compile(r"\d\d?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Face:
    """One annotated face: an image file, its face box and its 68 points."""

    path: Path  # the image
    file: str  # the image as the XML names it, relative to the XML, with forward slashes
    box: Box
    points: np.ndarray  # (68, 2) float32, image pixels, integers at pixel centres

    @property
    def photo(self) -> str:
        """The photograph this face was taken from: faces that share one must not be split apart.

        The archive's `_mirror` twins belong to their original, and AFW and Helen number the faces of one photograph
        (`afw/134212_1.jpg`, `afw/134212_2.jpg`). LFPW's numbers (`image_0001`) are the photographs themselves.
        """
        stem = re.sub(r"_mirror$", "", os.path.splitext(self.file)[0])
        return re.sub(r"_\d+$", "", stem) if re.search(r"(^|/)(afw|helen)/", stem) else stem


def read_imglab(xml: str | os.PathLike) -> list[Face]:
    """Read the boxes of an imglab XML file, in the file's order. Images are not opened.

    Boxes with `ignore='1'` are left out, as dlib does, and counted in one line on stderr.

    Raises `CourseError`, naming file, image and value, where the file is missing, over `MOST_BYTES`, truncated, no
    imglab XML or empty; where it declares entities (an "entity bomb" could fill the memory); where an image's name is
    absolute, climbs out of the XML's folder or has control characters; and where a face has a box under a pixel, a part
    that is not one of 00 ... 67 or not exactly 68 of them, a number beyond a million, eye corners in one place, or a
    point outside the image, if the XML says how large that is, by more than the face is large.
    """
    xml = Path(xml)
    faces, ignored = _parse(read_bytes(xml, "an imglab XML file", MOST_BYTES), xml)
    if ignored:
        boxes = "1 box" if ignored == 1 else f"{ignored:,} boxes"
        print(f"{printable(xml)}: {boxes} with ignore='1' left out", file=sys.stderr)
    if not faces:
        raise CourseError(f"{xml}: no face in it, expected <image> elements with <box> and 68 <part>s")
    return faces


def _parse(data: bytes, xml: Path) -> tuple[list[Face], int]:
    """The faces in an imglab file's bytes, and the number of boxes to be ignored."""
    faces, ignored = [], 0
    try:
        for number, image in enumerate(_images(data, xml), start=1):
            file = image.get("file", "").replace("\\", "/")
            where = f"{xml}, image {number} ({file[:_LONGEST_NAME] or 'no file attribute'})"
            if trouble := _name_trouble(file):
                raise CourseError(f"{where}: {trouble}")
            size = _image_size(image, where)
            for box in image.findall("box"):
                if box.get("ignore", "").lower() in ("1", "true"):
                    ignored += 1
                    continue
                faces.append(Face(xml.parent / file, file, *_read_box(box, where)))
                check_inside(faces[-1], size, where)
    except ParseError as error:
        raise CourseError(
            f"{xml}: not whole XML ({error}); expected an imglab file, copy or download it again"
        ) from error
    except DefusedXmlException as error:
        raise CourseError(f"{xml}: declares a DTD or entities, which imglab files never do; not read") from error
    except (ValueError, LookupError) as error:  # an encoding nobody knows
        raise CourseError(f"{xml}: {str(error)[:80]}; expected an imglab XML file") from error
    return faces, ignored


class _Chunks(BytesIO):
    """Bytes that come in small pieces, however many are asked for."""

    def read(self, size: int | None = None) -> bytes:
        return super().read(_CHUNK_BYTES)


def _images(data: bytes, xml: Path) -> Iterator[Element]:
    """The `<image>` elements of a file, each emptied once it was looked at, so that the memory holds one."""
    elements = 0
    for event, element in SafeTree.iterparse(_Chunks(data), events=("start", "end"), forbid_dtd=True):
        if event == "start":
            elements += 1
            if elements == 1 and element.tag != "dataset":
                raise CourseError(f"{xml}: root element <{element.tag[:100]}>, expected imglab's <dataset>")
            if elements > _MOST_ELEMENTS:
                raise CourseError(f"{xml}: over {_MOST_ELEMENTS:,} elements, expected fewer; split the file")
        elif element.tag == "image":
            yield element
            element.clear()


def _name_trouble(file: str) -> str | None:
    """What is wrong with an image's name, which is relative to the XML's folder and stays in it; None if nothing."""
    if not file:
        return "expected <image file='...'>"
    if len(file) > _LONGEST_NAME:
        return f"a name of {len(file):,} characters, expected at most {_LONGEST_NAME:,}"
    if file.startswith("/") or re.match("[A-Za-z]:", file) or ".." in file.split("/"):
        return f"the name {file!r} is not safe, it leaves the XML's folder; put the XML beside or above its images"
    if printable(file) != file:
        return f"the name {file!r} has control characters; rename the image"
    return None


def _image_size(image: Element, where: str) -> tuple[float, float]:
    """Width and height of an `<image>` as it says itself, infinite where it does not."""
    sides = [np.inf if image.get(name) is None else _number(image, name, where) for name in ("width", "height")]
    return sides[0], sides[1]


def check_inside(face: Face, size: tuple[float, float], where: str) -> None:
    """Raise `CourseError` where a face cannot be in an image of this width and height: it is another one's, or scaled.

    Points may lie outside, but not by more than the face is large.
    """
    outside = np.maximum(-face.points, face.points - (size[0] - 1, size[1] - 1)).max(axis=1)  # (68,)
    if outside.max() > max(face.box.side, 1.0):
        x, y = face.points[outside.argmax()]
        at = f"point {outside.argmax():02d} at ({x:g}, {y:g})"
        large = f" of {size[0]:g} x {size[1]:g} px" if np.isfinite(size).all() else ""
        raise CourseError(f"{where}: {at} is far outside the image{large}")


def read_face_image(face: Face) -> np.ndarray:
    """The image of a face, (H, W, 3) uint8 RGB. Raises `CourseError` where it cannot be read or is not the face's."""
    image = read_image(face.path)
    height, width = image.shape[:2]
    check_inside(face, (width, height), str(face.path))
    return image


def _read_box(element: Element, where: str) -> tuple[Box, np.ndarray]:
    """A `<box>` element's box and its points (68, 2)."""
    box = Box(*(_number(element, name, where) for name in ("left", "top", "width", "height")))
    if min(box.width, box.height) < _SMALLEST_BOX:
        raise CourseError(f"{where}: box of {box.width:g} x {box.height:g} pixels, expected at least 1 x 1")
    parts = element.findall("part")
    if len(parts) != N_POINTS:
        raise CourseError(f"{where}: {len(parts)} points, expected {N_POINTS}")
    points = np.full((N_POINTS, 2), np.nan, np.float32)
    for part in parts:
        name = part.get("name", "")
        if not _PART_NAME.fullmatch(name) or int(name) >= N_POINTS:
            raise CourseError(f"{where}: part name {_short(name)}, expected 00 to {N_POINTS - 1}")
        points[int(name)] = _number(part, "x", where), _number(part, "y", where)
    if np.isnan(points).any():
        missing = int(np.isnan(points).any(axis=1).argmax())
        raise CourseError(f"{where}: part {missing:02d} is missing and another is there twice")
    one, two = OUTER_EYE_CORNERS
    if np.hypot(*(points[one] - points[two])) < _SMALLEST_EYES:
        raise CourseError(f"{where}: parts {one} and {two}, the outer eye corners, are in one place")
    return box, points


def _number(element: Element, name: str, where: str) -> float:
    text = element.get(name)
    expected, said = "a number", None
    if text is not None:
        said = _short(text)
        if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text.strip()):
            if abs(value := float(text)) <= _LARGEST:
                return value
            expected = f"at most {_LARGEST:,.0f} pixels"
    raise CourseError(f"{where}: <{element.tag}> has {name}={said}, expected {expected}")


def _short(text: str) -> str:
    if len(text) <= 2 * _LONGEST_NUMBER:
        return repr(text)
    return f"{text[:_LONGEST_NUMBER]!r}... ({len(text):,} characters)"


def _ignored(xml: Path) -> int:
    """How many boxes to be ignored a file has; 0 where it is none or no labels."""
    try:
        return _parse(read_bytes(xml, "an imglab XML file", MOST_BYTES), xml)[1]
    except CourseError:
        return 0


def write_imglab(xml: str | os.PathLike, faces: Iterable[Face], name: str = "faces") -> None:
    """Write faces as imglab XML that `read_imglab` reads back (to 0.01 px); faces of one file share its `<image>`.

    Raises `CourseError`, and leaves what was there, where it would not: no face, a name with a backslash or control
    characters, points that are no numbers, and all else that `read_imglab` refuses. So it does where a file with boxes
    to be ignored is there: `Face` records know nothing of them, and they would be lost.
    """
    xml = Path(xml)
    if lost := _ignored(xml):
        raise CourseError(f"{xml}: {lost:,} boxes with ignore='1' in it would be lost; write to another file")
    by_file = defaultdict(list)
    for face in faces:
        by_file[face.file].append(face)
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", "<dataset>", f"<name>{escape(printable(name))}</name>"]
    lines.append("<images>")
    for number, (file, group) in enumerate(by_file.items(), start=1):
        if trouble := _name_trouble(file):
            raise CourseError(f"{xml}, image {number}: {trouble}")
        lines.append(f"  <image file={quoteattr(file)}>")
        for face in group:
            left, top, width, height = (f"{value:.2f}".rstrip("0").rstrip(".") for value in face.box)
            lines.append(f"    <box top='{top}' left='{left}' width='{width}' height='{height}'>")
            lines += [f"      <part name='{i:02d}' x='{x:.2f}' y='{y:.2f}'/>" for i, (x, y) in enumerate(face.points)]
            lines.append("    </box>")
        lines.append("  </image>")
    data = "\n".join([*lines, "</images>", "</dataset>", ""]).encode()
    back, _ = _parse(data, xml)  # what a writer writes, its reader reads: seen before anything is replaced
    written = [face for group in by_file.values() for face in group]
    if not written:
        raise CourseError(f"{xml}: no face to write")
    for face, copy in zip(written, back, strict=True):
        if face.file != copy.file:
            raise CourseError(f"{xml}: {face.file!r} would be read as {copy.file!r}, expected forward slashes")
    atomic_write(xml, data)


def split_faces(faces: Sequence[Face], fraction: float, seed: int = 0) -> tuple[list[Face], list[Face]]:
    """Split into (training, validation) by photograph, about `fraction` of the photographs to validation.

    A photograph's side depends only on its name and `seed`, not on the order or on which other faces are there (but
    for one thing: neither side is left empty), so a set that grows keeps its split.
    Raises `CourseError` where there are fewer than two photographs.
    """
    photos = {face.photo for face in faces}
    if len(photos) < 2:
        raise CourseError(f"{len(photos)} photograph to split, expected at least 2 (one to train, one to validate)")
    lot = {photo: _lot(f"{seed}:{photo}") for photo in photos}
    order = sorted(photos, key=lot.__getitem__)
    held_out = {photo for photo in order[:-1] if lot[photo] < fraction} or {order[0]}
    return [f for f in faces if f.photo not in held_out], [f for f in faces if f.photo in held_out]


def fingerprint(faces: Sequence[Face]) -> dict:
    """How many faces these are and, in a checksum, of which images: by it they are known again on any machine."""
    names = "\n".join(sorted(face.file for face in faces))
    return {"faces": len(faces), "names": hashlib.sha256(names.encode()).hexdigest()}


def hold_out(faces: Sequence[Face], count: int) -> tuple[list[Face], list[Face]]:
    """Split into (the others, the faces of `count` images), chosen by the images' names alone: for tests.

    For sets with one image of each person, such as LFW here, these are as many people.
    """
    files = sorted({face.file for face in faces}, key=lambda file: _lot(f"test:{file}"))
    held = set(files[:count])
    return [f for f in faces if f.file not in held], [f for f in faces if f.file in held]


def _lot(text: str) -> float:
    """A number in [0, 1) drawn from a text: the same on every machine and run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
