"""Who is painted and in which light: a drawn face's person and lamp, chosen at random, and where everything stands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from flcourse.data.drawing.camera import Camera, rotation_matrix
from flcourse.data.drawing.canvas import Canvas, noise, tinted
from flcourse.data.drawing.shape import Expression

_SKIN = np.array(
    [[1.0, 0.86, 0.78], [0.93, 0.74, 0.63], [0.80, 0.60, 0.46], [0.58, 0.40, 0.29], [0.36, 0.24, 0.18]]
)  # from the palest to the darkest; people lie between two of them
_HAIR = np.array([[0.05, 0.045, 0.04], [0.12, 0.08, 0.06], [0.28, 0.18, 0.11], [0.5, 0.36, 0.2], [0.75, 0.6, 0.4],
                  [0.5, 0.24, 0.12], [0.55, 0.54, 0.53], [0.85, 0.84, 0.82]])  # fmt: skip
_HAIR_PALE, _HAIR_DARK = (3, 3, 2, 1.2, 1, 0.4, 0.3, 0.15), (6, 3, 0.7, 0.1, 0.1, 0.05, 0.4, 0.2)  # how common, by skin
_IRIS = np.array(
    [[0.1, 0.06, 0.04], [0.2, 0.11, 0.06], [0.33, 0.21, 0.1], [0.36, 0.38, 0.22], [0.35, 0.5, 0.65], [0.45, 0.5, 0.53]]
)
_STYLES = ("bald", "short", "full", "long", "hat", "scarf")
_STYLES_MAN, _STYLES_WOMAN = (0.12, 0.45, 0.20, 0.08, 0.13, 0.02), (0.01, 0.12, 0.24, 0.50, 0.07, 0.06)


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """A random index, each as likely as its weight: a tenth of the time of `rng.choice`."""
    mark = rng.random() * sum(weights)
    for index, weight in enumerate(weights):
        mark -= weight
        if mark < 0:
            return index
    return max(index for index, weight in enumerate(weights) if weight)


def colour(*values: np.ndarray | float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """A colour (3,) near the product of `values`, each of its channels off by a deviation of `spread`."""
    product = rng.normal(0, spread, 3) + math.prod(values)
    return np.minimum(np.maximum(product, 0.02), 0.98)


@dataclass(frozen=True, eq=False)
class Person:
    """How one person tta, besides the shape of the face. Colours are RGB, 0 to 1."""

    skin: np.ndarray
    darkness: float  # of the skin: 0 the palest, 1 the darkest
    man: bool
    age: float  # 0: a smooth skin, 1: a very old one
    hair: np.ndarray
    style: str  # one of `_STYLES`
    hairline: float  # mm behind the average one
    volume: float  # mm that the hair stands off the head
    contrast: float  # of the hair's strands
    curl: float  # 0: straight, 1: all curls
    fringe: bool
    beard: float  # how dense, 0 to 1
    moustache: float
    makeup: float  # 0 to 1
    iris: np.ndarray
    cloth: np.ndarray
    ears: np.ndarray  # (3,): mm that they stand out, their size as a factor, mm that they lie low

    @classmethod
    def random(cls, rng: np.random.Generator, plain: bool) -> "Person":
        """Choose a person; `plain` people wear nothing on the head and no fringe."""
        tone = float(rng.beta(0.9, 1.4)) * (len(_SKIN) - 1)
        k = min(int(tone), len(_SKIN) - 2)
        skin = (_SKIN[k] * (k + 1 - tone) + _SKIN[k + 1] * (tone - k)) * rng.normal(1, (0.03, 0.03, 0.05))
        darkness, man, age = tone / (len(_SKIN) - 1), chance(rng, 0.55), float(rng.random() ** 1.5)
        common = _HAIR_PALE if darkness < 0.55 else _HAIR_DARK
        common = (*common[:-2], *(weight + 3 * age * (age > 0.6) for weight in common[-2:]))
        hair = colour(_HAIR[pick(rng, common)], rng.normal(1, 0.15), spread=0.01, rng=rng)
        iris = _IRIS[pick(rng, (0.3, 0.25, 0.15, 0.1, 0.12, 0.08) if darkness < 0.4 else (0.6, 0.3, 0.1))]
        styles = _STYLES_MAN if man else _STYLES_WOMAN
        style = _STYLES[pick(rng, styles[:4] if plain else styles)]
        lowest, more = {"bald": (0, 0), "short": (2, 7), "full": (6, 16), "long": (5, 12)}.get(style, (6, 6))
        beard = (0, 0.12, 0.35, 0.8)[pick(rng, (0.5, 0.22, 0.14, 0.14))] * man
        return cls(
            skin=skin,
            darkness=darkness,
            man=man,
            age=age,
            hair=hair,
            style=style,
            hairline=float(rng.normal(-3, 6) + 14 * rng.random() * (man and age > 0.4)),
            volume=float(lowest + more * rng.random()),
            contrast=float(rng.uniform(0.1, 0.5)),
            curl=float(rng.random() ** 2) * chance(rng, 0.5),
            fringe=chance(rng, 0.42) and style in ("short", "full", "long") and not plain,
            beard=beard,
            moustache=max(beard * float(rng.random()) * 1.3, 0.8 * chance(rng, 0.1)) * man,
            makeup=float(rng.random()) * (not man),
            iris=iris,
            cloth=colour(rng.random() ** 1.3, spread=0.15, rng=rng),
            ears=rng.normal((-1, 1, 0), (4, 0.12, 3)),
        )


@dataclass(frozen=True, eq=False)
class Light:
    """A lamp or the sun, an overcast sky, and something bright to one side."""

    towards: np.ndarray  # (3,) unit vector to the lamp, camera frame
    lamp: np.ndarray  # (3,) its colour and strength
    sky: np.ndarray  # (3,)
    hard: float  # 0: all light comes from the sky, 1: from the lamp
    wrap: float  # how far the lamp's light reaches around
    side: np.ndarray  # (3,) from where more of the sky's light comes
    side_strength: float
    gloss: float  # of the skin

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Light":
        azimuth, elevation = np.deg2rad(rng.normal(0, 45)), np.deg2rad(np.clip(rng.normal(28, 25), -35, 80))
        cos = np.cos(elevation)
        hard, warm, cool = float(rng.beta(1.5, 1.8)), rng.normal(0, 0.06), rng.normal(0, 0.05)
        side = np.add(rng.normal(0, 1, 3), (0, -0.2, 0))
        return cls(
            towards=np.array([np.sin(azimuth) * cos, -np.sin(elevation), np.cos(azimuth) * cos]),
            lamp=np.array([1 + warm, 1, 1 - 1.3 * warm]) * (0.25 + 0.85 * hard),
            sky=np.array([1 - cool, 1, 1 + 1.2 * cool]) * (0.75 - 0.55 * hard),
            hard=hard,
            wrap=float(rng.uniform(0, 0.5)),
            side=side / np.linalg.norm(side),
            side_strength=0.35 * float(rng.random()) ** 2,
            gloss=0.3 * float(rng.random()) ** 2,
        )

    def falls(self, normal: np.ndarray) -> np.ndarray:
        """How much of the lamp's and of the sky's light (N, 2) falls on surfaces of unit normals (N, 3)."""
        lamp = np.maximum((normal @ self.towards + self.wrap) / (1 + self.wrap), 0)
        side = self.side_strength * np.maximum(normal @ self.side, 0)
        return np.stack([lamp, 0.75 - 0.25 * normal[:, 1] + side], axis=1)

    def on(self, normal: np.ndarray | tuple[float, float, float]) -> np.ndarray:
        """The light's colour (3,) on a surface of one unit normal."""
        return (self.falls(np.array([normal])) @ np.stack([self.lamp, self.sky]))[0]

    @property
    def soft(self) -> np.ndarray:
        """The light's colour (3,) on what is painted without a shape of its own: hair, cloth."""
        return self.sky + 0.55 * self.lamp


