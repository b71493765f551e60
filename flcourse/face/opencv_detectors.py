"""The face detectors that OpenCV runs, by name beside the course's own: Haar's cascade, YuNet and the res10 SSD.

Haar's comes inside OpenCV's wheel; the others' files are found in the data folders' `models/`, else fetched.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import Generic, TypeVar

import cv2
import numpy as np

from flcourse.errors import CourseError, command
from flcourse.face.detections import Detection, sorted_out
from flcourse.face.detector_files import SSD8_NET, SSD8_WEIGHTS, SSD_NET, SSD_WEIGHTS, model_path, read_model
from flcourse.files import cpu_count, find_file
from flcourse.images import shrink
from flcourse.points import BOX_MAPS, Box

Native = TypeVar("Native")


class Lent(Generic[Native]):
    """Native objects that only one thread at a time may use, and that cannot be pickled: `make` makes them.

    `with lent() as native:` gives one that no other thread has, made anew where all are in use, and kept for later. At
    most as many as this process has CPUs, as more would need memory and save no time; a further thread waits. (One
    object and a lock would need less memory, 6, 12 and 35 MB for Haar's, YuNet's and the SSD's, and was as fast on two
    cores; but then a camera's frame waits for a large photograph.) Pickled and copied it is `make` alone.
    """

    def __init__(self, make: Callable[[], Native]) -> None:
        self._make = make
        self._free: list[Native] = []
        self._turns = BoundedSemaphore(cpu_count())

    @contextmanager
    def __call__(self) -> Iterator[Native]:
        """A native object until the `with` block ends; one in whose use something was raised is not used again."""
        with self._turns:
            try:
                native = self._free.pop()
            except IndexError:
                native = self._make()
            yield native
            self._free.append(native)

    def __reduce__(self) -> tuple:
        return Lent, (self._make,)


class HaarDetector:
    """Viola and Jones's cascade of Haar features, as in OpenCV's wheel (Lienhart's `frontalface_alt2`).

    Finds upright, frontal faces. The cascade gives no probability: the score is a logistic curve of its last stage's
    sum, fitted to tell what YuNet, too, calls a face from what it does not, on the training images. It ranks, and
    compares roughly with the other detectors' scores.

    Threads may share it; it can be pickled and copied, see `Detector`.
    """

    name = "haar"
    # Of OpenCV's frontal cascades alt2 errs least. On a copy this small the faces it can find are at least a twelfth of
    # the long side; fine steps there miss 6 % of the training faces, where the usual 1.1 at 400 px misses 9 % for the
    # same time. Only where they find nothing are smaller faces looked for, down to a thirty-second.
    CASCADE = "haarcascade_frontalface_alt2.xml"
    PASSES = (
        (240, 1.05, 4),
        (640, 1.1, 4),
    )  # long side in pixels, step from scale to scale, neighbours that must agree
    LEAST = 20  # px, the cascade's own window
    MIDDLE, SLOPE = 54.77, 3.7

    def __init__(self, threshold: float | None = None):
        self.threshold = 0.7 if threshold is None else threshold
        self.box_map = BOX_MAPS[self.name]
        self._cascades = Lent(partial(_cascade, self.CASCADE))
        with self._cascades():  # reads it now, so that what is wrong with it is known
            pass

    def __call__(self, image: np.ndarray) -> list[Detection]:
        for longest, step, neighbours in self.PASSES:
            found = self._detect(image, longest, step, neighbours)
            if found:
                return sorted_out(found, image)
        return []

    def _detect(self, image: np.ndarray, longest: int, step: float, neighbours: int) -> list[Detection]:
        small, x, y = shrink(image, longest)
        with self._cascades() as cascade:
            boxes, _, sums = cascade.detectMultiScale3(
                cv2.cvtColor(small, cv2.COLOR_RGB2GRAY),
                scaleFactor=step,
                minNeighbors=neighbours,
                minSize=(self.LEAST, self.LEAST),
                outputRejectLevels=True,
            )
        scores = 1 / (1 + np.exp(self.SLOPE * (self.MIDDLE - np.ravel(sums))))
        return [
            Detection(Box(left * x, top * y, width * x, height * y), float(score))
            for (left, top, width, height), score in zip(np.reshape(boxes, (-1, 4)).tolist(), scores, strict=True)
            if score >= self.threshold
        ]


def _cascade(name: str) -> cv2.CascadeClassifier:
    try:
        from cv2.data import haarcascades  # OpenCV 5 has none

        text = (Path(haarcascades) / name).read_text(encoding="utf-8")
    except (ImportError, OSError) as error:
        raise CourseError(f"{name}: not in this OpenCV, expected opencv-python 4.10 to 4.x") from error
    # From memory: the cascade's own loader fails on non-ASCII paths on Windows.
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    cascade = cv2.CascadeClassifier()
    cascade.read(storage.getFirstTopLevelNode())
    return cascade


class YuNetDetector:
    """YuNet (Wu, Peng and Yu, 2023), 76,000 parameters, through OpenCV's `FaceDetectorYN`.

    `model` are the bytes of its file, (N,) uint8. Threads may share it; it can be pickled and copied, see `Detector`.
    """

    name = "yunet"
    # It sees faces of about 10 to 300 px: at 640 px it misses one in ten that fill the image, at 256 px none. So the
    # large ones are the small copy's to find, which costs a sixth more.
    LONGEST = 640
    LONGEST_FOR_LARGE = 256
    LARGE = LONGEST / 2
    LEAST = 64  # px; on inputs of 32 px and less OpenCV 4.14 answers with what lies in memory

    def __init__(self, model: np.ndarray, threshold: float | None = None):
        self.threshold = 0.7 if threshold is None else threshold
        self.box_map = BOX_MAPS[self.name]
        # One network for each size of image: changing its size costs more than keeping two.
        self._fine, self._coarse = (Lent(partial(_yunet, model, self.threshold)) for _ in range(2))

    def __call__(self, image: np.ndarray) -> list[Detection]:
        fine = self._detect(self._fine, image, self.LONGEST)
        scale = max(1.0, max(image.shape[:2]) / self.LONGEST)
        if max(image.shape[:2]) <= self.LONGEST_FOR_LARGE:
            return sorted_out(fine, image)
        fine = [d for d in fine if d.box.side <= self.LARGE * scale]
        return sorted_out(fine + self._detect(self._coarse, image, self.LONGEST_FOR_LARGE), image)

    def _detect(self, nets: Lent[cv2.FaceDetectorYN], image: np.ndarray, longest: int) -> list[Detection]:
        small, x, y = shrink(image, longest)
        if min(small.shape[:2]) < self.LEAST:
            below, beside = (max(0, self.LEAST - side) for side in small.shape[:2])
            small = cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        height, width = small.shape[:2]
        with nets() as net:
            if net.getInputSize() != (width, height):
                net.setInputSize((width, height))
            _, rows = net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        # A row is left, top, width, height, five points, score.
        return [
            Detection(Box(row[0] * x, row[1] * y, row[2] * x, row[3] * y), min(1.0, row[14]))
            for row in ([] if rows is None else rows.tolist())
        ]


def _yunet(model: np.ndarray, threshold: float) -> cv2.FaceDetectorYN:
    no_config = np.empty(0, np.uint8)
    # 0.3: OpenCV's own overlap limit among one pass's boxes.
    return cv2.FaceDetectorYN.create("onnx", model, no_config, (320, 320), threshold, 0.3)


class SsdDetector:
    """The res10 SSD of OpenCV's samples, 300 x 300 px, from its Caffe or its 8-bit TensorFlow files.

    Threads may share it; it can be pickled and copied, see `Detector`. Each copy reads the files again.
    """

    name = "ssd"
    SIZE = 300
    MEAN_BGR = (104.0, 177.0, 123.0)

    def __init__(self, threshold: float | None = None):
        self.threshold = 0.5 if threshold is None else threshold
        self.box_map = BOX_MAPS[self.name]
        self._nets = Lent(_read_ssd)
        with self._nets():  # reads the files now, so that what is wrong with them is known
            pass

    def __call__(self, image: np.ndarray) -> list[Detection]:
        # Padded to a square rather than squeezed into one: on 4:3 images its boxes are then a sixth steadier.
        small, x, y = shrink(image, self.SIZE)
        height, width = small.shape[:2]
        side = max(height, width)
        left, top = (side - width) // 2, (side - height) // 2
        square = cv2.copyMakeBorder(
            cv2.cvtColor(small, cv2.COLOR_RGB2BGR),
            *(top, side - height - top, left, side - width - left),
            cv2.BORDER_CONSTANT,
            value=self.MEAN_BGR,
        )
        with self._nets() as net:
            net.setInput(cv2.dnn.blobFromImage(square, 1.0, (self.SIZE, self.SIZE), self.MEAN_BGR))
            rows = net.forward().reshape(-1, 7).tolist()
        found = []
        for _, _, score, *edges in rows:
            x0, y0, x1, y1 = (edge * side for edge in edges)
            if score >= self.threshold and x1 > x0 and y1 > y0:
                box = Box((x0 - left) * x, (y0 - top) * y, (x1 - x0) * x, (y1 - y0) * y)
                found.append(Detection(box, min(1.0, score)))
        return sorted_out(found, image)


def _read_ssd() -> cv2.dnn.Net:
    """The float network, or the 8-bit one where only that is found; from memory, as for Windows' non-ASCII paths."""
    eight_bit = find_file(f"models/{SSD_WEIGHTS.name}") is None and find_file(f"models/{SSD8_WEIGHTS.name}") is not None
    weights, net = (SSD8_WEIGHTS, SSD8_NET) if eight_bit else (SSD_WEIGHTS, SSD_NET)
    try:
        if eight_bit:
            return cv2.dnn.readNetFromTensorflow(read_model(weights), _without_ghosts(read_model(net)))
        return cv2.dnn.readNetFromCaffe(_without_ghosts(read_model(net)), read_model(weights))
    except cv2.error as error:
        raise CourseError(
            f"{model_path(net)}: does not describe the network of {weights.name}; "
            f"remove it and run {command('data detectors')}"
        ) from error


def _without_ghosts(config: np.ndarray) -> np.ndarray:
    """The SSD's description, Caffe's or TensorFlow's, with the padding of its last two 3 x 3 convolutions taken out.

    The published files pad them, so that the maps of the largest faces have 5 x 5 cells where the steps given with
    them, 100 and 300 of 300 px, mean 3 x 3 and 1: such a face is then found a second time 100 px right of and below its
    place, or far outside the image. 1,654 of 3,874 boxes on the training images were such ghosts.
    """
    unpadded = {b"pad: 1": b"pad: 0", b'"SAME"': b'"VALID"'}
    pattern = rb'(name: "conv[89]_2_h(?:/Conv2D)?".*?)(pad: 1|"SAME")'
    fixed = re.sub(pattern, lambda match: match[1] + unpadded[match[2]], config.tobytes(), flags=re.DOTALL)
    return np.frombuffer(fixed, np.uint8)
