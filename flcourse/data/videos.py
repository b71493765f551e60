"""Videos of known truth: scikit-image's astronaut (NASA) panned, scaled, turned and blurred; a drawn face that blinks.

Every frame of the astronaut comes with the matrices that made it, from the photograph's pixels to the frame's, so that
what a tracker answers can be held against where a point really is. Nothing is downloaded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from flcourse.points import Box, apply, compose, invert

FPS = 30.0  # frames/s of every video here
SIZE = (640, 480)  # width and height, px: what most webcams give first
ASTRONAUT_FACE = Box.around((225.0, 127.0), 92.0)  # brows to chin, read off the photograph, 512 x 512 px
EYE_DISTANCE = 0.64  # of the astronaut's outer eye corners, in sides of that box
# The head with its hair, in sides of the face's box about its centre: what is cut out where two heads meet.
_HEAD_CENTRE, _HEAD_AXES = (-0.02, -0.13), (0.7, 0.8)


@dataclass(frozen=True)
class Pose:
    """Where an astronaut's face is in a frame."""

    x: float = 0.5  # the face box's centre, in parts of the frame's width
    y: float = 0.5  # and of its height
    side: float = 0.33  # of the face box, in parts of the frame's height
    angle: float = 0.0  # degrees, counter-clockwise as seen
    mirror: bool = False
    blur: float = 0.0  # standard deviation of a Gaussian blur, in sides of the face box


class Frame(NamedTuple):
    """One frame of a video and its truth."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    time: float  # s
    matrices: list[np.ndarray]  # for each face, back to front: (2, 3), from the astronaut's pixels to the frame's


def film(
    poses: Callable[[float], Sequence[Pose]],
    frames: int,
    *,
    size: tuple[int, int] = SIZE,
    noise: float = 0.0,
    seed: int = 0,
) -> Iterator[Frame]:
    """A video in which each of the faces stands where `poses(time)` says, back to front; the same for the same seed.

    `size` is (width, height); `noise` the standard deviation of white noise in grey levels, another for every frame.
    One face: the whole photograph, its edge pixels repeated outside. Several: heads cut out, before a plain wall.
    """
    rng = np.random.default_rng(seed)
    for number in range(frames):
        time = number / FPS
        now = list(poses(time))
        matrices = [pose_matrix(pose, size) for pose in now]
        if len(now) == 1:
            image = _blurred(_warp(_astronaut(), matrices[0], size), now[0], size)
        else:
            image = _wall(size)
            for pose, matrix in zip(now, matrices, strict=True):
                mask = _blurred(_warp(_head_mask(), matrix, size, cv2.BORDER_CONSTANT), pose, size)[..., None] / 255.0
                head = _blurred(_warp(_astronaut(), matrix, size), pose, size)
                image = (image * (1 - mask) + head * mask).round().astype(np.uint8)
        if noise:
            grain = rng.standard_normal(image.shape, np.float32) * np.float32(noise)
            image = (image + grain).round().clip(0, 255).astype(np.uint8)
        yield Frame(image, time, matrices)


def pose_matrix(pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """The (2, 3) matrix from the astronaut's pixels to those of a frame of `size` (width, height)."""
    width, height = size
    factor = pose.side * height / ASTRONAUT_FACE.side
    cos, sin = np.cos(np.deg2rad(pose.angle)) * factor, np.sin(np.deg2rad(pose.angle)) * factor
    to_face = np.array([[1, 0, -ASTRONAUT_FACE.centre[0]], [0, 1, -ASTRONAUT_FACE.centre[1]]])
    if pose.mirror:
        to_face[0] *= -1
    return compose(np.array([[cos, sin, pose.x * width - 0.5], [-sin, cos, pose.y * height - 0.5]]), to_face)


def still(frames: int = 60, **options) -> Iterator[Frame]:
    """A face that does not move, for measuring jitter: give `noise`. `options` as in `film`."""
    return film(lambda time: [Pose()], frames, **options)


def panning(frames: int = 90, cycles: float = 1.0, amplitude: float = 0.5, **options) -> Iterator[Frame]:
    """A face that swings left and right `cycles` times a second by `amplitude` eye distances, for measuring lag."""
    width, height = options.get("size", SIZE)
    swing = amplitude * EYE_DISTANCE * Pose.side * height / width
    return film(lambda time: [Pose(x=0.5 + swing * np.sin(2 * np.pi * cycles * time))], frames, **options)


def moving(frames: int = 300, *, noise: float = 4.0, **options) -> Iterator[Frame]:
    """The standard video: ten seconds in which the face pans, nears, turns, blurs and is noisy, all at once."""

    def poses(time: float) -> list[Pose]:
        def wave(period: float, phase: float = 0.0) -> float:
            return np.sin(2 * np.pi * (time / period + phase))

        x, y = 0.5 + 0.2 * wave(3.1), 0.5 + 0.1 * wave(2.3, 0.2)
        blur = 0.025 * max(0.0, wave(2.9)) ** 2
        return [Pose(x, y, 0.33 * np.exp(0.4 * wave(4.7)), 20 * wave(3.7), blur=blur)]

    return film(poses, frames, noise=noise, **options)


def leaving(frames: int = 120, away: tuple[float, float] = (1.2, 2.2), **options) -> Iterator[Frame]:
    """A face that slides out of the image to the right, is wholly gone from `away[0]` to `away[1]` s, and returns."""
    width, height = options.get("size", SIZE)
    outside = 1.0 + 1.2 * Pose.side * height / width
    travel = 0.7  # s, from the middle to outside

    def poses(time: float) -> list[Pose]:
        gone = np.interp(time, [away[0] - travel, away[0], away[1], away[1] + travel], [0, 1, 1, 0])
        return [Pose(x=0.5 + (outside - 0.5) * gone)]

    return film(poses, frames, **options)


