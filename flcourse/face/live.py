"""The one live loop, of the window, of the notebook's camera and of the bench: frame in, faces found, overlay drawn.

What belongs to one video lies here together (the tracker, the overlay, the mirror), so that all of it begins anew when
another video begins.
"""

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from flcourse.errors import CourseError
from flcourse.face.overlays import OVERLAYS, Overlay, open_overlay
from flcourse.face.track import TrackedFace

# Finds the faces of an (H, W, 3) uint8 RGB image at a time in seconds: a `FaceTracker`, or a function.
Find = Callable[[np.ndarray, float], Sequence[TrackedFace]]


class LiveLoop:
    """Finds faces in frame after frame and draws the chosen overlay; keeps the last frame and what was found in it.

    `find(frame, time)` returns the faces of an (H, W, 3) uint8 RGB frame: a `FaceTracker`, or a function; where it has
    a `reset`, that is called wherever the loop begins anew. `overlays` names those to choose from, the first of which
    is drawn, and `open_overlay(name)` gives a fresh one. `mirror` turns each frame round before it is looked at, so
    that what is drawn on it can be read. Any thread may call any method: a call waits for the frame at hand. Raises
    `CourseError` where no overlay is named. With a `FaceTracker` in it, it belongs to one process, as that does.
    """

    def __init__(
        self,
        find: Find,
        overlays: str | Sequence[str] = tuple(OVERLAYS),
        open_overlay: Callable[[str], Overlay] = open_overlay,
        *,
        mirror: bool = False,
    ) -> None:
        self.find, self.overlays = find, [overlays] if isinstance(overlays, str) else list(overlays)
        if not self.overlays:
            raise CourseError("overlays: none is named, expected some to choose from")
        self.open_overlay, self.mirror = open_overlay, mirror
        self.name = self.overlays[0]  # of the overlay that is drawn
        self.frame: np.ndarray | None = None  # (H, W, 3) uint8 RGB, as it was looked at: mirrored where wanted
        self.image: np.ndarray | None = None  # the same with the overlay
        self.faces: list[TrackedFace] = []
        self._overlay: Overlay | None = None
        self._seen: tuple | None = None  # whether the last frame was mirrored, and its shape; None: there was none
        self._closed, self._turn = False, Lock()

    def check(self, name: str) -> str:
        """The name itself where it is one to choose; else raises `CourseError`."""
        if name not in self.overlays:
            raise CourseError(f"overlay {name!r}: expected one of {', '.join(self.overlays)}")
        return name

    def choose(self, name: str) -> None:
        """Draw another overlay from the next frame on, a fresh one. Raises `CourseError` for a name not among them."""
        with self._turn:
            self.name, self._overlay = self.check(name), None

    def reset(self) -> None:
        """Begin anew: other frames follow, and what was seen before says nothing about them."""
        with self._turn:
            self._begin_anew()

    def close(self) -> None:
        """Look no more: when this returns, `find` is free for another video."""
        with self._turn:
            self._closed = True

    def __call__(self, frame: np.ndarray, at: float) -> np.ndarray | None:
        """The frame of time `at`, s, with its faces drawn on a copy, (H, W, 3) uint8 RGB; None once closed.

        A mirror that was turned since the last frame is another video: faces have leapt to the other side, left and
        right eyes have changed places. So is a frame of another size. Raises what `find` and the overlay raise.
        """
        with self._turn:
            if self._closed:
                return None
            seen = self.mirror, frame.shape
            if self._seen not in (None, seen):
                self._begin_anew()
            self._seen = seen
            if self.mirror:
                frame = np.ascontiguousarray(frame[:, ::-1])
            if self._overlay is None:
                self._overlay = self.open_overlay(self.name)
            faces = list(self.find(frame, at))
            image = frame.copy()
            self._overlay(image, faces, at)
            self.frame, self.image, self.faces = frame, image, faces
            return image

    def _begin_anew(self) -> None:
        self._overlay = self._seen = None
        if hasattr(self.find, "reset"):
            self.find.reset()
