"""The course's own face detector: a small fully convolutional network in ONNX Runtime, run over an image pyramid."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import flcourse.weights
from flcourse.face.detections import Detection
from flcourse.face.session import default_threads, open_session
from flcourse.points import BOX_MAPS, Box

NAMES = {"detector": "course", "detector_drawn": "drawn"}  # shipped weights -> the detector that they make
DOUBTFUL = 0.25  # score from which something may be a face, if another network is sure of it; chosen on the same
THRESHOLDS = {"course": 0.5, "drawn": 0.56}  # chosen on 250 people of LFW and 400 CIFAR-10 images not trained on


class _Tile(NamedTuple):
    """A part of a level that the network sees."""

    pixels: np.ndarray  # (h, w) uint8, grey
    own: Box  # of these pixels, the part's own; what is centred elsewhere is another part's
    corner: tuple[int, int]  # of the pixels in the level, (x, y)
    level: int
    back: tuple[float, float]  # the image's pixels for one of the level, (x, y)


class CourseDetector:
    """Finds faces from 12 px to filling the image, turned by up to 40 degrees, at every scale up to the image's own.

    The network answers faces of about 9 to 72 px; the pyramid brings every other face to that size at one or two of its
    levels. `weights` is one of `NAMES`; those of "drawn" have seen drawn faces only. A large image is searched in
    tiles, `threads` of them at once (default: `default_threads()`). Threads may share a detector; it can be pickled and
    copied.
    """

    STEP = 2.0  # from one level of the pyramid to the next
    LEAST = 24  # px, the longer side of the smallest level: a face that fills it is still within the network's range
    MULTIPLE = 16  # px: the network halves its input four times
    TILE, MARGIN = 1024, 96  # px: what is searched at once, and what is seen beyond it
    MANY = 8  # tiles, from which several are searched at the same time
    CANDIDATE = 0.2  # score of one level's answer, from which it may be one of a face's
    USUAL = 12, 90  # px: a face of this size in a level should be answered there
    LEVELS = 2  # at most, whose answers make a face's score
    ALONE = 0.95  # times the score of a face that only one level shows
    AGREE = 0.35  # overlap from which answers of several levels are of one face
    SAME, INSIDE = 0.4, 0.75  # overlap, and part of the smaller box inside the other, from which two faces are one

    def __init__(self, threshold: float | None = None, weights: str = "detector", threads: int | None = None) -> None:
        self.weights, self.name = weights, NAMES[weights]
        self.threshold = THRESHOLDS[self.name] if threshold is None else threshold
        self.doubtful = DOUBTFUL if threshold is None else threshold  # the least score of what `candidates` gives
        self.threads = threads or default_threads()
        self.box_map = BOX_MAPS[self.name]
        # One thread each: tiles are shared out instead, and a video's frame is searched beside the points' network.
        self._session = open_session(Path(flcourse.weights.__file__).with_name(f"{weights}.onnx"), threads=1)

    def __reduce__(self) -> tuple:
        own = self.doubtful < self.threshold
        return CourseDetector, (None if own else self.threshold, self.weights, self.threads)

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """See `Detector`."""
        return [found for found in self.candidates(image) if found.score >= self.threshold]

    def candidates(self, image: np.ndarray) -> list[Detection]:
        """The faces, and after them what may be some: scores from `doubtful`, or from the threshold that was given."""
        levels = list(self._levels(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)))
        tiles = list(self._tiles(levels))
        if self.threads > 1 and len(tiles) > self.MANY:
            with ThreadPoolExecutor(self.threads) as pool:
                rows = list(pool.map(self._search, tiles))
        else:
            rows = [self._search(tile) for tile in tiles]
        return self._merged(np.concatenate(rows), len(levels))

    def _levels(self, grey: np.ndarray) -> Iterator[np.ndarray]:
        """The pyramid, from the image's own size down."""
        height, width = grey.shape
        step = 1.0
        while True:
            yield grey
            step *= self.STEP
            if max(height, width) / step < self.LEAST:
                return
            small = max(1, round(width / step)), max(1, round(height / step))
            grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)

    def _tiles(self, levels: list[np.ndarray]) -> Iterator[_Tile]:
        """The levels in parts that overlap."""
        for number, level in enumerate(levels):
            height, width = level.shape
            back = levels[0].shape[1] / width, levels[0].shape[0] / height
            for top in range(0, height, self.TILE):
                for left in range(0, width, self.TILE):
                    x, y = max(0, left - self.MARGIN), max(0, top - self.MARGIN)
                    part = level[y : top + self.TILE + self.MARGIN, x : left + self.TILE + self.MARGIN]
                    own = Box(left - x, top - y, min(self.TILE, width - left), min(self.TILE, height - top))
                    yield _Tile(part, own, (x, y), number, back)

    def _search(self, tile: _Tile) -> np.ndarray:
        """What the network answers for a tile: rows (score, x, y, side, level) in the image's pixels."""
        part, own, corner, level, back = tile
        height, width = part.shape
        below, beside = -height % self.MULTIPLE, -width % self.MULTIPLE
        if below or beside:
            part = cv2.copyMakeBorder(part, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        faces = np.asarray(self._session.run(None, {"image": part[None, None]})[0])  # (1, 4, n)
        score, x, y, side = faces[0][:, faces[0, 0] >= self.CANDIDATE]  # (n,) each
        mine = (x >= own.left - 0.5) & (x < own.left + own.width - 0.5)  # the image's edge, too
        mine &= (y >= own.top - 0.5) & (y < own.top + own.height - 0.5)
        x = (x + corner[0] + 0.5) * back[0] - 0.5
        y = (y + corner[1] + 0.5) * back[1] - 0.5
        return np.stack([score, x, y, side * np.sqrt(back[0] * back[1]), np.full(len(score), level)], axis=1)[mine]

    def _merged(self, rows: np.ndarray, levels: int) -> list[Detection]:
        """One detection for each face, best first, of the answers (score, x, y, side, level) of all levels.

        A face is answered at every level that brings it to the network's sizes; what only looks like one, at fewer. So
        its score is the mean of the best answers of `LEVELS` levels, or of one where only one shows it at such a size.
        The box is the mean of all that agree, weighted by their scores' squares: it is nearer to the face than any.
        """
        rows = rows[np.argsort(-rows[:, 0], kind="stable")].astype(float)
        detections = []
        while len(rows):
            same, inside = _overlaps(rows[0], rows)
            agreeing = rows[same > self.AGREE]
            best = [agreeing[agreeing[:, 4] == level, 0].max() for level in np.unique(agreeing[:, 4])]
            low, high = self.USUAL
            usual = sum(low <= rows[0, 3] / self.STEP**level <= high for level in range(levels))
            count = min(max(usual, 1), self.LEVELS)
            score = sum(sorted(best)[-count:]) / count * (1 if count > 1 else self.ALONE)
            rows = rows[(same <= self.SAME) & ((inside <= self.INSIDE) | (score < self.threshold))]
            if score < self.doubtful:
                continue
            weights = agreeing[:, 0] ** 2 / (agreeing[:, 0] ** 2).sum()
            x, y = weights @ agreeing[:, 1:3]
            side = np.exp(weights @ np.log(agreeing[:, 3]))
            detections.append(Detection(Box.around((float(x), float(y)), float(side)), float(score)))
        return sorted(detections, key=lambda found: -found.score)


def _overlaps(one: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the square (score, x, y, side, ...) with those of all rows: intersection over union, and over the smaller."""
    low = np.maximum(one[1:3] - one[3] / 2, rows[:, 1:3] - rows[:, 3:4] / 2)
    high = np.minimum(one[1:3] + one[3] / 2, rows[:, 1:3] + rows[:, 3:4] / 2)
    common = (high - low).clip(0).prod(axis=1)
    areas = one[3] ** 2, rows[:, 3] ** 2
    return common / (areas[0] + areas[1] - common), common / np.minimum(*areas)
