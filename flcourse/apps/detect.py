"""`flcourse detect` and `flcourse demo`: images in, annotated images and points out. Never imports torch."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flcourse.data.datasets import portrait
from flcourse.errors import CourseError
from flcourse.face.draw import close_up, draw_faces
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.files import atomic_write
from flcourse.images import IMAGE_SUFFIXES, read_image, write_image


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


def image_paths(paths: Sequence[Path]) -> list[Path]:
    """The images among `paths`, folders replaced by what lies in them (not in their subfolders), sorted."""
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise CourseError(f"{path}: no image in this folder, expected {', '.join(IMAGE_SUFFIXES)}")
            found += inside
        else:
            found.append(path)
    return found


def find(landmarker: FaceLandmarker, image: np.ndarray, name: str) -> Found:
    """Find the faces and points of one image and time it."""
    start = time.perf_counter()
    faces = landmarker(image)
    return Found(name, image, faces, 1e3 * (time.perf_counter() - start))


def pts_text(points: np.ndarray) -> str:
    """Points (68, 2) as iBUG's `.pts` text, which counts pixels from 1."""
    lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in points]
    return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""])


def write_pts(path: Path, points: np.ndarray) -> None:
    """Write points (68, 2) as a `.pts` file."""
    atomic_write(path, pts_text(points))


def json_text(found: Found) -> str:
    """What was found in one image as the text of a JSON file."""
    return json.dumps(found.as_json(), indent=1) + "\n"


def write_results(found: Found, out: Path, stem: str, *, as_json: bool = True, as_pts: bool = False) -> Path:
    """Write `STEM_faces.png`, and the points as `STEM_faces.json` and `STEM_face1.pts`, ... ; returns the image."""
    image = out / f"{stem}_faces.png"
    write_image(image, draw_faces(found.image, found.faces))
    if as_json:
        atomic_write(image.with_suffix(".json"), json_text(found))
    if as_pts:
        for number, face in enumerate(found.faces, start=1):
            write_pts(out / f"{stem}_face{number}.pts", face.points)
    return image


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A file stem for each path, made unique by a number where two folders hold the same name."""
    seen: dict[str, int] = {}
    stems = []
    for path in paths:
        count = seen[path.stem] = seen.get(path.stem, 0) + 1
        stems.append(path.stem if count == 1 else f"{path.stem}_{count}")
    return stems


def sentence(found: Found) -> str:
    """One line about an image, as people read it."""
    if not found.faces:
        return f"{found.name}: no face found (try a larger or better lit face, or another --detector)"
    sure = ", ".join(face.confidence_text for face in found.faces)
    count = "1 face" if len(found.faces) == 1 else f"{len(found.faces)} faces"
    return f"{found.name}: {count}, confidence {sure}, {found.milliseconds:.0f} ms"


def detect(
    landmarker: FaceLandmarker, paths: Sequence[Path], out: Path | None, as_json: bool = False, as_pts: bool = False
) -> None:
    """Find the points in images and folders; see `flcourse detect --help`.

    Of several images those that cannot be read are named and left out; the `CourseError` that counts them comes last.
    """
    images = image_paths(paths)
    results, failed = [], 0
    for path, stem in zip(images, unique_stems(images), strict=True):
        try:
            image = read_image(path)
        except CourseError as error:
            if len(images) == 1:
                raise
            print(f"flcourse: {error}", file=sys.stderr)
            failed += 1
            continue
        found = find(landmarker, image, str(path))
        results.append(found.as_json())
        if out:
            written = write_results(found, out, stem, as_json=as_json, as_pts=as_pts)
        if not as_json:
            print(sentence(found) + (f" -> {written}" if out else ""))
    if as_json:
        print(json.dumps(results, indent=1))
    if failed:
        raise CourseError(f"{failed} of {len(images)} images could not be read, see above; the others are done")


def demo(landmarker: FaceLandmarker, paths: Sequence[Path], out: Path) -> None:
    """Find the points in the given images, or in a portrait at hand, and say what can be done next."""
    if paths:
        images = image_paths(paths)
        loaded = [(stem, str(path), read_image(path)) for path, stem in zip(images, unique_stems(images), strict=True)]
    else:
        loaded = [portrait()]
    landmarker(loaded[0][2])  # the first run warms up caches and threads, and would be timed as if it were typical
    total, faces = 0.0, 0
    for stem, name, image in loaded:
        found = find(landmarker, image, name)
        print(f"{sentence(found)}\n  -> {write_results(found, out, stem)}")
        for number, face in enumerate(found.faces, start=1):
            write_image(out / f"{stem}_face{number}.png", close_up(image, face))
        total, faces = total + found.milliseconds, faces + len(found.faces)
    if faces:
        count = "1 face" if faces == 1 else f"{faces} faces"
        print(f"\n{count}, {total / faces:.1f} ms a face (detector: {landmarker.detector.name})")
    print(
        f"Images, close-ups and points are in {out.resolve()}\n\n"
        "What next:\n"
        "  python3 course.py demo photo.jpg holiday/    your own images, files or folders\n"
        "  python3 course.py lab                        the course, in JupyterLab\n"
        "  flcourse detect photo.jpg --json             points for your own programs (in .venv/bin)"
    )
