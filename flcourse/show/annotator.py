"""A widget to annotate a face: a learner clicks its 68 points, or corrects a proposal, and keeps them as imglab XML.

As with the drawing pad, the browser only sends what was clicked (`marks`), and everything else is Python.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import anywidget
import cv2
import numpy as np
import traitlets

from flcourse.data.drawing.shape import NEUTRAL, Expression, express
from flcourse.data.imglab import Face, read_imglab, write_imglab
from flcourse.errors import CourseError
from flcourse.face.landmarker import FaceLandmarks
from flcourse.images import read_image, write_image
from flcourse.points import N_POINTS, PARTS, Box, face_box
from flcourse.show.assets import parts, script, style
from flcourse.show.notes import Noted

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]

# What the browser says of each part. "Left" and "right" alone are a trap here: the mark-up means the person's own.
WHERE = {
    "jaw": (
        "Jaw",
        "From the ear at the image's left along the edge of the face; 8 is the chin's tip, 16 at the other ear.",
    ),
    "right_brow": ("Brow, left in the image", "Along the brow's upper edge, from its outer to its inner end."),
    "left_brow": ("Brow, right in the image", "Along the brow's upper edge, from its inner to its outer end."),
    "nose_bridge": ("Bridge of the nose", "From between the eyes (27) straight down to the tip of the nose (30)."),
    "nose_base": ("Base of the nose", "Under the nose from the image's left to right; 33 is in the middle."),
    "right_eye": (
        "Eye, left in the image",
        "36 outer corner, 37 and 38 upper lid, 39 inner corner, then back along the lower lid: 40, 41.",
    ),
    "left_eye": (
        "Eye, right in the image",
        "42 inner corner, 43 and 44 upper lid, 45 outer corner, then back along the lower lid: 46, 47.",
    ),
    "outer_lips": (
        "Lips, outer edge",
        "48 corner at the image's left, over the upper lip (51 in the middle) to the corner 54, back below (57).",
    ),
    "inner_lips": (
        "Lips, inner edge",
        "60 corner, under the upper lip (62 in the middle) to the corner 64, back over the lower lip (66).",
    ),
}


def scheme() -> dict:
    """The mark-up as the browser draws it: 68 points of a made-up face in a frame 100 wide, and its parts.

    The mouth is open a little, so that the inner lips' two edges can be told apart.
    """
    points = express(NEUTRAL, Expression(lips_apart=0.5, mouth_open=0.12, brow_raise=0.3))[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 6.0
    scale = (100 - 2 * margin) / (high[0] - low[0])
    named = [
        part | {"name": name, "hint": hint}
        for part, (name, hint) in zip(parts(), (WHERE[name] for name in PARTS), strict=True)
    ]
    return {
        "points": ((points - low) * scale + margin).round(2).tolist(),
        "height": round(float((high[1] - low[1]) * scale + 2 * margin), 2),
        "parts": named,
    }


class Annotator(Noted, anywidget.AnyWidget):
    """A photograph, (H, W, 3) uint8 RGB, on which 68 points are clicked in order, dragged and corrected.

    `points`, (68, 2) image pixels, are a proposal to begin with (say, a landmarker's); NaN where there is none. The
    current state is always in `points`; `save` keeps it. Several annotators are independent; one shown twice is one.
    """

    _esm = script("annotator.js")
    _css = style("annotator.css")

    jpeg = traitlets.Bytes(read_only=True, help="the image, for the browser to show").tag(sync=True)
    width = traitlets.Int(read_only=True).tag(sync=True)
    height = traitlets.Int(read_only=True).tag(sync=True)
    scheme = traitlets.Dict(read_only=True).tag(sync=True)
    # Lists, because JSON has no NaN. Integers are at pixel centres, as everywhere; the browser adds the half pixel.
    marks = traitlets.List(help="68 times [x, y] in image pixels, or None where not set").tag(sync=True)
    current = traitlets.Int(0, min=0, max=N_POINTS - 1, help="the point that the next click sets").tag(sync=True)
    # Here rather than in the browser, so that two views of one annotator undo the same.
    history = traitlets.List(help="for each step, what it changed: lists of [index, mark before]").tag(sync=True)

    def __init__(self, image: np.ndarray, points: np.ndarray | None = None, **traits):
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image: {image.dtype} {image.shape}, expected uint8 (H, W, 3), RGB")
        self.image = image.copy()  # what is saved later is what was annotated
        marks = as_marks(points)
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(self.image, cv2.COLOR_RGB2BGR), JPEG)
        if not done:
            raise ValueError(f"image: {image.shape}, too large to be shown (JPEG's limit is 65,500 pixels)")
        super().__init__(marks=marks, current=first_missing(marks), **traits)
        self.set_trait("jpeg", jpeg.tobytes())
        self.set_trait("height", image.shape[0])
        self.set_trait("width", image.shape[1])
        self.set_trait("scheme", scheme())
        self._saved: dict[Path, Face] = {}  # what lies of this annotator in each XML

    def __repr__(self):  # what a reader on GitHub sees in its place
        return f"An annotator of {N_POINTS} points: run this notebook to click on it"

    @traitlets.validate("marks")
    def _check(self, proposal) -> list:
        try:
            return as_marks([[np.nan] * 2 if mark is None else mark for mark in proposal.value])
        except ValueError as error:
            raise traitlets.TraitError(f"marks: {error}") from error

    # --- what was clicked ---

    @property
    def points(self) -> np.ndarray:
        """The points as they are now, (68, 2) float64, image pixels, integers at pixel centres; NaN where not set.

        Setting them replaces everything (None: no point is set), and cannot be undone in the browser.
        """
        return np.array([[np.nan] * 2 if mark is None else mark for mark in self.marks], float)

    @points.setter
    def points(self, points: np.ndarray | None) -> None:
        marks = as_marks(points)
        with self.hold_sync():
            self.marks, self.history, self.current = marks, [], first_missing(marks)

    @property
    def done(self) -> bool:
        """Whether all 68 points are set."""
        return None not in self.marks

    @property
    def box(self) -> Box:
        """The face box that the points stand for, as `points.face_box` says. Raises `CourseError` where points miss."""
        return face_box(self._complete())

    def _complete(self) -> np.ndarray:
        points = self.points
        missing = np.flatnonzero(np.isnan(points).any(axis=1))
        if len(missing):
            first = missing[0]
            part = next(WHERE[name][0] for name, part in PARTS.items() if first in part)
            raise CourseError(
                f"{N_POINTS - len(missing)} of {N_POINTS} points are set; the first that is missing is {first} "
                f"({part[0].lower()}{part[1:]}): click the others too, or start from a proposal"
            )
        return points

    # --- keeping it ---

    def face(self, path: str | os.PathLike, file: str | None = None) -> Face:
        """The annotation as a `Face` of the image file `path`, called `file` in its XML (or as the path is).

        The image is not written: `save` does that. Raises `CourseError` where points miss.
        """
        path = Path(path)
        return Face(path, path.name if file is None else file, self.box, self._complete().astype(np.float32))

    def resume(self, xml: str | os.PathLike, file: str) -> bool:
        """Take up again what was saved last in `xml` of the image `file`, which must be this one; whether it was there.

        Its points take the place of those proposed, and `save` replaces it: so a notebook that is run again from the
        start, in a new kernel, neither forgets what was corrected nor adds the uncorrected proposal beside it.
        """
        xml = Path(xml)
        faces = [face for face in read_imglab(xml) if face.file == file] if xml.exists() else []
        if not faces or not np.array_equal(read_image(faces[-1].path), self.image):
            return False
        self.points = faces[-1].points.astype(float)
        self._saved[xml.resolve()] = faces[-1]
        return True

    def save(self, xml: str | os.PathLike, file: str | None = None) -> list[Face]:
        """Write the image as PNG beside `xml` and add the face to it; return all of its faces, read back.

        `file` names the image, relative to the XML; without it, it is the XML's name and the next free number. Saved
        again, an annotator replaces what it saved before, and a face that is there just so is not doubled. Raises
        `CourseError`, and leaves all as it was, where points miss, where `xml` is there but is no imglab file, where
        `file` is another image, and where the reader would refuse what is written (say, a name with a line break).
        """
        xml = Path(xml)
        self._complete()
        faces = read_imglab(xml) if xml.exists() else []
        before = self._saved.get(xml.resolve())
        if before:
            file = file or before.file
            faces = [f for f in faces if f.file != before.file or not np.array_equal(f.points, before.points)]
        file = file or _free_name(xml)
        path = xml.parent / file
        if path.suffix.lower() != ".png":
            raise CourseError(f"{file}: expected a name that ends in .png, which keeps every pixel")
        fresh = not path.exists()
        if not fresh:
            if not np.array_equal(read_image(path), self.image):
                raise CourseError(f"{path}: is there already and is another image; choose another name")
        else:
            write_image(path, self.image)
        mine = self.face(path, file)
        # The file keeps 0.01 px.
        faces = [f for f in faces if f.file != file or not np.allclose(f.points, mine.points, rtol=0, atol=0.011)]
        try:
            write_imglab(xml, [*faces, mine])
            faces = read_imglab(xml)
        except (CourseError, OSError):
            if fresh:
                path.unlink(missing_ok=True)
            raise
        # Faces of one image stand together in the file, the newest last.
        self._saved[xml.resolve()] = [face for face in faces if face.file == file][-1]
        return faces


AVERAGE_PART = 0.6  # of the image's shorter side: how high an average face stands where none was found


def proposal(image: np.ndarray, found: Sequence[FaceLandmarks]) -> np.ndarray:
    """Points (68, 2) to begin an annotation of `image` (H, W, 3) with: those of the largest of the faces found.

    Where none was found they are an average face's, in the middle of the image, to be dragged into place.
    """
    if found:
        return max(found, key=lambda face: face.box.side).points.astype(float)
    points = express(NEUTRAL, Expression())[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    height, width = image.shape[:2]
    scale = AVERAGE_PART * min(height, width) / (high - low).max()
    return (points - (low + high) / 2) * scale + ((width - 1) / 2, (height - 1) / 2)


def as_marks(points: Sequence | np.ndarray | None) -> list[list[float] | None]:
    """Points (68, 2) as a list for the browser, None where a coordinate is NaN; None becomes 68 times None.

    Raises `ValueError` where the shape is another or a number infinite.
    """
    if points is None:
        return [None] * N_POINTS
    points = np.asarray(points, float)
    if points.shape != (N_POINTS, 2) or np.isinf(points).any():
        raise ValueError(f"points: shape {points.shape}, expected ({N_POINTS}, 2) numbers, x and y, NaN where not set")
    return [None if np.isnan(point).any() else point.tolist() for point in points]


def first_missing(marks: list) -> int:
    """The index of the first point that is not set, 0 where all are."""
    return marks.index(None) if None in marks else 0


def _free_name(xml: Path) -> str:
    """The name of an image beside `xml` that is not there yet: `mine_0000.png` for `mine.xml`."""
    number = 0
    while (xml.parent / f"{xml.stem}_{number:04d}.png").exists():
        number += 1
    return f"{xml.stem}_{number:04d}.png"
