"""Faces followed through video: the crop about the last points, detection beside it, One-Euro smoothing, numbers.

Detection takes longer than the points do, and a face seldom needs it: it runs now and then, on a small copy of the
frame and in a thread of its own, while the points of the faces already known go on. OpenCV and ONNX Runtime let other
threads run while they work.
"""

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.face.smooth import FaceSmoother
from flcourse.images import as_rgb, shrink
from flcourse.points import Box, face_box, is_sound, overlap

DETECT_SIDE = 320  # px, the long side of the copy that is searched: faces of 12 px are found on it
EVERY, SOON = 0.5, 0.1  # s between detections: while all is well; while a face is missing, unsure or just lost
DELAY = 0.2  # s of the video until a detection is waited for, so that files give the same result on any machine

# The confidence below which the detector is asked at once, and a few misses of its end the track. Below the network's
# own `accept` it ends at once. For a network without a confidence the detector's score, which falls with each miss,
# stands in.
UNSURE = 0.5
MISSES = 2  # detections in a row without the face that end a track of which the network is unsure
MEMORY = 2.0  # s for which a lost face's number is kept for it

SAME_CROP = 0.85  # overlap from which the old crop serves again: a crop that moves makes points tremble
SECOND_PASS = 0.55  # overlap below which the points are found again about themselves: the face was off the middle
SAME_FACE = 0.5  # two tracks whose boxes' centres are closer, in sides, are on one face


@dataclass(frozen=True, eq=False)
class TrackedFace(FaceLandmarks):
    """One face in a frame of a video; `points` are smoothed, and `box` is the face box about them.

    A value like `FaceLandmarks`.
    """

    number: int  # of the face, from 1: the same as long as it is followed, and for `MEMORY` seconds after it was lost
    raw: np.ndarray  # (68, 2) float32, the points of this frame alone, as the network gave them


@dataclass(eq=False)
class _Track:
    number: int
    box: Box  # of the next crop
    score: float  # of the detector, falling with each miss
    face: FaceLandmarks = field(init=False)  # from its first frame on
    misses: int = 0
    smoother: FaceSmoother = field(default_factory=FaceSmoother)
    past: deque = field(default_factory=deque)  # (time, centre x, centre y, log of the side)

    RECENT, LONG = 0.2, 0.8  # s: what is older tells where the face was going before another one came in its way

    def remember(self, time: float) -> None:
        """Put where the face is into the past, and drop what is too long ago."""
        self.past.append((time, *_where(self.face.box)))
        while time - self.past[0][0] > self.LONG:
            self.past.popleft()

    def expected(self, time: float) -> np.ndarray | None:
        """Centre and log side that the older past leads to, or None without one."""
        old = [row for row in self.past if self.past[-1][0] - row[0] >= self.RECENT]
        if len(old) < 2:
            return None
        first, last = np.array(old[0]), np.array(old[-1])
        velocity = (last - first)[1:] / (last[0] - first[0])
        velocity[2] = 0  # sizes change slowly, and a wrong rate would soon be far off
        return last[1:] + velocity * (time - last[0])

    def surprise(self, time: float) -> float:
        """How far the face is from where it was going, in sides; infinite for a new one."""
        expected = self.expected(time)
        return np.inf if expected is None else _distance(expected, _where(self.face.box))


def _certainty(face: FaceLandmarks) -> float:
    return face.score if face.confidence is None else face.confidence


