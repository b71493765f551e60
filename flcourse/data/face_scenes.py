"""Scenes with faces of all sizes, composed anew for every item: what the face detector is trained on.

A scene is a grey square. Its background is a photograph without faces, a mosaic of small ones, what surrounds a face,
or something drawn; on it lie one photograph with a face, a crowd cut out of many, or no face at all, and decoys: things
that are as large as faces and are none. Faces have any size from 9 px to larger than the scene and are turned up to 45
degrees; some are partly covered. At the end the whole is darkened, blurred, shaken or compressed as cameras do.
Everything is drawn from (seed, epoch, index).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator

from flcourse.data.collage import CIRCLE, SQUARE, fill, moved, paste, rectangle, scale_of, similarity_about, warp_grey
from flcourse.data.photos import GREY, Photo
from flcourse.points import apply

ROLL = 45.0  # degrees, the most that a face is turned
UNCOVERED = 0.75  # the least part of a face's box inside what was cut out of its photograph; less is not surely a face


@dataclass(frozen=True, eq=False)
class Sources:
    """What scenes are composed of."""

    photos: Sequence[Photo]
    backgrounds: Sequence[GREY] = ()  # large photographs without a face
    small: np.ndarray = field(default_factory=lambda: np.empty((0, 32, 32), np.uint8))  # (N, 32, 32) without faces
    walls: Sequence[np.ndarray] = ()  # drawn ones, (H, W) uint8

    def photo(self, rng: Generator) -> Photo:
        """One of the photos."""
        return self.photos[int(rng.integers(len(self.photos)))]


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class SceneComposer:
    """Composes scenes of `size` x `size` px from `sources`."""

    def __init__(self, sources: Sources, size: int) -> None:
        self.sources, self.size = sources, size

    def __call__(self, rng: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A scene (size, size) uint8, its faces (N, 3) as x, y, side, and what is neither face nor none (M, 3)."""
        scene, faces, doubtful = self._background(rng), [], []
        if rng.random() < 0.25:
            self._decoys(rng, scene, int(rng.integers(1, 5)))
        kind = rng.random()
        if kind < 0.42:
            self._portrait(rng, scene, faces, doubtful)
        elif kind < 0.75:
            self._crowd(rng, scene, faces, doubtful)
        else:
            self._decoys(rng, scene, int(rng.integers(0, 10)))
        for face in faces:
            if rng.random() < 0.18 and face[2] > 14:  # px; a smaller one would be gone
                self._cover(rng, scene, face)
        return _photographed(rng, scene), np.reshape(faces, (-1, 3)), np.reshape(doubtful, (-1, 3))

    def _background(self, rng: Generator) -> np.ndarray:
        """Something without a face, (size, size) uint8, writable."""
        sources = self.sources
        kinds = {
            self._enlarged: 0.2 * (len(sources.small) > 0),
            self._mosaic: 0.15 * (len(sources.small) > 0),
            self._view: 0.2 * (len(sources.backgrounds) > 0),
            self._surroundings: 0.3,
            self._wall: 0.15 * (len(sources.walls) > 0),
            self._written: 0.07,
        }
        chances = np.cumsum(list(kinds.values()))
        return list(kinds)[int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))](rng)

    def _enlarged(self, rng: Generator) -> np.ndarray:
        return cv2.resize(self._small(rng), (self.size, self.size), interpolation=cv2.INTER_CUBIC)

    def _small(self, rng: Generator) -> np.ndarray:
        return self.sources.small[int(rng.integers(len(self.sources.small)))]

    def _mosaic(self, rng: Generator) -> np.ndarray:
        """Small photographs beside each other, cut anywhere."""
        side = int(rng.choice([20, 32, 40, 54, 80]))
        how = cv2.INTER_AREA if side < 32 else cv2.INTER_LINEAR
        count = -(-self.size // side)
        rows = [
            np.concatenate(
                [cv2.resize(self._small(rng), (side, side), interpolation=how) for _ in range(count)], axis=1
            )
            for _ in range(count)
        ]
        whole = np.concatenate(rows)
        top, left = rng.integers(0, len(whole) - self.size + 1, 2)
        return whole[top : top + self.size, left : left + self.size].copy()

    def _view(self, rng: Generator) -> np.ndarray:
        """A part of a large photograph without a face."""
        grey = self.sources.backgrounds[int(rng.integers(len(self.sources.backgrounds)))]
        height, width = grey[0].shape
        scale = _log_uniform(rng, max(0.15, 0.8 * self.size / min(height, width)), 2.0)
        at = rng.uniform(0, (width, height))
        return self._warped(grey, similarity_about(at, self._middle, scale, rng.normal(0, 15), rng.random() < 0.5))

    @property
    def _middle(self) -> tuple[float, float]:
        return self.size / 2, self.size / 2

    def _warped(self, grey: GREY, matrix: np.ndarray) -> np.ndarray:
        return warp_grey(grey, matrix, self.size, self.size)

    def _surroundings(self, rng: Generator) -> np.ndarray:
        """A square beside the faces of a photo, enlarged; where no place for one is found, something written."""
        photo = self.sources.photo(rng)
        height, width = photo.grey[0].shape
        every = np.concatenate([photo.faces, photo.doubtful])
        for _ in range(4):
            side = rng.uniform(0.15, 0.5) * min(height, width)
            x, y = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
            apart = np.maximum(abs(every[:, 0] - x), abs(every[:, 1] - y))
            if (apart > (side + 0.8 * every[:, 2]) / 2).all():
                turn = float(rng.choice([0, 90, 180, 270])) if rng.random() < 0.3 else 0.0
                scale = self.size / side
                return self._warped(photo.grey, similarity_about((x, y), self._middle, scale, turn, rng.random() < 0.5))
        return self._written(rng)

    def _wall(self, rng: Generator) -> np.ndarray:
        wall = self.sources.walls[int(rng.integers(len(self.sources.walls)))]
        at = rng.uniform(0.25, 0.75, 2) * wall.shape[::-1]
        matrix = similarity_about(at, self._middle, _log_uniform(rng, 0.7, 1.6), rng.uniform(-180, 180))
        return cv2.convertScaleAbs(
            self._warped((wall,), matrix), alpha=float(np.exp(rng.normal(0, 0.3))), beta=float(rng.uniform(-20, 20))
        )

    def _written(self, rng: Generator) -> np.ndarray:
        """A plain surface in uneven light, often with writing on it."""
        slope = np.linspace(-1, 1, self.size)
        light = rng.uniform(0, 255) + slope[:, None] * rng.normal(0, 40) + slope * rng.normal(0, 40)
        surface = light.clip(0, 255).astype(np.uint8)
        for _ in range(int(rng.integers(1, 12)) if rng.random() < 0.6 else 0):
            text = "".join(chr(code) for code in rng.integers(33, 126, int(rng.integers(2, 16))))
            at = int(rng.integers(-30, self.size)), int(rng.integers(0, self.size))
            font, height = int(rng.integers(0, 8)), _log_uniform(rng, 0.25, 3)
            grey, width = float(rng.uniform(0, 255)), int(rng.integers(1, 4))
            cv2.putText(surface, text, at, font, height, grey, width, cv2.LINE_AA)
        return surface

    def _decoys(self, rng: Generator, scene: np.ndarray, count: int) -> None:
        """Lay things on the scene that are as large as faces: small photographs, parts of faces, textures."""
        for _ in range(count):
            side = _log_uniform(rng, 12, 110)
            kind = rng.random()
            if kind < 0.6 and len(self.sources.small):
                grey: GREY = (self._small(rng),)
                source, scale = (15.5, 15.5), side / 32
            elif kind < 0.8:  # an eye, a mouth, an ear, as large as a face
                photo = self.sources.photo(rng)
                x, y, face = photo.faces[0]
                turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6) * face
                grey, source = photo.grey, (x + away * np.cos(turn), y + away * np.sin(turn))
                scale = side / (rng.uniform(0.2, 0.4) * face)
            elif kind < 0.92 and len(self.sources.backgrounds):
                grey = self.sources.backgrounds[int(rng.integers(len(self.sources.backgrounds)))]
                source, scale = rng.uniform(0, grey[0].shape[::-1]), _log_uniform(rng, 0.2, 1.5)
            elif len(self.sources.walls):
                grey = (self.sources.walls[int(rng.integers(len(self.sources.walls)))],)
                source, scale = rng.uniform(0.25, 0.75, 2) * grey[0].shape[::-1], _log_uniform(rng, 0.3, 1)
            else:
                continue
            at = rng.uniform(0, self.size, 2)
            matrix = similarity_about(source, at, scale, rng.normal(0, 15), rng.random() < 0.5)
            shape = CIRCLE * rng.uniform(0.35, 0.5) if rng.random() < 0.6 else SQUARE / 2
            outline = np.asarray(source) + shape * side @ np.linalg.inv(matrix[:, :2]).T
            paste(scene, grey, matrix, outline, float(rng.choice([0, 0, 0.05])) * side)

    def _portrait(self, rng: Generator, scene: np.ndarray, faces: list, doubtful: list) -> None:
        """Lay one photograph with a face on the scene; one in seven is too large to be answered at this scale."""
        large = rng.random() >= 0.85
        side = _log_uniform(rng, 80, 400) if large else _log_uniform(rng, 10, 80)
        beyond = 0.3 * side if large else min(0.3 * side, 40)  # how far outside the scene its centre may be
        at = rng.uniform(-beyond, self.size + beyond, 2)
        edge = ("photo", "rectangle", "head")[int(rng.choice(3, p=(0.6, 0.25, 0.15)))]
        self._add(rng, scene, side, at, edge, faces, doubtful)

    def _crowd(self, rng: Generator, scene: np.ndarray, faces: list, doubtful: list) -> None:
        """Lay 3 to 15 heads of about one size on the scene, small ones first, so that near ones hide far ones."""
        usual = _log_uniform(rng, 9, 50)
        places: list[np.ndarray] = []
        for _ in range(int(rng.integers(3, 16))):
            side = max(8.0, usual * float(np.exp(rng.normal(0, 0.25))))
            at = rng.uniform(-0.2 * side, self.size + 0.2 * side, 2)
            if all(np.hypot(*(at - place[:2])) >= (side + place[2]) / 2 for place in places):
                places.append(np.array([*at, side]))
        for x, y, side in sorted(places, key=lambda place: place[2]):
            edge = ("photo", "rectangle", "head")[int(rng.choice(3, p=(0.05, 0.4, 0.55)))]
            new: list[np.ndarray] = []
            self._add(rng, scene, side, (x, y), edge, new, doubtful)
            for face in new[:1]:  # what it lies upon may no longer be seen
                hidden = [f for f in faces if np.hypot(*(f[:2] - face[:2])) < 0.3 * (f[2] + face[2])]
                doubtful += hidden
                faces[:] = [f for f in faces if not any(f is other for other in hidden)]
            faces += new

    def _add(
        self,
        rng: Generator,
        scene: np.ndarray,
        side: float,
        at: Sequence[float] | np.ndarray,
        edge: str,
        faces: list,
        doubtful: list,
    ) -> None:
        """Lay a photo on the scene so that its first face is at `at`, and note all faces that come with it."""
        photo = self.sources.photo(rng)
        x, y, own = photo.faces[0]
        centre = np.array([x, y])
        roll = float(rng.normal(0, 12)) if rng.random() < 0.6 else float(rng.uniform(-ROLL, ROLL))
        matrix = similarity_about((x, y), at, side / own, roll, rng.random() < 0.5)
        height, width = photo.grey[0].shape
        low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
        feather = 0.0
        if edge == "rectangle":
            reach = rng.uniform(0.65, 1.3, 4) * own
            low, high = np.maximum(low, centre - reach[:2]), np.minimum(high, centre + reach[2:])
            feather = side * float(rng.choice([0, 0.03, 0.08]))
        outline = rectangle(*low, *high)
        if edge == "head":
            radii = rng.uniform(0.62, 0.95) * own, rng.uniform(0.8, 1.15) * own
            outline = ((x, y - 0.1 * own) + CIRCLE * radii).clip(low, high)
            low, high = outline.min(axis=0), outline.max(axis=0)
            feather = side * float(rng.choice([0, 0.04, 0.1]))
        paste(scene, photo.grey, matrix, outline, min(feather, 8.0))
        for is_face, rows in ((True, photo.faces), (False, photo.doubtful)):
            for row in rows:
                corners = np.minimum(high, row[:2] + row[2] / 2), np.maximum(low, row[:2] - row[2] / 2)
                part = np.prod(np.maximum(corners[0] - corners[1], 0)) / row[2] ** 2
                if part > 0.05:
                    (faces if is_face and part > UNCOVERED else doubtful).append(moved(row, matrix))

    def _cover(self, rng: Generator, scene: np.ndarray, face: np.ndarray) -> None:
        """Lay something over a part of a face: a board, a scarf or mask, dark glasses, or one half."""
        x, y, side = face
        kind = rng.random()
        if kind < 0.4:
            turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.75) * side
            shape = CIRCLE if rng.random() < 0.5 else SQUARE
            tilt = similarity_about((0, 0), (x + away * np.cos(turn), y + away * np.sin(turn)), 1, rng.uniform(0, 180))
            outline = apply(shape * rng.uniform(0.2, 0.55, 2) * side, tilt)
        elif kind < 0.7:
            top, bottom = y + rng.uniform(-0.02, 0.3) * side, y + rng.uniform(0.55, 0.8) * side
            outline = rectangle(x - 0.6 * side, top, x + 0.6 * side, bottom)
        elif kind < 0.85:
            eyes = y - rng.uniform(0.1, 0.25) * side
            outline = rectangle(x - 0.48 * side, eyes - 0.1 * side, x + 0.48 * side, eyes + 0.12 * side)
        else:
            edges = np.array([rng.uniform(-0.05, 0.3), 0.8]) * side * rng.choice([-1, 1])
            outline = rectangle(x + edges.min(), y - 0.8 * side, x + edges.max(), y + 0.8 * side)
        if rng.random() < 0.4 and len(self.sources.small):
            low, high = outline.min(axis=0), outline.max(axis=0)
            matrix = similarity_about((15.5, 15.5), (low + high) / 2, 1.1 * float((high - low).max()) / 32)
            inner = (outline - matrix[:, 2]) / scale_of(matrix)
            paste(scene, (self._small(rng),), matrix, inner, float(rng.choice([0, 0.02])) * side)
        else:
            fill(scene, outline, rng.uniform(0, 255))


