"""What a face detector is and what it answers; which answer is a true face's; how its boxes become the iBUG file's."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from flcourse.points import Box, BoxMap, common_area, overlap


class Detection(NamedTuple):
    """A face: the detector's own `box` in image pixels, and how sure the detector is, `score` in 0..1."""

    box: Box
    score: float


class Detector(Protocol):
    """What finds faces. `box_map` turns its boxes into boxes of the iBUG file's convention.

    Several threads may call one detector at the same time and get what they would get one after the other: a landmarker
    is shared by cameras, players and single images. It can be pickled and copied. OpenCV's objects keep state and can
    do neither, so `opencv_detectors.Lent` hands them out.
    """

    name: str
    box_map: BoxMap
    threshold: float  # the least score of what it gives

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The faces in an (H, W, 3) uint8 RGB image, best first; none is an empty list."""
        ...


def fit_box_map(source_boxes: Sequence[Box], file_boxes: Sequence[Box]) -> BoxMap:
    """The map from one source's boxes to the file's boxes of the same faces, pair by pair (at least one pair).

    Medians, of the centres' shift in parts of the source's side and of the sides' ratio, so that a few false matches
    do not move it.
    """
    source = np.array([(*box.centre, box.side) for box in source_boxes])  # (N, 3)
    file = np.array([(*box.centre, box.side) for box in file_boxes])
    dx, dy = np.median((file[:, :2] - source[:, :2]) / source[:, 2:], axis=0)
    scale = np.exp(np.median(np.log(file[:, 2] / source[:, 2])))
    return BoxMap(scale=float(scale), dx=float(dx), dy=float(dy))


def best_match(detections: Sequence[Detection], box: Box) -> Detection | None:
    """The detection that stands for the face of a file's `box`: centre inside it, then most overlap. None: missed."""

    def inside(x: float, y: float) -> bool:
        return abs(x - box.centre[0]) <= box.width / 2 and abs(y - box.centre[1]) <= box.height / 2

    found = [d for d in detections if inside(*d.box.centre)]
    return max(found, key=lambda d: overlap(d.box, box), default=None)


def sorted_out(detections: list[Detection], image: np.ndarray) -> list[Detection]:
    """Best first, without those centred outside the image, and those that a better one overlaps or holds.

    Detectors answer one face twice now and then.
    """
    height, width = image.shape[:2]
    kept = []
    for found in sorted(detections, key=lambda d: -d.score):
        x, y = found.box.centre
        if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5 and found.box.side > 0):  # not a number, either
            continue
        area = found.box.width * found.box.height
        for other in kept:
            smaller = min(area, other.box.width * other.box.height)
            if overlap(found.box, other.box) > 0.4 or common_area(found.box, other.box) > 0.75 * smaller:
                break
        else:
            kept.append(found)
    return kept
