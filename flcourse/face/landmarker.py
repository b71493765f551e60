"""From an image to 68 points on every face: detector, crop, the landmark network in ONNX Runtime. No torch."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

import flcourse.weights
from flcourse.errors import CourseError
from flcourse.face.course_detector import CourseDetector
from flcourse.face.detect import open_detector
from flcourse.face.detections import Detection, Detector
from flcourse.face.session import default_threads, open_session
from flcourse.images import as_rgb, to_input, warp
from flcourse.metadata import SIDES, HeldOut, crop_sizes, least_confidence, parse_metadata
from flcourse.points import FARTHEST, N_POINTS, Box, apply, crop_matrix, face_box, from01, invert, is_sound, move_points

if TYPE_CHECKING:
    import onnxruntime

DEFAULT_WEIGHTS = "xception"
SURE = 0.5  # confidence from which what the detector doubts is a face

TTA_VIEWS = (1, 2, 4)
MOST_THREADS = 256  # that can be asked for: no machine that this runs on has more CPUs, and each thread takes memory
MIRROR01 = np.array([[-1.0, 0, 1], [0, 1, 0]])  # x' = 1 - x, for normalised points


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """One face found in an image.

    A value: it can be shared by threads, pickled and copied, as long as nobody writes into its points.
    """

    points: np.ndarray  # (68, 2) float32, image pixels, integers at pixel centres
    # Of the network, 0 to 1: the chance that the error is at most 8 %. None: it was never calibrated, so nobody knows.
    confidence: float | None
    box: Box  # the face box, in the iBUG file's convention, that the crop was taken about
    score: float  # of the detector, 0 to 1

    @property
    def confidence_text(self) -> str:
        """The confidence as people read it: "0.93", or "–" where there is none."""
        return "–" if self.confidence is None else f"{self.confidence:.2f}"


def shipped_weights() -> dict[str, Path]:
    """The landmark networks that come with the package: name -> ONNX file."""
    folder = Path(flcourse.weights.__file__).parent
    return {path.stem: path for path in sorted(folder.glob("*.onnx")) if not path.stem.startswith("detector")}


class Network(Protocol):
    """What finds the points on crops."""

    name: str
    engine: str  # what runs it
    size: int  # of the crops, px
    still_size: int  # of still images' crops: larger where the network has learned to use more pixels, else the same
    accept: float  # the confidence from which an answer counts as a face

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Crops (N, 1, size, size) in [-1, 1] -> `points01` (N, 68, 2) and, if it has one, `confidence` (N,)."""
        ...


class OnnxNetwork:
    """A landmark network in ONNX Runtime.

    `weights` is a shipped name or an `.onnx` file that `flcourse export` wrote; `threads` limits ONNX Runtime's
    (default: one for each CPU that this process may use, at most four). Raises `CourseError` where the file is missing
    or damaged.

    `metadata` are what the training and the export noted in the file, {} where they noted nothing; `held_out` says how
    accurate the network was on faces held out of its training, None where nobody measured.

    Any number of threads may call one network at the same time. Pickled, copied and sent to other processes it is its
    file's place, and is opened again there.
    """

    engine = "onnxruntime"

    def __init__(self, weights: str | os.PathLike, threads: int | None = None) -> None:
        self.name = str(weights)
        if threads is not None and threads not in range(1, MOST_THREADS + 1):
            raise CourseError(f"threads={threads}: expected a whole number from 1 to {MOST_THREADS}, or None")
        self.threads = threads or default_threads()
        path = _find_weights(weights)
        self._again = self.name if self.name in shipped_weights() else str(path.absolute())
        self._session = open_session(path, self.threads)
        try:
            metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map.get("flcourse", "{}"), path)
            self.size, self.still_size = _check_network(self._session, metadata, path)
        except UnicodeDecodeError as error:
            raise CourseError(f"{path}: holds names that are no text; the file is damaged") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.metadata = metadata
        self.held_out = HeldOut.read(metadata)
        # Without a confidence the detector's score is all there is.
        self.accept = least_confidence(metadata) if "confidence" in self._outputs else 0.0

    def __reduce__(self) -> tuple:
        return OnnxNetwork, (self._again, self.threads)

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """See `Network`. Raises `CourseError` where the answer is none: a damaged file, or one made to fool."""
        try:
            answers = self._session.run(None, {"crops": crops})
        except Exception as error:  # ONNX Runtime raises exceptions of several classes that it does not export
            raise CourseError(
                f"{self.name}: the network cannot be run on {len(crops)} crops; the file is damaged"
            ) from error
        output = {name: np.asarray(answer) for name, answer in zip(self._outputs, answers, strict=True)}
        n, points01 = len(crops), output["points01"]
        if points01.shape != (n, N_POINTS, 2) or not np.isfinite(points01).all():
            raise CourseError(f"{self.name}: gives points that are no numbers for {n} crops; the file is damaged")
        confidence = output.get("confidence", np.zeros(n))
        if confidence.shape != (n,) or not ((confidence >= 0) & (confidence <= 1)).all():
            raise CourseError(f"{self.name}: gives confidences that are not from 0 to 1; the file is damaged")
        return output


