"""A landmark network and the face detectors measured against annotated faces. Torch only for PyTorch's weights."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from flcourse import metrics
from flcourse.apps.outputs import OutputFolder
from flcourse.data.imglab import Face, read_face_image, read_imglab
from flcourse.errors import CourseError
from flcourse.face.detect import DETECTORS, open_detector
from flcourse.face.detections import Detection, best_match, fit_box_map
from flcourse.face.draw import close_up
from flcourse.face.landmark_network import DEFAULT_WEIGHTS, Network, OnnxNetwork
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.images import encode_image
from flcourse.points import Box, BoxMap, face_box, tight_box

BOX_SOURCES = ("file", "tight", *DETECTORS)


def open_network(weights: str | None) -> Network:
    """The network for `--weights`: a shipped name, an `.onnx` file, a `.safetensors` file or a `last.pt`."""
    if weights and Path(weights).suffix in (".pt", ".safetensors"):
        from flcourse.training.export import TorchNetwork  # not sooner: an ONNX network needs no PyTorch

        return TorchNetwork(Path(weights))
    return OnnxNetwork(weights or DEFAULT_WEIGHTS)


def detected_box(detect: Callable[[np.ndarray], list[Detection]], image: np.ndarray, face: Face) -> Box | None:
    """The detector's own box for an annotated face, or None where it missed it."""
    found = best_match(detect(image), face.box)
    return found and found.box


def predict(
    xml: Path, weights: str | None, boxes: str = "file", *, tta: int = 4, live: bool = False, progress: bool = True
) -> tuple[list[Face], list[FaceLandmarks], dict]:
    """Find the points of an imglab file's faces: the faces that `boxes` has a box for, what was found, and how.

    `boxes` says where the crops come from: the file's boxes, tight boxes around the true points, or a detector's, each
    mapped to the file's convention; `tta` are the views of `FaceLandmarker.at`. Crops are those of still images, or
    with `live` those of video and one view. The third value has the entries of `flcourse evaluate --json` that are no
    accuracy.
    """
    if boxes not in BOX_SOURCES:
        raise CourseError(f"unknown boxes {boxes!r}, expected one of {', '.join(BOX_SOURCES)}")
    faces = read_imglab(xml)
    detector = None if boxes in ("file", "tight") else open_detector(boxes)
    landmarker = FaceLandmarker(open_network(weights), detector)
    tta, size = (1, landmarker.size) if live else (tta, landmarker.still_size)
    kept: list[Face] = []
    found: list[FaceLandmarks] = []
    seconds = 0.0
    for face in tqdm(faces, desc=f"{boxes} boxes", unit="face", disable=not progress):
        image = read_face_image(face)
        start = time.perf_counter()
        if boxes == "tight":
            box = face_box(face.points)
        elif detector is None:
            box = face.box
        else:
            own = detected_box(landmarker.detect, image, face)
            box = own and detector.box_map(own)
        if box:
            found += landmarker.at(image, [box], tta=tta, size=size)
            kept.append(face)
        seconds += time.perf_counter() - start
    if not kept:
        raise CourseError(f"{xml}: {boxes} found none of the {len(faces)} faces; nothing to measure")
    how = {
        "faces": len(faces),
        "missed": len(faces) - len(kept),
        "ms_per_face": round(1e3 * seconds / len(faces), 2),
        "boxes": boxes,
        "weights": landmarker.name,
        "engine": landmarker.network.engine,
        "tta": tta,
        "size": size,
    }
    return kept, found, how


def evaluate(
    xml: Path,
    weights: str | None,
    boxes: str = "file",
    gallery: Path | None = None,
    *,
    tta: int = 4,
    live: bool = False,
    progress: bool = True,
) -> dict:
    """Measure a landmark network on the faces of an imglab file: the figures of `flcourse evaluate --json`.

    Boxes, `tta` and `live` are as in `predict`; faces a detector misses are counted in `missed` and left out of the
    figures. `ms_per_face` is the time for crop and network, with a detector also its own; reading is not in it.
    """
    kept, found, how = predict(xml, weights, boxes, tta=tta, live=live, progress=progress)
    predicted = np.stack([landmarks.points for landmarks in found])
    true = np.stack([face.points for face in kept])
    if gallery:
        write_gallery(gallery, kept, found, metrics.nme(predicted, true))
    figures = metrics.summary(predicted, true, [face.box for face in kept])
    counts = {name: how.pop(name) for name in ("faces", "missed")}
    return counts | {name: round(value, 4) for name, value in figures.items()} | how


def write_gallery(folder: Path, faces: Sequence[Face], found: Sequence[FaceLandmarks], errors: np.ndarray) -> None:
    """Write sheets of the best, median and worst faces, found points in colour, and the cumulative error curve.

    As everywhere, under other names where files of the user's have these.
    """
    from flcourse.show.plot import error_curve, to_png

    out = OutputFolder(folder)
    order = np.argsort(errors)
    n = min(12, len(order))
    middle = (len(order) - n) // 2
    for name, chosen in (("best", order[:n]), ("median", order[middle : middle + n]), ("worst", order[::-1][:n])):
        tiles = [_tile(faces[i], found[i], float(errors[i])) for i in chosen]
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 4)
        rows = [np.concatenate(tiles[i : i + 4], axis=1) for i in range(0, len(tiles), 4)]
        out.write(Path(name), {".png": encode_image(np.concatenate(rows))})
    out.write(Path("error_curve"), {".png": to_png(error_curve({"this network": errors}))})


def _tile(face: Face, found: FaceLandmarks, error: float, size: int = 240) -> np.ndarray:
    """One face of a sheet, labelled with its error in percent of the eye distance."""
    crop = close_up(read_face_image(face), found, size)
    cv2.putText(crop, f"{error:.2f} %", (6, size - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(crop, f"{error:.2f} %", (6, size - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return crop


def fit_boxes(xml: Path, sources: Sequence[str], progress: bool = True) -> dict[str, tuple[BoxMap, dict]]:
    """Fit the map from each source's boxes to the file's on annotated faces; see `face.detections.fit_box_map`.

    Returns for each source the map and how well it does: faces, missed, and the spread that is left, as standard
    deviations of the centre (x, y, in parts of the file box's side) and of the log of the side.
    """
    faces = read_imglab(xml)
    fits = {}
    for source in sources:
        detector = None if source == "tight" else open_detector(source)
        pairs = []
        for face in tqdm(faces, desc=source, unit="face", disable=not progress):
            own = tight_box(face.points) if detector is None else detected_box(detector, read_face_image(face), face)
            if own:
                pairs.append((own, face.box))
        if not pairs:
            raise CourseError(f"{xml}: {source} found none of the {len(faces)} faces; nothing to fit")
        fitted = fit_box_map(*zip(*pairs, strict=True))
        rest = np.array(
            [
                (*np.subtract(fitted(own).centre, box.centre) / box.side, np.log(fitted(own).side / box.side))
                for own, box in pairs
            ]
        )
        spread = dict(zip(("x", "y", "log_side"), rest.std(axis=0).round(4).tolist(), strict=True))
        fits[source] = fitted, {"faces": len(faces), "missed": len(faces) - len(pairs), **spread}
    return fits
