"""The demo's video: scikit-image's astronaut (NASA) sways beside a drawn face that turns, blinks, smiles and speaks.

Where scikit-image is missing, a second drawn face takes the astronaut's place. Nothing is downloaded.
"""

import importlib.util
from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np

from flcourse.data.drawing.shape import Expression
from flcourse.data.drawn_faces import draw_face
from flcourse.data.videos import Pose, film

RATE = 15.0  # frames/s
SCENE = 1.2  # s of each of the scenes below
SIDE = 320  # px: the video is two squares of it, side by side
PEOPLE = 3, 11  # the drawn faces' seeds
# What the drawn face does in each scene, at its height: turns are degrees of yaw; the rest are fields of `Expression`.
SCENES: tuple[dict[str, float], ...] = (
    {"yaw": 18},
    {"eyes_closed": 1},
    {"smile": 1, "lips_apart": 0.6},
    {"yaw": -24},
    {"brow_raise": 0.8, "eyes_closed": -0.3},
    {"mouth_open": 0.9},
    {"yaw": 12},
)
_STEPS = 4  # from rest to height; each is drawn once, as drawing a face takes longer than finding it


def company(scenes: int = len(SCENES)) -> Iterator[np.ndarray]:
    """Frames of the first scenes, `RATE` a second: (320, 640, 3) uint8 RGB; always the same."""
    frames = round(scenes * SCENE * RATE)
    others = _astronaut(frames) if importlib.util.find_spec("skimage") else _swaying(PEOPLE[1], frames)
    for pair in zip(others, _swaying(PEOPLE[0], frames), strict=True):
        yield np.concatenate(pair, axis=1)


def _astronaut(frames: int) -> Iterator[np.ndarray]:
    def poses(time: float) -> list[Pose]:  # of `film`, whose clock runs at its own rate
        turn = 2 * np.pi * time / (frames / 30)
        return [Pose(0.5 + 0.06 * np.sin(turn), 0.5, 0.45 + 0.03 * np.cos(2 * turn), 12 * np.sin(2 * turn))]

    return (frame.image for frame in film(poses, frames, size=(SIDE, SIDE)))


def _swaying(person: int, frames: int) -> Iterator[np.ndarray]:
    @cache
    def drawn(scene: int, step: int) -> np.ndarray:
        told = {name: value * step / _STEPS for name, value in SCENES[scene].items()} if step else {}
        yaw = told.pop("yaw", 0.0)
        return draw_face(person, SIDE, expression=Expression(**told), yaw=yaw, pitch=-2, roll=0, plain=True).image

    for number in range(frames):
        scene, part = divmod(number / RATE / SCENE, 1)
        step = round(_STEPS * np.sin(np.pi * part))
        image = drawn(int(scene) if step else 0, step)  # at rest all scenes are alike
        turn = 2 * np.pi * number / frames
        matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 5 * np.sin(3 * turn), 0.92)
        matrix[0, 2] += 0.03 * SIDE * np.sin(2 * turn)
        yield cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
