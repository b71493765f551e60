"""What `flcourse demo` plays: a video of two faces with one overlay after the other, and a sheet of all of them."""

import contextlib
import io

import numpy as np

from flcourse.apps.recording import Recording
from flcourse.data.company import RATE, SCENE, SCENES, company
from flcourse.errors import CourseError
from flcourse.face.draw import draw_label
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.live import LiveLoop
from flcourse.face.overlays import OVERLAYS
from flcourse.face.track import FaceTracker
from flcourse.face.video import Video
from flcourse.files import work_folder
from flcourse.images import encode_image

LABEL = 130  # px, the size of face whose label an overlay's name is written like
BEST = 0.55  # of a scene: the face does most in its middle, and what is shown of it comes a little later


def reel(landmarker: FaceLandmarker) -> dict[str, bytes]:
    """Files by the endings of their names: `.mp4`, the video; `.csv`, its points; `_sheet.png`, all overlays.

    Raises `CourseError` where the temporary folder is full.
    """
    names = list(OVERLAYS)[: len(SCENES)]
    chosen = {round((number + BEST) * SCENE * RATE): name for number, name in enumerate(names)}
    tiles: list[np.ndarray] = []
    try:
        with work_folder("flcourse") as folder:
            video, told = Video(company(len(names)), RATE), io.StringIO()
            with contextlib.redirect_stdout(told), FaceTracker(landmarker) as tracker:  # told: where it lay for now
                loop = LiveLoop(tracker, names)
                with Recording(folder / "overlays.mp4", video) as recording:
                    for number, (frame, at) in enumerate(video):
                        name = names[min(int(at / SCENE + 1e-6), len(names) - 1)]
                        if name != loop.name:
                            loop.choose(name)
                        image = loop(frame, at)
                        assert image is not None  # nobody closes the loop
                        recording.write(image, at, loop.faces)
                        if number in chosen:
                            tiles += [frame.copy()] * (not tiles) + [image.copy()]
                            draw_label(tiles[-1], chosen[number], (image.shape[1], 0), LABEL)
            files = {path.suffix: path.read_bytes() for path in recording.paths}
    except OSError as error:
        raise CourseError(f"the demo's video cannot be made: {error.strerror or error}") from error
    return {**files, "_sheet.png": encode_image(_sheet(tiles))}


def _sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """Images in two columns, (H, W, 3)."""
    tiles = tiles + [np.full_like(tiles[0], 255)] * (len(tiles) % 2)
    return np.concatenate([np.concatenate(tiles[row : row + 2], axis=1) for row in range(0, len(tiles), 2)])
