"""From an image to 68 points on every face: detector, crop, the landmark network in ONNX Runtime. No torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flcourse.face.course_detector import CourseDetector
from flcourse.face.detect import open_detector
from flcourse.face.detections import Detection, Detector
from flcourse.face.landmark_network import DEFAULT_WEIGHTS, Network, OnnxNetwork
from flcourse.images import as_rgb, to_input, warp
from flcourse.points import FARTHEST, MIRROR01, Box, apply, crop_matrix, face_box, from01, invert, is_sound, move_points

DOUBTS = 100  # that are looked into, the likeliest: pictures of stars or leaves can have thousands
SURE = 0.5  # confidence from which what the detector doubts is a face

TTA_VIEWS = (1, 2, 4)


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
        sure = sum(each.score >= self.detector.threshold for each in found)
        return found[:sure] + [each for each in found[sure : sure + DOUBTS] if self._is_sure(image, each)]

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
        mean = {"points01": (both["points01"][:n] + back) / 2 + [self.network.label_shift, 0]}
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
