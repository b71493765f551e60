"""Small made-up faces for tests: a smiling template of 68 points, moved at random and drawn as blobs."""

from pathlib import Path

import cv2
import numpy as np

from flcourse.data.imglab import Face, write_imglab
from flcourse.images import write_image
from flcourse.points import CLOSED_PARTS, PARTS, Box, apply, crop_matrix, invert, tight_box


def template() -> np.ndarray:
    """68 points (68, 2) of a face about 1 wide, y down, made of arcs; no data set's points are in it."""

    def arc(centre: tuple, radius: tuple, start: float, stop: float, n: int, end: bool = True) -> np.ndarray:
        t = np.deg2rad(np.linspace(start, stop, n, endpoint=end))
        return np.column_stack([centre[0] + radius[0] * np.cos(t), centre[1] + radius[1] * np.sin(t)])

    def eye(x: float) -> np.ndarray:
        return arc((x, -0.05), (0.09, 0.035), 180, 540, 6, end=False)

    def lips(width: float, height: float, n: int) -> np.ndarray:
        return arc((0, 0.32), (width, height), 180, 540, n, end=False)

    return np.concatenate(
        [
            arc((0, 0), (0.5, 0.6), 180, 0, 17),
            arc((-0.22, -0.15), (0.13, 0.06), 180, 360, 5),
            arc((0.22, -0.15), (0.13, 0.06), 180, 360, 5),
            np.column_stack([np.zeros(4), np.linspace(-0.05, 0.12, 4)]),
            arc((0, 0.15), (0.09, 0.04), 180, 0, 5),
            eye(-0.22),
            eye(0.22),
            lips(0.2, 0.08, 12),
            lips(0.15, 0.03, 8),
        ]
    )


def toy_face(folder: Path, number: int, rng: np.random.Generator, file: str | None = None) -> Face:
    """A drawn face of random place, size and tilt, its image written to `folder`."""
    size = 160
    # A crop's inverse is a handy random similarity: it takes the unit face to a place in the image.
    matrix = invert(
        crop_matrix(Box.around((80, 80), 90), 100, rotation=rng.normal(0, 8), scale=np.exp(rng.normal(0, 0.1)))
    )
    points = apply(template() * 70 + 49.5, matrix) + rng.normal(0, 6, size=2)
    image = np.full((size, size, 3), rng.integers(0, 120, size=3), np.uint8)
    cv2.fillPoly(image, [cv2.convexHull(points.astype(np.int32))], rng.integers(150, 255, size=3).tolist())
    for name, part in PARTS.items():
        colour = rng.integers(0, 90, size=3).tolist()
        cv2.polylines(image, [points[part].astype(np.int32)], name in CLOSED_PARTS, colour, 2, cv2.LINE_AA)
    file = file or f"toys/image_{number:04d}.png"
    write_image(folder / file, image)
    box = tight_box(points)
    return Face(folder / file, file, Box.around(box.centre, max(box.width, box.height)), points.astype(np.float32))


def toy_set(folder: Path, faces: int, seed: int = 0) -> Path:
    """An imglab XML of `faces` toy faces, and their images; returns the XML's path."""
    rng = np.random.default_rng(seed)
    xml = folder / "labels.xml"
    write_imglab(xml, [toy_face(folder, number, rng) for number in range(faces)])
    return xml