class FaceLandmarker:
    """Finds 68 points on every face of an image.

    `weights` is a shipped name, an `.onnx` file, or a `Network`. `detector` is a name for `open_detector`, a detector,
    or None where only `at` will be called. `threads` are ONNX Runtime's, see `OnnxNetwork`. `tta` is how many views of
    each face in a still image are averaged, see `at`. Raises `CourseError` where weights or detector cannot be had or
    are damaged.

    Nothing is kept from one image to the next: any number of threads, trackers among them, may use one landmarker at
    the same time. It can be pickled and copied, for joblib and multiprocessing; network and detector are then opened
    again in the other process.
    """

    def __init__(
        self,
        weights: str | os.PathLike | Network = DEFAULT_WEIGHTS,
        detector: str | Detector | None = "auto",
        threads: int | None = None,
        *,
        tta: int = 4,
    ) -> None:
        self.network = OnnxNetwork(weights, threads) if isinstance(weights, str | os.PathLike) else weights
        self.name, self.size, self.still_size = self.network.name, self.network.size, self.network.still_size
        self.tta = tta
        self.detector = open_detector(detector) if isinstance(detector, str) else detector

    def __call__(self, image: np.ndarray) -> list[FaceLandmarks]:
        """The faces of an (H, W, 3) uint8 RGB image, those the detector is surest of first.

        Grey and RGBA images are taken too. Raises `TypeError` and `ValueError` for what is no image, see
        `images.check_image`.

        What the detector took for a face and the network does not, by a confidence below `network.accept`, is left out;
        a network without a confidence leaves out none. What the course's detector doubts is a face where the network is
        `SURE` of it.
        """
        if self.detector is None:
            raise ValueError("made without a detector: call .at(image, boxes)")
        image = as_rgb(image)
        found = [(self.detector.box_map(box), score) for box, score in self.detect(image)]
        found = [(box, score) for box, score in found if is_sound(box)]
        boxes, scores = [box for box, _ in found], [score for _, score in found]
        faces = self.at(image, boxes, scores, tta=self.tta, size=self.still_size)
        return [face for face in faces if face.confidence is None or face.confidence >= self.network.accept]

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Where the detector finds faces in an (H, W, 3) uint8 RGB image, in its own boxes, surest first.

        With those that the course's detector doubts and the network does not. Faces that the network will not accept
        are still among them.
        """
        if self.detector is None:
            raise ValueError("made without a detector: call .at(image, boxes)")
        image = as_rgb(image)
        if not isinstance(self.detector, CourseDetector):
            return self.detector(image)
        found = self.detector.candidates(image)
        return [each for each in found if each.score >= self.detector.threshold or self._is_sure(image, each)]

    def _is_sure(self, image: np.ndarray, found: Detection) -> bool:
        """Whether the network sees a face; in one view of the smaller size, as most of what is doubted is none."""
        assert self.detector is not None, "which found it"
        box = self.detector.box_map(found.box)
        return is_sound(box) and (self.at(image, [box])[0].confidence or 0.0) >= SURE

    def at(
        self,
        image: np.ndarray,
        boxes: Sequence[Box],
        scores: Sequence[float] | None = None,
        *,
        tta: int = 1,
        size: int | None = None,
    ) -> list[FaceLandmarks]:
        """The points of the faces at `boxes`, which follow the iBUG file's convention: from brows to chin.

        One run of the network for all of them. `scores` are passed on (default: 1). A network that was not calibrated
        has no confidence, and the faces' is None. `tta` is test-time augmentation: with 2 views the network also sees
        every crop's mirror image, with 4 both again on a crop about the points that were found; the mean counts. That
        is more accurate, and takes as many times the network's time. `size` is the crops' side in pixels, `size` or
        `still_size` of the network; by default `size`, which is the faster.

        Raises `TypeError` and `ValueError` for what is no image, see `images.check_image`, and no box: finite pixels,
        at least 1 wide and high.
        """
        if tta not in TTA_VIEWS:
            raise ValueError(f"tta={tta}, expected one of {', '.join(map(str, TTA_VIEWS))}")
        size = size or self.size
        image, boxes = as_rgb(image), [_checked_box(number, box) for number, box in enumerate(boxes)]
        scores = [1.0] * len(boxes) if scores is None else scores
        if len(scores) != len(boxes):
            raise ValueError(f"{len(scores)} scores, expected {len(boxes)}, one for each box")
        if not boxes:
            return []
        faces = self._views(image, boxes, scores, size, mirrored=tta > 1)
        if tta == 4:
            again = self._views(image, [face_box(face.points) for face in faces], scores, size, mirrored=True)
            faces = [
                replace(
                    one,
                    points=(one.points + two.points) / 2,
                    confidence=_mean(one.confidence, two.confidence),
                )
                for one, two in zip(faces, again, strict=True)
            ]
        return faces

    def _views(
        self, image: np.ndarray, boxes: Sequence[Box], scores: Sequence[float], size: int, mirrored: bool
    ) -> list[FaceLandmarks]:
        matrices = [crop_matrix(box, size) for box in boxes]
        crops = np.stack([to_input(warp(image, matrix, size)) for matrix in matrices])  # (N, 1, size, size)
        output = self._both(crops) if mirrored else self.network(crops)
        confidences = output["confidence"].tolist() if "confidence" in output else [None] * len(boxes)
        return [
            FaceLandmarks(
                apply(from01(points01, size), invert(matrix)).astype(np.float32),
                confidence,
                box,
                float(score),
            )
            for points01, matrix, confidence, box, score in zip(
                output["points01"], matrices, confidences, boxes, scores, strict=True
            )
        ]

    def _both(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """The mean of the network's answers for the crops and for their mirror images."""
        n = len(crops)
        both = self.network(np.concatenate([crops, crops[..., ::-1]]))
        back = move_points(both["points01"][n:], MIRROR01)
        mean = {"points01": (both["points01"][:n] + back) / 2}
        if "confidence" in both:
            mean["confidence"] = (both["confidence"][:n] + both["confidence"][n:]) / 2
        return mean