def _where(box: Box) -> np.ndarray:
    return np.array([*box.centre, np.log(box.side)])


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between two (centre x, centre y, log side): in sides, and a side e times as large counts as one."""
    return float(np.hypot(*(a - b)[:2]) / np.exp((a[2] + b[2]) / 2) + abs(a[2] - b[2]))


class FaceTracker:
    """Follows the faces of a video: `tracker(image, time)` for each frame, in order.

    `live`: never waits for a detection, for cameras; a face then shows up some frames after it came. Otherwise a
    detection is waited for while no face is followed, and `DELAY` seconds of the video later where one is: the same
    video gives the same faces. `smooth=False` leaves the points as the network gave them.

    A tracker is for one video, and for one thread at a time. Several of them, in as many threads, may share a
    landmarker. As each has a thread of its own it cannot be pickled, copied or taken along into a forked process: make
    one there, of the same landmarker.
    """

    def __init__(self, landmarker: FaceLandmarker, *, smooth: bool = True, live: bool = False) -> None:
        if landmarker.detector is None:
            raise ValueError("the landmarker was made without a detector, which a tracker needs")
        self.landmarker, self.smooth, self.live = landmarker, smooth, live
        self._detector = landmarker.detector
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="face-detection")
        self.reset()

    def reset(self) -> None:
        """Forget all faces; numbers count from 1 again. For the start of another video."""
        self._tracks: list[_Track] = []
        self._lost: list[_Track] = []
        self._last_number = 0
        self._time = self._began = -np.inf  # s, of the last frame, and of the last one searched
        self._job: Future | None = None
        self._searched: list[tuple[_Track, Box]] = []  # the tracks, and where they were, in the frame being searched

    def close(self) -> None:
        """End the detection thread."""
        self._worker.shutdown(cancel_futures=True)

    def __enter__(self) -> "FaceTracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, image: np.ndarray, time: float) -> list[TrackedFace]:
        """The faces of an (H, W, 3) uint8 RGB frame shown at `time` seconds, by number.

        Raises `ValueError` where time runs backwards: `reset()` starts another video; `TypeError` and `ValueError` for
        what is no image, see `images.check_image`.
        """
        image = as_rgb(image, "frame")
        if not math.isfinite(time):
            raise ValueError(f"a frame at {time} s, expected a finite time")
        if time < self._time:
            raise ValueError(f"time runs backwards, from {self._time} to {time} s; call reset() before another video")
        seconds, self._time = time - self._time, time
        new = self._detected(image, time)
        tracks = self._tracks + new
        boxes = [track.box for track in tracks]
        faces = self.landmarker.at(image, boxes, [track.score for track in tracks])
        # A fast face, or a detection some frames old: the points lie off the crop's middle, where they are worse.
        found = [face_box(face.points) for face in faces]
        off = [i for i, box in enumerate(found) if overlap(box, boxes[i]) < SECOND_PASS and is_sound(box)]
        again = self.landmarker.at(image, [found[i] for i in off], [tracks[i].score for i in off])
        for i, face in zip(off, again, strict=True):
            faces[i] = face
        for track, face in zip(tracks, faces, strict=True):
            self._follow(track, face, time)
        self._tracks = self._sorted_out(tracks, new, time)
        return [self._answer(track, seconds) for track in self._tracks]

    def _detected(self, image: np.ndarray, time: float) -> list[_Track]:
        """Begin and collect detections; tells known tracks, and returns a new one for each face without."""
        hurry = not self._tracks or self._lost or any(self._unsure(track) for track in self._tracks)
        if self._job is None and time - self._began > (SOON if hurry else EVERY) - 1e-6:
            small, x, y = shrink(image, DETECT_SIDE)
            # Always a copy: the caller may draw on the frame while it is searched.
            self._job = self._worker.submit(self._search, small.copy() if small is image else small, x, y)
            self._began, self._searched = time, [(track, track.face.box) for track in self._tracks]
        if self._job is None or not self._due(self._job, time):
            return []
        job, self._job = self._job, None  # first, so that one that failed does not fail in every frame to come
        found = job.result()
        for track, was in self._searched:  # those lost since, too: what was seen of them is out of date
            match = max(found, key=lambda d: overlap(d[0], was), default=None)
            if match is None or overlap(match[0], was) < 0.2:
                track.misses += 1
                track.score *= 0.9
                continue
            found.remove(match)
            if self._unsure(track):  # it may have slipped
                track.box = match[0]
            track.misses, track.score = 0, match[1]
        return [_Track(0, box, score) for box, score in found]

    def _due(self, job: Future, time: float) -> bool:
        if self.live:
            return job.done()
        return not self._tracks or time - self._began > DELAY - 1e-6

    def _search(self, small: np.ndarray, x: float, y: float) -> list[tuple[Box, float]]:
        """In the thread: the face boxes of a small copy, in the frame's pixels, and their scores."""
        found = [(self._detector.box_map(box), score) for box, score in self._detector(small)]
        found = [(Box(box.left * x, box.top * y, box.width * x, box.height * y), score) for box, score in found]
        return [(box, score) for box, score in found if is_sound(box)]

    def _unsure(self, track: _Track) -> bool:
        return _certainty(track.face) < UNSURE

    def _follow(self, track: _Track, face: FaceLandmarks, time: float) -> None:
        """Take over what the network found, and choose the next crop."""
        box = face_box(face.points)
        if not track.past or overlap(face.box, box) < SAME_CROP:
            track.box = box
        track.face = FaceLandmarks(face.points, face.confidence, box, face.score)
        track.remember(time)

    def _sorted_out(self, tracks: Sequence[_Track], new: Sequence[_Track], time: float) -> list[_Track]:
        """The tracks that go on: those the network believes in, one for each face, new ones with a number."""
        kept: list[_Track] = []
        for track in sorted(tracks, key=lambda track: track.surprise(time)):
            sure = _certainty(track.face) >= self.landmarker.network.accept and np.isfinite(track.face.points).all()
            fine = sure and is_sound(track.face.box) and not (self._unsure(track) and track.misses >= MISSES)
            where = _where(track.face.box)
            if fine and all(_distance(where, _where(other.face.box)) > SAME_FACE for other in kept):
                kept.append(track)
            elif track not in new:
                self._lost.append(track)
        self._lost = [track for track in self._lost if time - track.past[-1][0] <= MEMORY]
        for track in kept:
            if not track.number:
                track.number = self._number(track, time)
        return sorted(kept, key=lambda track: track.number)

    def _number(self, track: _Track, time: float) -> int:
        """The number of the face lost nearest to here, or to where it was going; else a new one."""

        def far(lost: _Track) -> float:
            places = [np.array(lost.past[0][1:]), np.array(lost.past[-1][1:]), lost.expected(time)]
            return min(_distance(place, _where(track.face.box)) for place in places if place is not None)

        nearest = min(self._lost, key=far, default=None)
        if nearest is not None and far(nearest) < 2:
            self._lost.remove(nearest)
            return nearest.number
        self._last_number += 1
        return self._last_number

    def _answer(self, track: _Track, seconds: float) -> TrackedFace:
        raw = points = track.face.points
        if self.smooth:
            points = track.smoother(raw, max(seconds, 1e-3))  # a coarse clock may show two frames at one time
        return TrackedFace(points, track.face.confidence, face_box(points), track.face.score, track.number, raw)
