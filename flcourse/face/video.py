"""Images of a camera, a video file or a generator, one after the other, with the time of each (OpenCV)."""

import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path

import cv2
import numpy as np

from flcourse.errors import CourseError

RATE = 30.0  # frames/s, where a source does not say
FIRST, NEXT = 10.0, 5.0  # s to wait for a camera's first image (some open slowly), and for each after it
CAMERAS = 100  # whose numbers OpenCV takes as such; it adds hundreds to say through which driver
REST = 0.02  # s between two tries after a camera gave nothing

# FFmpeg's AV_LOG_QUIET, else it prints what it finds wrong with a file. Here, as it is looked at only once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

Read = Callable[[], tuple[np.ndarray, float] | None]  # the next image, BGR or RGB, and its time in s; None: the end


class Video:
    """The images of a source in order: iterating gives `(image (H, W, 3) uint8 RGB, time in seconds)`.

    `source` is a camera's number, the path of a video file, the address of a stream, or an iterable of images, which
    come `rate` a second, or of tuples that begin with an image and its time. A camera or a stream (`live`) gives its
    newest image, and none twice; a file and an iterable give every one. Time is 0 at the first image and never
    stands still. `release` gives a camera back, also from another thread, and ends the iteration; so does leaving a
    `with` block. Raises `CourseError` where a source is missing, busy, unreadable or empty, where a camera falls
    silent, and where an iterable gives something else.

    Any thread may iterate, one at a time. It holds a camera or a file, so it can be neither pickled nor copied: open it
    in the process that uses it.
    """

    def __init__(self, source: int | str | os.PathLike | Iterable[np.ndarray], rate: float = RATE) -> None:
        if not 0 < rate <= 1000:
            raise CourseError(f"rate={rate}: expected frames a second, more than 0 and at most 1000")
        self.rate = rate  # frames/s to show it at; a file's own
        self.count: int | None = None  # how many images, where that is known; a file may be a little wrong
        self.live = False
        self._released, self._turn = threading.Event(), threading.RLock()
        self._close: Callable[[], None] = lambda: None
        self._read = self._open(source)
        self._start, self._last = math.nan, -math.inf  # the first time, and the last that was given

    def _open(self, source: int | str | os.PathLike[str] | Iterable[np.ndarray]) -> Read:
        if isinstance(source, str) and re.fullmatch(r"\s*[-+]?[0-9]+\s*", source):  # as a command line gives it
            source = int(source)
        if isinstance(source, int) and not (isinstance(source, bool) or 0 <= source < CAMERAS):
            raise CourseError(f"camera {source}: expected a number from 0, the first, to {CAMERAS - 1}")
        if isinstance(source, int) and not isinstance(source, bool):
            self.name, self.live = f"camera {source}", True
        elif isinstance(source, str | os.PathLike) and "\0" not in os.fsdecode(source):
            self.name = os.fspath(source)
            self.live = "://" in self.name or Path(source).is_char_device()  # /dev/video0
        elif isinstance(source, Iterable) and not isinstance(source, str | bytes | Mapping):
            self.name = "the images"
            self.count = len(source) if isinstance(source, Sized) else None
            images = iter(source)
            self._close = getattr(images, "close", self._close)  # a generator's own clean-up
            return self._from(images)
        else:
            raise CourseError(f"source {source!r}: expected a camera's number, a video file or images")
        if not self.live and not Path(self.name).is_file():
            raise CourseError(f"{self.name}: no such file, expected a video or a camera's number")
        capture = _capture(source)
        if not capture.isOpened():
            capture.release()
            raise CourseError(_no_camera(self.name) if self.live else f"{self.name}: not a video that can be read")
        rate = capture.get(cv2.CAP_PROP_FPS)
        if 0 < rate <= 1000:  # cameras and damaged files also say 0, NaN or 90,000
            self.rate = rate
        if self.live:
            newest = _Newest(capture, self.name, self._released)
            self._close = newest.join
            return newest.read
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if 0 < count < 2**31 else None
        self._close = capture.release
        return lambda: _read_file(capture)

    def _from(self, images: Iterator[np.ndarray]) -> Read:
        number = -1

        def read():
            nonlocal number
            number += 1
            image, at = next(images, None), number / self.rate
            if image is None:
                return None
            if isinstance(image, tuple) and len(image) > 1:
                image, at = image[:2]
            form = getattr(image, "dtype", None), getattr(image, "shape", ())
            if form[0] != np.uint8 or len(form[1]) != 3 or form[1][2] != 3 or not image.size:
                found = f"{form[0]} {form[1]}" if form[0] else type(image).__name__
                raise CourseError(f"image {number}: {found}, expected uint8 (H, W, 3), RGB")
            return image, at

        return read

    def __iter__(self) -> "Video":
        return self

    def __next__(self) -> tuple[np.ndarray, float]:
        with self._turn:
            try:
                read = None if self._released.is_set() else self._read()
                if read is None and math.isnan(self._start) and not self._released.is_set():
                    raise CourseError(f"{self.name}: no image in it, expected a video")
            except BaseException:
                self.release()
                raise
            if read is None:
                self.release()
                raise StopIteration
            image, at = read
            if math.isnan(self._start):
                self._start = at
            at -= self._start
            self._last = at if at > self._last else self._last + 1 / self.rate  # some files have wrong times, or none
            return image, self._last

    def release(self) -> None:
        """Give the camera or the file back; iterating ends. Nothing happens the second time."""
        self._released.set()  # a camera's read, which may be waiting, ends on this
        with self._turn:
            close, self._close = self._close, lambda: None
            close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_) -> None:
        self.release()


class _Newest:
    """A camera read in a thread of its own, so that old images do not queue in its driver; keeps the newest."""

    def __init__(self, capture: cv2.VideoCapture, name: str, released: threading.Event) -> None:
        self.capture, self.name, self.released = capture, name, released
        self.patience = FIRST
        self.change, self.newest = threading.Condition(), None
        # A daemon: a driver may block for ever, and that must not keep Python from ending.
        self.thread = threading.Thread(target=self._run, name=f"flcourse {name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.released.is_set():
            done, bgr = self.capture.read()
            if not done:
                self.released.wait(REST)
                continue
            with self.change:
                self.newest = bgr, time.monotonic()
                self.change.notify()
        self.capture.release()  # here, because releasing while another thread reads crashes some drivers

    def read(self) -> tuple[np.ndarray, float] | None:
        end = time.monotonic() + self.patience
        with self.change:
            while self.newest is None and not self.released.is_set():
                if time.monotonic() > end:
                    raise CourseError(
                        f"{self.name}: gave no image for {self.patience:g} s: was it unplugged, or taken by another "
                        f"program?"
                    )
                self.change.wait(0.1)
            if self.newest is None:
                return None
            (bgr, at), self.newest, self.patience = self.newest, None, NEXT
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), at

    def join(self) -> None:
        self.thread.join(2)  # s; an image takes 33 ms, a driver that hangs up to 10 s


def _capture(source: int | str | os.PathLike[str]) -> cv2.VideoCapture:
    """OpenCV's reader of a source, without what its drivers print where it cannot be opened."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source if isinstance(source, int) else os.fspath(source))
    finally:
        logging.setLogLevel(before)


def _read_file(capture: cv2.VideoCapture) -> tuple[np.ndarray, float] | None:
    done, bgr = capture.read()
    if not done:
        return None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


def _no_camera(name: str) -> str:
    return (
        f"{name}: does not open: is it plugged in, is the number right (0 is the first), does another program use it? "
        "On macOS, System Settings > Privacy & Security > Camera must allow the program that runs Python"
    )
