"""Photographs with faces for the detector's training: read once, grey, at several sizes, every face in them marked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm.auto import tqdm

from flcourse.data.imglab import Face
from flcourse.images import read_image
from flcourse.points import Box, face_box, overlap

GREY = tuple[np.ndarray, ...]  # a grey uint8 image, and copies each half as large as the one before
SURE, HEEDED = 0.7, 0.25  # scores of the labelling detector: from which it is right, from which it may be


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph and the faces in it, each (x, y, side) in its pixels; the first one is annotated by its points."""

    grey: GREY
    faces: np.ndarray  # (N, 3), N at least 1
    doubtful: np.ndarray  # (M, 3): neither faces nor none


def halved(image: np.ndarray) -> GREY:
    """A grey copy of an RGB or grey image and ever smaller ones, so that a small copy is warped without aliasing."""
    levels = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image]
    while min(levels[-1].shape) >= 24:
        height, width = (side // 2 for side in levels[-1].shape)
        even = levels[-1][: 2 * height, : 2 * width]
        levels.append(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
    return tuple(levels)


def read_photos(
    faces: Sequence[Face], label: Callable[[np.ndarray], list[tuple[Box, float]]] | None, progress: bool = False
) -> list[Photo]:
    """Read the images of annotated faces; `label` finds boxes (iBUG's convention) and scores of the others in them.

    Without `label` every face in the images must be annotated. Faces of one image become one photo.
    Raises `CourseError` where an image cannot be read.
    """
    by_path: dict = {}
    for face in faces:
        by_path.setdefault(face.path, []).append(face_box(face.points))
    photos = []
    for path, boxes in tqdm(by_path.items(), desc="reading photographs", unit="photo", disable=not progress):
        image = read_image(path)
        others = [] if label is None else _others(image, boxes, label)
        sure = boxes + [box for box, score in others if score >= SURE]
        doubtful = [box for box, score in others if score < SURE]
        photos.append(Photo(halved(image), _rows(sure), _rows(doubtful)))
    return photos


SMALL_PHOTO = 400  # px: a smaller one is also labelled at twice its size, for faces in the background


def _others(image: np.ndarray, known: Sequence[Box], label: Callable) -> list[tuple[Box, float]]:
    """What `label` finds in an image besides the known faces."""
    found = label(image)
    height, width = image.shape[:2]
    if max(height, width) < SMALL_PHOTO:
        for box, score in label(cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)):
            x, y = box.centre
            half = Box.around(((x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5), box.side / 2)
            if all(overlap(half, other) <= 0.3 for other, _ in found):
                found.append((half, score))

    def is_known(box: Box) -> bool:
        return any(np.hypot(*np.subtract(box.centre, k.centre)) < 0.4 * k.side or overlap(box, k) > 0.25 for k in known)

    return [(box, score) for box, score in found if score >= HEEDED and not is_known(box)]


def _rows(boxes: Sequence[Box]) -> np.ndarray:
    return np.array([(*box.centre, box.side) for box in boxes], float).reshape(-1, 3)
