"""What `flcourse demo` plays: a video of two faces with one overlay after the other, and a sheet of all of them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from flcourse.apps.recording import Recording
from flcourse.data.company import RATE, SCENE, SCENES, company
from flcourse.errors import CourseError
from flcourse.face.draw import draw_label
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.live import LiveLoop
from flcourse.face.overlays import OVERLAYS
from flcourse.face.track import FaceTracker, TrackedFace
from flcourse.face.video import Video
from flcourse.files import work_folder
from flcourse.images import encode_image

LABEL = 130  # px, the size of face whose label an overlay's name is written like
BEST = 0.55  # of a scene: the face does most in its middle, and what is shown of it comes a little later
NAMES = tuple(OVERLAYS)[: len(SCENES)]  # the overlay of each scene


class Shown(NamedTuple):
    """One frame of the video."""

    scene: int
    part: float  # of the scene that is over, 0 to 1
    time: float  # s
    frame: np.ndarray  # (320, 640, 3) uint8 RGB
    image: np.ndarray  # the same with the scene's overlay
    faces: list[TrackedFace]


def play(landmarker: FaceLandmarker) -> Iterator[Shown]:
    """The frames of `data.company`, with another of the overlays in each scene."""
    with FaceTracker(landmarker) as tracker:
        loop = LiveLoop(tracker, NAMES)
        for number, frame in enumerate(company(len(NAMES))):
            scene, part = divmod((number + 0.5) / RATE / SCENE, 1)
            if loop.name != NAMES[int(scene)]:
                loop.choose(NAMES[int(scene)])
            image = loop(frame, number / RATE)
            assert image is not None  # nobody closes the loop
            yield Shown(int(scene), part, number / RATE, frame, image, loop.faces)


def reel(landmarker: FaceLandmarker) -> dict[str, bytes]:
    """Files by the endings of their names: `.mp4`, the video; `.csv`, its points; `_sheet.png`, all overlays.

    Raises `CourseError` where the temporary folder is full.
    """
    tiles: list[np.ndarray] = []
    try:
        with work_folder("flcourse") as folder:
            with Recording(folder / "overlays.mp4", Video([], RATE)) as recording:
                for shown in play(landmarker):
                    recording.write(shown.image, shown.time, shown.faces)
                    if len(tiles) <= shown.scene + (shown.part >= BEST):
                        tiles.append(shown.image.copy() if tiles else shown.frame.copy())
                        if len(tiles) > 1:
                            draw_label(tiles[-1], NAMES[shown.scene], (shown.image.shape[1], 0), LABEL)
            files = {path.suffix: path.read_bytes() for path in recording.paths}
    except OSError as error:
        raise CourseError(f"the demo's video cannot be made: {error.strerror or error}") from error
    return {**files, "_sheet.png": encode_image(_sheet(tiles))}


def _sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """Images in two columns, (H, W, 3)."""
    tiles = tiles + [np.full_like(tiles[0], 255)] * (len(tiles) % 2)
    return np.concatenate([np.concatenate(tiles[row : row + 2], axis=1) for row in range(0, len(tiles), 2)])
