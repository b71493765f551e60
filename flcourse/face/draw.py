"""Boxes, points and labels drawn onto images (OpenCV): for pictures, sheets and videos; `overlays` builds on it."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from flcourse.colours import BLACK, GREEN, ORANGE, PINK, SKY, WHITE, YELLOW
from flcourse.face.landmarker import FaceLandmarks
from flcourse.images import FIXED, as_rgb, fixed_point, warp
from flcourse.points import CLOSED_PARTS, CROP_SCALE, PARTS, Box, apply, crop_matrix

PART_COLOURS = {
    "jaw": SKY,
    "right_brow": ORANGE,
    "left_brow": ORANGE,
    "nose_bridge": GREEN,
    "nose_base": GREEN,
    "right_eye": YELLOW,
    "left_eye": YELLOW,
    "outer_lips": PINK,
    "inner_lips": PINK,
}


def draw_faces(
    image: np.ndarray,
    faces: Sequence[FaceLandmarks],
    *,
    boxes: bool = True,
    points: bool = True,
    confidence: bool = True,
) -> np.ndarray:
    """A copy of an (H, W, 3) uint8 RGB image with each face's box, points and confidence drawn on it.

    Grey and RGBA images are taken too. Raises `TypeError` and `ValueError` for what is no image, see
    `images.check_image`.
    """
    drawn = np.array(as_rgb(image), order="C")
    for face in faces:
        size = face.box.side
        if boxes:
            draw_box(drawn, face.box)
        if points:
            draw_points(drawn, face.points, size)
        if confidence:
            draw_label(drawn, face.confidence_text, (face.box.left, face.box.top), size)
    return drawn


def close_up(image: np.ndarray, face: FaceLandmarks, size: int = 480) -> np.ndarray:
    """A face cut out and scaled to (size, size, 3), its points drawn: for looking closely, and for sheets of faces."""
    matrix = crop_matrix(face.box, size)
    moved = replace(face, points=apply(face.points, matrix), box=Box.around((size / 2, size / 2), size / CROP_SCALE))
    return draw_faces(warp(image, matrix, size), [moved], boxes=False, confidence=False)


def draw_box(image: np.ndarray, box: Box) -> None:
    """Outline the pixels that `box` covers, in place: white on a dark line, to be seen on any ground."""
    # The outermost pixels' centres, so that the line runs on the box's own pixels.
    corners = [(box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1)]
    thickness = max(1, round(box.side / 150))
    first, last = fixed_point(np.array(corners)).tolist()
    for colour, width in ((BLACK, thickness + 2), (WHITE, thickness)):
        cv2.rectangle(image, first, last, colour, width, cv2.LINE_AA, FIXED)


def draw_points(image: np.ndarray, points: np.ndarray, size: float) -> None:
    """Draw 68 points (68, 2), joined by parts, in place; dots and lines fit a face of `size` px."""
    radius = max(1.0, size / 110)
    thickness = max(1, round(size / 250))
    fixed = fixed_point(points)  # all at once: video needs it quick
    for name, part in PARTS.items():
        line = fixed[part.start : part.stop]
        cv2.polylines(image, [line], name in CLOSED_PARTS, PART_COLOURS[name], thickness, cv2.LINE_AA, FIXED)
    rim, dot = round(1.5 * radius * 2**FIXED), round(radius * 2**FIXED)
    for name, part in PARTS.items():
        for centre in fixed[part.start : part.stop].tolist():
            cv2.circle(image, centre, rim, BLACK, cv2.FILLED, cv2.LINE_AA, FIXED)
            cv2.circle(image, centre, dot, PART_COLOURS[name], cv2.FILLED, cv2.LINE_AA, FIXED)


def draw_label(image: np.ndarray, text: str, corner: tuple[float, float], size: float) -> None:
    """Write `text` on a dark ground above `corner` (x, y), in place; moved inside where it would leave the image."""
    text = text.replace("–", "-")  # OpenCV's letters are ASCII
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, float(np.clip(size / 250, 0.4, 3))
    thickness = max(1, round(1.5 * scale))
    (width, height), below = cv2.getTextSize(text, font, scale, thickness)
    pad = max(2, height // 3)
    width, height = width + 2 * pad, height + below + 2 * pad
    left = round(float(np.clip(corner[0], 0, max(0, image.shape[1] - width))))
    top = round(float(np.clip(corner[1] - height, 0, max(0, image.shape[0] - height))))
    cv2.rectangle(image, (left, top), (left + width - 1, top + height - 1), BLACK, cv2.FILLED)
    origin = left + pad, top + height - pad - below
    cv2.putText(image, text, origin, font, scale, WHITE, thickness, cv2.LINE_AA)