def _mean(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else (one + other) / 2


def _checked_box(number: int, given: Sequence[float]) -> Box:
    """A box as it was given, or four numbers as one. Raises `TypeError` and `ValueError` naming it."""
    try:
        box = Box(*map(float, given))
    except (TypeError, ValueError) as error:
        raise TypeError(f"box {number}: {given!r}, expected a flcourse.points.Box: left, top, width, height") from error
    if not is_sound(box):
        raise ValueError(f"box {number}: {box}, expected finite pixels up to {FARTHEST:,.0f}, width and height from 1")
    return box


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


def _check_network(session: "onnxruntime.InferenceSession", metadata: dict, path: Path) -> tuple[int, int]:
    """`size` and `still_size` of a landmark network. Raises `CourseError` where a session is not that of one."""
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    crops = inputs.get("crops", [])
    square = len(crops) == 4 and crops[1] == 1 and crops[2] == crops[3]
    types = {value.type for value in (*session.get_inputs(), *session.get_outputs())}
    if len(inputs) != 1 or not square or outputs.get("points01", [])[1:] != [N_POINTS, 2] or types != {"tensor(float)"}:
        raise CourseError(
            f"{path}: takes {json.dumps(inputs)} and gives {json.dumps(outputs)}, expected crops (N, 1, size, size) -> "
            f"points01 (N, {N_POINTS}, 2), as `flcourse export` writes them"
        )
    if isinstance(crops[2], int):
        if not SIDES[0] <= crops[2] <= SIDES[1]:
            raise CourseError(
                f"{path}: takes crops of {crops[2]} pixels, expected {SIDES[0]} to {SIDES[1]}; not loaded"
            )
        return crops[2], crops[2]
    recipe = metadata.get("recipe") or {}
    if "size" not in recipe:
        raise CourseError(f"{path}: takes crops of any size, expected a recipe.size in its metadata; not loaded")
    return crop_sizes(recipe)