def crossing(frames: int = 120, *, behind: float = 0.26, front: float = 0.36, **options) -> Iterator[Frame]:
    """Two faces that change sides: one, mirrored and `behind` frame heights large, passes behind one `front` large."""
    seconds = frames / FPS

    def poses(time: float) -> list[Pose]:
        across = np.interp(time / seconds, [0.1, 0.9], [0, 1])
        return [Pose(0.2 + 0.6 * across, 0.48, behind, mirror=True), Pose(0.8 - 0.6 * across, 0.5, front)]

    return film(poses, frames, **options)


def astronaut_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) of a frame as the astronaut's pixels, where they do not move; undoes one of `Frame.matrices`."""
    return apply(points, invert(matrix))


@cache
def _astronaut() -> np.ndarray:
    from skimage import data  # takes a second, and who only wants the names need not wait

    return data.astronaut()


@cache
def _head_mask() -> np.ndarray:
    """(512, 512) uint8: 255 on the head, with a soft rim."""
    y, x = np.mgrid[: _astronaut().shape[0], : _astronaut().shape[1]]
    u = ((x - ASTRONAUT_FACE.centre[0]) / ASTRONAUT_FACE.side - _HEAD_CENTRE[0]) / _HEAD_AXES[0]
    v = ((y - ASTRONAUT_FACE.centre[1]) / ASTRONAUT_FACE.side - _HEAD_CENTRE[1]) / _HEAD_AXES[1]
    return (255 * ((1.05 - np.hypot(u, v)) / 0.1).clip(0, 1)).astype(np.uint8)


def _wall(size: tuple[int, int]) -> np.ndarray:
    """A plain wall, lighter above."""
    shade = np.linspace(200, 130, size[1])[:, None, None] * np.array([1.0, 0.98, 0.93])
    return np.repeat(shade.round().astype(np.uint8), size[0], axis=1)


def _warp(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_REPLICATE
) -> np.ndarray:
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)


def _blurred(image: np.ndarray, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    sigma = pose.blur * pose.side * size[1]
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.05 else image


# --- a drawn face that blinks ---

# A blink: the lid falls within a tenth of a second, rests, and rises more slowly (Caffier, Erdmann and Ullsperger,
# 2003, measured 0.2 s in all on alert people).
_LID_TIMES, _LID_CLOSED = (-0.1, -0.03, 0.03, 0.2), (0.0, 1.0, 1.0, 0.0)  # s from its middle; 0: open, 1: closed
_LID_STEPS = 12  # from open to closed: each is drawn once
_TURN, _TURN_STEP = 3.0, 0.5  # degrees that the head turns to each side, and the step in which it is drawn


class BlinkFrame(NamedTuple):
    """One frame of a drawn face that blinks, and its truth."""

    image: np.ndarray  # (size, size, 3) uint8 RGB
    time: float  # s
    points: np.ndarray  # (68, 2) float64, image pixels
    closed: float  # 0: the eyes are as open as this person's are, 1: closed


def blink_times(blinks: int = 20, seed: int = 0) -> np.ndarray:
    """When the face of `blinking_face` blinks: (blinks,) s, the middle of each closure; the gaps are 0.7 to 2.2 s."""
    return 1.2 + np.random.default_rng((seed, blinks)).uniform(0.7, 2.2, blinks).cumsum()


def blinking_face(
    blinks: int = 20, *, person: int = 3, seed: int = 0, size: int = 320, noise: float = 3.0
) -> Iterator[BlinkFrame]:
    """A drawn face that moves a little and blinks at `blink_times(blinks, seed)`; ends 1 s after the last blink.

    `person` is the face's own seed for `draw_face`; `noise` the standard deviation of white noise in grey levels.
    """
    from flcourse.data.drawing.shape import Expression
    from flcourse.data.drawn_faces import draw_face

    @cache
    def drawn(lids: int, turn: int) -> tuple[np.ndarray, np.ndarray]:
        expression = Expression(eyes_closed=lids / _LID_STEPS)
        yaw = turn * _TURN_STEP
        face = draw_face(person, size, expression=expression, yaw=yaw, pitch=0.5 * yaw - 2, roll=0, plain=True)
        return face.image, face.points

    rng = np.random.default_rng((seed, blinks, size))
    middles = blink_times(blinks, seed)
    centre = (size - 1) / 2
    for number in range(round((middles[-1] + 1) * FPS)):
        time = number / FPS
        closed = float(np.interp(time - middles, _LID_TIMES, _LID_CLOSED).max())
        sway = np.sin(2 * np.pi * time / np.array([4.3, 3.1, 5.7, 6.1]))  # turn, shift in x, shift in y, roll
        image, points = drawn(round(closed * _LID_STEPS), round(sway[0] * _TURN / _TURN_STEP))
        matrix = cv2.getRotationMatrix2D((centre, centre), 4 * sway[3], 1 + 0.04 * sway[2])
        matrix[:, 2] += 0.02 * size * sway[1:3]
        image = _warp(image, matrix, (size, size))
        if noise:
            grain = rng.standard_normal(image.shape, np.float32) * np.float32(noise)
            image = (image + grain).round().clip(0, 255).astype(np.uint8)
        yield BlinkFrame(image, time, apply(points, matrix), round(closed * _LID_STEPS) / _LID_STEPS)
