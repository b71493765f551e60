"""From a picture to 68 points on every face: detector, crop, the landmark network in ONNX Runtime. No torch."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import flcourse.weights
from flcourse.errors import CourseError
from flcourse.face.detect import Detector, open_detector
from flcourse.pictures import to_input, warp
from flcourse.points import N_POINTS, Box, apply, crop_matrix, from01, invert

DEFAULT_WEIGHTS = "xception"


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """One face found in a picture."""

    points: np.ndarray  # (68, 2) float32, picture pixels, integers at pixel centres
    confidence: float  # of the landmark network, 0 to 1; not a probability
    box: Box  # the face box, in the iBUG file's convention, that the crop was taken about
    score: float  # of the detector, 0 to 1


def shipped_weights() -> dict[str, Path]:
    """The networks that come with the package: name -> ONNX file."""
    return {path.stem: path for path in sorted(Path(flcourse.weights.__file__).parent.glob("*.onnx"))}


class FaceLandmarker:
    """Finds 68 points on every face of a picture.

    `weights` is a shipped name or an `.onnx` file that `flcourse export` wrote. `detector` is a name for
    `open_detector`, a detector, or None where only `at` will be called. `threads` limits ONNX Runtime's threads
    (default: one for each core). Raises `CourseError` where weights or detector cannot be had or are damaged.
    """

    engine = "onnxruntime"

    def __init__(
        self,
        weights: str | os.PathLike = DEFAULT_WEIGHTS,
        detector: str | Detector | None = "auto",
        threads: int | None = None,
    ) -> None:
        self.name = str(weights)
        session = _open_session(_find_weights(weights), threads)
        self.size = session.get_inputs()[0].shape[2]  # of the crop, px
        outputs = [output.name for output in session.get_outputs()]
        self._run = lambda crops: dict(zip(outputs, session.run(None, {"crops": crops}), strict=True))
        self.detector = open_detector(detector) if isinstance(detector, str) else detector

    def __call__(self, picture: np.ndarray) -> list[FaceLandmarks]:
        """The faces of an (H, W, 3) uint8 RGB picture, those the detector is surest of first."""
        if self.detector is None:
            raise ValueError("made without a detector: call .at(picture, boxes)")
        found = self.detector(picture)
        boxes = [self.detector.box_map(detection.box) for detection in found]
        return self.at(picture, boxes, [detection.score for detection in found])

    def at(
        self, picture: np.ndarray, boxes: Sequence[Box], scores: Sequence[float] | None = None
    ) -> list[FaceLandmarks]:
        """The points of the faces at `boxes`, which follow the iBUG file's convention: from brows to chin.

        One run of the network for all of them. `scores` are passed on (default: 1). A network without a confidence
        of its own gives the score instead.
        """
        if not boxes:
            return []
        scores = [1.0] * len(boxes) if scores is None else scores
        matrices = [crop_matrix(box, self.size) for box in boxes]
        crops = np.stack([to_input(warp(picture, matrix, self.size)) for matrix in matrices])  # (N, 1, size, size)
        output = self._run(crops)
        confidences = output.get("confidence", scores)
        return [
            FaceLandmarks(
                apply(from01(points01, self.size), invert(matrix)).astype(np.float32),
                float(confidence),
                box,
                float(score),
            )
            for points01, matrix, confidence, box, score in zip(
                output["points01"], matrices, confidences, boxes, scores, strict=True
            )
        ]


def _find_weights(weights: str | os.PathLike) -> Path:
    shipped = shipped_weights()
    if str(weights) in shipped:
        return shipped[str(weights)]
    path = Path(weights)
    if path.suffix != ".onnx":
        raise CourseError(
            f"{weights}: neither shipped weights ({', '.join(shipped)}) nor an .onnx file; "
            "`flcourse export` makes one of a checkpoint"
        )
    return path


def _open_session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session of a landmark network. Raises `CourseError` where the file is missing or none."""
    try:
        data = path.read_bytes()  # by Python, so that no path is too strange for Windows
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror or error}, expected an ONNX landmark network") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings would reach the user
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises exceptions of several classes that it does not export
        raise CourseError(f"{path}: truncated, or not an ONNX network; not loaded") from error
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    crops = inputs.get("crops", [])
    square = len(crops) == 4 and crops[1] == 1 and crops[2] == crops[3] and isinstance(crops[2], int)
    if len(inputs) != 1 or not square or outputs.get("points01", [])[1:] != [N_POINTS, 2]:
        raise CourseError(
            f"{path}: takes {json.dumps(inputs)} and gives {json.dumps(outputs)}, expected crops (N, 1, size, size) -> "
            f"points01 (N, {N_POINTS}, 2), as `flcourse export` writes them"
        )
    return session
