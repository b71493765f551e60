"""What was found in one image, and how it is told and written: sentence, JSON, `.pts`, drawing. Never imports torch."""

import time
from dataclasses import dataclass

import numpy as np

from flcourse.apps.terminal import strict_json
from flcourse.face.draw import close_up, draw_faces
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.images import encode_image

DRAWING = "_faces.png"


@dataclass(frozen=True)
class Found:
    """What was found in one image."""

    name: str
    image: np.ndarray  # (H, W, 3) RGB
    faces: list[FaceLandmarks]
    milliseconds: float  # detection, crops and network, without reading and drawing

    def as_json(self) -> dict:
        """Plain values, points in image pixels with integers at pixel centres; a confidence of None becomes null."""
        height, width = self.image.shape[:2]
        return {
            "image": self.name,
            "width": width,
            "height": height,
            "milliseconds": round(self.milliseconds, 2),
            "faces": [
                {
                    "confidence": None if face.confidence is None else round(face.confidence, 4),
                    "score": round(face.score, 4),
                    "box": {name: round(value, 2) for name, value in face.box._asdict().items()},
                    "points": [[round(float(x), 2), round(float(y), 2)] for x, y in face.points],
                }
                for face in self.faces
            ],
        }


def find(landmarker: FaceLandmarker, image: np.ndarray, name: str) -> Found:
    """Find the faces and points of one image and time it."""
    start = time.perf_counter()
    faces = landmarker(image)
    return Found(name, image, faces, 1e3 * (time.perf_counter() - start))


def pts_text(points: np.ndarray) -> str:
    """Points (68, 2) as iBUG's `.pts` text, which counts pixels from 1."""
    lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in points]
    return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""])


def json_text(found: Found) -> str:
    """What was found in one image as the text of a JSON file."""
    return strict_json(found.as_json()) + "\n"


def result_files(
    found: Found, *, as_json: bool = False, as_pts: bool = False, close_ups: bool = False
) -> dict[str, bytes]:
    """What is written of one image, by the endings of the files' names: `_faces.png`, the drawing, comes first.

    Then `_faces.json`, and for each face `_face1.pts` and `_face1.png`, where they are asked for.
    """
    files = {DRAWING: encode_image(draw_faces(found.image, found.faces))}
    if as_json:
        files["_faces.json"] = json_text(found).encode()
    for number, face in enumerate(found.faces, start=1):
        if as_pts:
            files[f"_face{number}.pts"] = pts_text(face.points).encode()
        if close_ups:
            files[f"_face{number}.png"] = encode_image(close_up(found.image, face))
    return files


def sentence(found: Found, advice: str = "") -> str:
    """One line about an image, as people read it; `advice` follows where no face was found, see `apps.advice`."""
    if not found.faces:
        return f"{found.name}: no face found{advice}"
    sure = ", ".join(face.confidence_text for face in found.faces)
    count = "1 face" if len(found.faces) == 1 else f"{len(found.faces)} faces"
    return f"{found.name}: {count}, confidence {sure}, {found.milliseconds:.0f} ms"