def _photographed(rng: Generator, scene: np.ndarray) -> np.ndarray:
    """What cameras do: exposure, down to a tenth of the light; blur, also of motion; sharpening; noise; compression."""
    u = rng.random(7)
    curve = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.3))
    if u[0] < 0.15:
        curve *= rng.uniform(0.1, 0.6)
    elif u[0] < 0.6:
        curve = curve * rng.uniform(0.6, 1) + rng.uniform(0, 0.15)
    elif u[0] < 0.7:
        curve = 1.15 * curve + rng.uniform(0, 0.2)
    scene = cv2.LUT(scene, (255 * curve).clip(0, 255).astype(np.uint8))
    if u[1] < 0.25:
        scene = cv2.GaussianBlur(scene, (0, 0), 0.3 + u[2] ** 2)
    elif u[1] < 0.32:
        length = int(rng.integers(2, 6))
        scene = cv2.blur(scene, (length, 1) if u[2] < 0.6 else (1, length))
    elif u[1] < 0.45:
        scene = cv2.addWeighted(scene, 1.6, cv2.GaussianBlur(scene, (0, 0), 1.0), -0.6, 0)
    if u[3] < 0.35:
        noise = rng.standard_normal(scene.shape, np.float32) * np.float32(1 + 14 * u[4] ** 2)
        scene = cv2.add(scene, noise, dtype=cv2.CV_8U)
    if u[5] < 0.25:
        data = cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, int(20 + 70 * u[6])])[1]
        scene = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    return scene
