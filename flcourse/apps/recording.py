"""What `flcourse webcam --out` writes: the annotated video and its points, checked before they get their names."""

import csv
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from flcourse.errors import CourseError
from flcourse.face.track import TrackedFace
from flcourse.face.video import Video
from flcourse.points import N_POINTS, apply

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # what OpenCV's wheels can write on every system
TAIL = 30  # frames at the end of the video that are read back
PAUSE = 60.0  # s without a frame, at most: more is a damaged file's time, and would be written as a still video


class Recording:
    """Writes an annotated video and, beside it, the points as CSV: under temporary names until it ends.

    Frames are written in their time, once, several times or not at all, so that the video runs at its rate: a camera's
    as they come, those of a file of changing rate as long as they last there. A frame of another size than the first is
    fitted into that one's, its points with it. `frame` in the CSV counts the written video's frames from 0;
    `confidence` is empty where the network has none. Where the disk was full nothing is left, and `CourseError` raised;
    `written` says whether the files have their names.
    """

    COLUMNS = ("frame", "time", "face", "confidence", *(f"{axis}{i}" for i in range(N_POINTS) for axis in "xy"))

    def __init__(self, out: Path, video: Video) -> None:
        if out.suffix.lower() not in CODECS:
            raise CourseError(f"{out}: expected a video's name that ends in {' or '.join(CODECS)}")
        self.paths = out, out.with_suffix(".csv")
        for path in self.paths:
            if path.is_dir():
                raise CourseError(f"{path}: is a folder, expected a file's name; give another --out")
            if path.exists() and Path(video.name).exists() and path.samefile(video.name):
                raise CourseError(f"{path}: is the source too; give another --out")
        self.video, self.frames, self.written = video, 0, False
        self._size = 0, 0  # width, height of the first frame
        self._left_out = 0.0  # s of pauses longer than PAUSE
        self._failed = ""  # what went wrong with the CSV
        # The suffix last: it tells OpenCV the form of file.
        self._parts = [path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}") for path in self.paths]
        self._writer: cv2.VideoWriter | None = None
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._text = open(self._parts[1], "w", encoding="utf-8", newline="")
        except OSError as error:
            raise CourseError(f"{out}: cannot be written ({error.strerror or error})") from error
        self._rows = csv.writer(self._text)
        self._rows.writerow(self.COLUMNS)

    def write(self, image: np.ndarray, at: float, faces: Sequence[TrackedFace]) -> None:
        """Add an annotated RGB frame of `at` seconds and its faces' points."""
        if self._writer is None:
            self._size = image.shape[1], image.shape[0]
            codec = cv2.VideoWriter.fourcc(*CODECS[self.paths[0].suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._parts[0]), codec, self.video.rate, self._size)
            if not self._writer.isOpened():
                raise CourseError(
                    f"{self.paths[0]}: OpenCV cannot write this video ({' x '.join(map(str, self._size))} px)"
                )
        image, matrix = _fitted(image, self._size)
        due = at - self._left_out - self.frames / self.video.rate
        if due > PAUSE:
            self._left_out += due
        times = max(0, round((at - self._left_out) * self.video.rate) + 1 - self.frames)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        for _ in range(times):
            self._writer.write(bgr)
        if times:
            for face in faces:
                numbers = [f"{value:.2f}" for value in apply(face.points, matrix).ravel()]
                confidence = "" if face.confidence is None else f"{face.confidence:.4f}"
                self._row([self.frames, f"{at:.4f}", face.number, confidence, *numbers])
        self.frames += times

    def _row(self, values: Sequence[object]) -> None:
        try:
            self._rows.writerow(values)
        except OSError as error:
            self._failed = error.strerror or str(error)
            raise CourseError(f"{self.paths[1]}: cannot be written on ({self._failed}); nothing is kept") from error

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._text.close()
        except OSError as error:
            self._failed = self._failed or error.strerror or str(error)
        if self._writer:
            self._writer.release()
        whole = self._readable() if self.frames and not self._failed else 0
        if not self.frames or whole < self.frames:
            for part in self._parts:
                with suppress(OSError):
                    part.unlink()
            if self.frames:
                why = self._failed or f"{whole} of {self.frames} frames can be read back"
                raise CourseError(f"{self.paths[0]}: not written whole ({why}): is the disk full? Nothing is kept")
            return
        for part, path in zip(self._parts, self.paths, strict=True):
            try:
                os.replace(part, path)
            except OSError as error:  # on Windows, where a player has it open
                raise CourseError(f"{path}: cannot be replaced ({error.strerror}); written to {part}") from error
        self.written = True

    def _readable(self) -> int:
        """How many of the frames can be read back: OpenCV's writer says nothing where the disk is full.

        The file's index, which is written last, says how many there are; the last ones are read as well. Reading all
        would take a second for each minute.
        """
        capture = cv2.VideoCapture(str(self._parts[0]))
        count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        first = max(0, count - TAIL)
        capture.set(cv2.CAP_PROP_POS_FRAMES, first)
        read = 0
        while read < count - first and capture.grab():
            read += 1
        capture.release()
        return first + read


def _fitted(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image as large as fits into `size` (width, height), on black, and the (2, 3) matrix that moves its points."""
    high, wide = image.shape[:2]
    if (wide, high) == size:
        return image, np.eye(2, 3)
    scale = min(size[0] / wide, size[1] / high)
    # Integers are at pixel centres, and the two images' middles meet.
    middle, other = (np.array(size) - 1) / 2, (np.array([wide, high]) - 1) / 2
    matrix = np.column_stack([scale * np.eye(2), middle - scale * other])
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), matrix
