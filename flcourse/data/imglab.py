"""imglab XML <-> `Face` records, and their split by photograph (NumPy only).

Reads dlib's packaging of iBUG 300-W (https://ibug.doc.ic.ac.uk/resources/300-W/, `labels_ibug_300W_*.xml`) and any
other imglab file with the 68 points: whole or decimal coordinates, images without `width`, several boxes in an image,
parts in any order.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import quoteattr

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree

from flcourse.errors import CourseError
from flcourse.files import atomic_write, data_folders, find_file
from flcourse.points import N_POINTS, Box

# Where the unpacked archive's labels lie in a data folder.
IBUG_TRAIN = "ibug_300W_large_face_landmark_dataset/labels_ibug_300W_train.xml"
IBUG_TEST = IBUG_TRAIN.replace("_train", "_test")


def training_labels(xml: Path | None = None) -> Path:
    """The labels file that was named, else iBUG's training faces in a data folder. Raises `CourseError`."""
    found = xml or find_file(IBUG_TRAIN)
    if found is None:
        raise CourseError(
            f"{IBUG_TRAIN}: not found in {' or '.join(map(str, data_folders()))}; "
            "fetch it with flcourse data ibug, or give --data XML"
        )
    return found


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
    """Read every box of an imglab XML file, in the file's order. Images are not opened.

    Raises `CourseError`, naming file, image and value, where the file is missing, truncated, no imglab XML or empty,
    where it declares entities (an "entity bomb" could fill the memory), and where a face has a box without area, a
    part that is not one of 00 ... 67, or not exactly 68 of them.
    """
    xml = Path(xml)
    try:
        root = SafeTree.parse(xml, forbid_dtd=True).getroot()
    except OSError as error:
        raise CourseError(f"{xml}: {error.strerror or error}, expected an imglab XML file") from error
    except ParseError as error:
        raise CourseError(
            f"{xml}: not whole XML ({error}); expected an imglab file, copy or download it again"
        ) from error
    except DefusedXmlException as error:
        raise CourseError(f"{xml}: declares a DTD or entities, which imglab files never do; not read") from error
    except (ValueError, LookupError) as error:  # an encoding nobody knows
        raise CourseError(f"{xml}: {error}; expected an imglab XML file") from error
    if root.tag != "dataset":
        raise CourseError(f"{xml}: root element <{root.tag}>, expected imglab's <dataset>")
    faces = []
    for number, image in enumerate(root.iter("image"), start=1):
        file = image.get("file", "").replace("\\", "/")
        where = f"{xml}, image {number} ({file or 'no file attribute'})"
        if not file:
            raise CourseError(f"{where}: expected <image file='...'>")
        faces += [Face(xml.parent / file, file, *_read_box(box, where)) for box in image.iter("box")]
    if not faces:
        raise CourseError(f"{xml}: no face in it, expected <image> elements with <box> and 68 <part>s")
    return faces


def _read_box(element: Element, where: str) -> tuple[Box, np.ndarray]:
    """A `<box>` element's box and its points (68, 2)."""
    box = Box(*(_number(element, name, where) for name in ("left", "top", "width", "height")))
    if box.width <= 0 or box.height <= 0:
        raise CourseError(f"{where}: box of {box.width:g} x {box.height:g} pixels, expected a positive size")
    parts = element.findall("part")
    if len(parts) != N_POINTS:
        raise CourseError(f"{where}: {len(parts)} points, expected {N_POINTS}")
    points = np.full((N_POINTS, 2), np.nan, np.float32)
    for part in parts:
        name = part.get("name", "")
        if not name.isdecimal() or int(name) >= N_POINTS:
            raise CourseError(f"{where}: part name {name!r}, expected 00 to {N_POINTS - 1}")
        points[int(name)] = _number(part, "x", where), _number(part, "y", where)
    if np.isnan(points).any():
        missing = int(np.isnan(points).any(axis=1).argmax())
        raise CourseError(f"{where}: part {missing:02d} is missing and another is there twice")
    return box, points


def _number(element: Element, name: str, where: str) -> float:
    text = element.get(name)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise CourseError(f"{where}: <{element.tag}> has {name}={text!r}, expected a number")
    return value


def write_imglab(xml: str | os.PathLike, faces: Iterable[Face], name: str = "faces") -> None:
    """Write faces as imglab XML that `read_imglab` reads back (to 0.01 px); faces of one file share its `<image>`."""
    by_file = defaultdict(list)
    for face in faces:
        by_file[face.file].append(face)
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", "<dataset>", f"<name>{name}</name>", "<images>"]
    for file, group in by_file.items():
        lines.append(f"  <image file={quoteattr(file)}>")
        for face in group:
            left, top, width, height = (f"{value:g}" for value in np.round(face.box, 2))
            lines.append(f"    <box top='{top}' left='{left}' width='{width}' height='{height}'>")
            lines += [f"      <part name='{i:02d}' x='{x:.2f}' y='{y:.2f}'/>" for i, (x, y) in enumerate(face.points)]
            lines.append("    </box>")
        lines.append("  </image>")
    atomic_write(xml, "\n".join([*lines, "</images>", "</dataset>", ""]))


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
    order = sorted(photos, key=lot.get)
    held_out = {photo for photo in order[:-1] if lot[photo] < fraction} or {order[0]}
    return [f for f in faces if f.photo not in held_out], [f for f in faces if f.photo in held_out]


def _lot(text: str) -> float:
    """A number in [0, 1) drawn from a text: the same on every machine and run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