@dataclass(eq=False)
class Scene:
    """A face to be painted: its points in the head and in the image, person, light, and the canvas."""

    canvas: Canvas
    person: Person
    light: Light
    expression: Expression
    camera: Camera
    pose: tuple[float, float, float]  # yaw, pitch, roll; degrees
    points: np.ndarray  # (68, 3) head frame, mm
    seen: np.ndarray  # (68, 2) image pixels
    vertices: np.ndarray  # (V, 3) head frame
    plain: bool
    cover: np.ndarray = field(init=False)  # (H, W): how much of each pixel the head covers; set by `body.head`
    depth: tuple[tuple[slice, slice], np.ndarray] | None = None  # where, and how near the skin is; of turned heads

    def __post_init__(self) -> None:
        self.mm = self.camera.scale  # pixels for a millimetre at the eyes
        self.turned = abs(self.pose[0]) > 15  # so far that the nose may hide something
        roll = np.deg2rad(self.pose[2])
        self.tilt = -roll  # of what lies across the face, radians, as `canvas.ellipse` takes it
        self.down = np.array([np.sin(roll), np.cos(roll)])  # along the face, in the image
        # The shoulders follow the head's turns in part.
        self.body = replace(self.camera, rotation=rotation_matrix(*(0.45 * turn for turn in self.pose)))

    def at(self, *points: np.ndarray | tuple[float, float, float]) -> np.ndarray:
        """Places of the head frame (n, 3) in image pixels (n, 2)."""
        return self.camera.project(np.array(points, float))

    def facing(self, right: np.ndarray, left: np.ndarray | None = None) -> np.ndarray:
        """A mask of the image (H, W) that keeps what the nose does not hide, for a part at these points (n, 3).

        Of a pair of parts the first counts in the image's left, up to the bridge of the nose, the second beyond.
        """
        if self.depth is None:
            return self.cover
        where, near = self.depth
        mask = np.zeros_like(self.cover)
        nearest = np.full(near.shape[1], self.camera.turn(right)[:, 2].max() + 9, np.float32)
        if left is not None:
            nearest[max(int(self.seen[27, 0]) - where[1].start, 0) :] = self.camera.turn(left)[:, 2].max() + 9
        mask[where] = self.cover[where] * np.clip((nearest - near) * np.float32(1 / 3), 0, 1)
        return mask

    def fill_strands(self, shape: np.ndarray, tint: np.ndarray, rng: np.random.Generator) -> None:
        """Paint a polygon of the image with hair, or a cloth with folds, that hangs down."""
        covered = self.canvas.cover(shape, 0.8)
        if covered is None:
            return
        where, mask = covered
        height, width = mask.shape
        streaks = cv2.resize(noise(rng, (max(height // 6, 2), width), 1.0, 0), (width, height))
        if self.person.curl:
            streaks += self.person.curl * (1.6 * noise(rng, mask.shape, rng.uniform(1, 3), 0) - streaks)
        locks = rng.uniform(0, 0.3) * noise(rng, mask.shape, 4.0, 3)  # they catch the light here and not there
        relief = np.clip(1 + self.person.contrast * streaks + locks, 0.2, 3)
        self.canvas.blend(where, mask, tinted(relief, tint * self.light.soft), lit=False)
