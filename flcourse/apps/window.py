"""The live window of `flcourse webcam`, and the loop that feeds it and a recording. Never imports torch."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from flcourse.apps.recording import Recording
from flcourse.apps.terminal import say
from flcourse.apps.webcam import HELP
from flcourse.errors import CourseError
from flcourse.face.draw import draw_label
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.live import LiveLoop
from flcourse.face.overlays import open_overlay
from flcourse.face.track import FaceTracker
from flcourse.face.video import Video
from flcourse.images import write_image

TITLE = "flcourse webcam"
NO_WINDOW = "without a window: --no-window --out VIDEO.mp4"
QUIT_KEYS = (ord("q"), ord("Q"), 27)  # 27: Esc
LABEL_SIZE = 160  # px, the size of face whose label the frames/s are written like


def webcam(
    landmarker: FaceLandmarker,
    source: int | str | os.PathLike | Iterable[np.ndarray],
    *,
    window: bool = True,
    out: Path | None = None,
    overlay: str = "points",
    smooth: bool = True,
    mirror: bool = False,
) -> None:
    """Follow the faces of `source`, a camera's number, a video file or what else `Video` takes; see its `--help`.

    Raises `CourseError` where the source, the screen, the overlay or `out` cannot be had; what was written before a
    camera was unplugged or Ctrl-C came is kept.
    """
    if not (window or out):
        raise CourseError("--no-window without --out: nothing would be seen or written; give --out VIDEO.mp4")
    open_overlay(overlay)  # raises for a name that is none, before a camera comes on
    if window:
        check_screen()
    with ExitStack() as stack:
        video = stack.enter_context(Video(source))
        tracker = stack.enter_context(FaceTracker(landmarker, smooth=smooth, live=video.live))
        recording = Recording(out, video) if out else None
        if recording:
            stack.callback(_tell, recording)  # when it has ended, whatever ended it
            stack.enter_context(recording)
        loop = LiveLoop(tracker, mirror=mirror)
        loop.choose(overlay)
        screen = stack.enter_context(Window(video, loop)) if window else None
        if screen:
            say(f"{video.name}: {HELP}")
        elif video.live:
            say(f"{video.name}: Ctrl-C ends the recording")
        hidden = True if screen else None  # None: hidden where stderr is no terminal
        frames = stack.enter_context(tqdm(video, video.name, video.count, unit="frame", disable=hidden))
        rate = Rate()
        try:
            for frame, at in frames:
                image = loop(frame, at)
                if image is None:  # closed
                    break
                if recording:
                    recording.write(image, at, loop.faces)
                if screen and not screen.show(image, at, rate()):
                    break
        except KeyboardInterrupt:
            if not video.live:
                raise  # the file was cut short; a camera's recording has no other end


def _tell(recording: Recording) -> None:
    if recording.written:
        say(f"wrote {recording.frames} frames to {recording.paths[0]}, points to {recording.paths[1]}")


class Rate:
    """Counts frames a second, over the last second or so."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=30)

    def __call__(self) -> float:
        """Tell of a frame; returns frames/s, 0 at the first."""
        self._times.append(time.perf_counter())
        seconds = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / seconds if seconds > 0 else 0.0


class Window:
    """The window, its keys, and the pace at which a file is shown."""

    def __init__(self, video: Video, loop: LiveLoop) -> None:
        self.video, self.loop, self.paused, self.help = video, loop, False, False
        self._start: float | None = None  # by time.perf_counter(), when the frame of time 0 was due
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._size: tuple[int, ...] | None = None

    def show(self, image: np.ndarray, at: float, rate: float) -> bool:
        """Show an annotated RGB frame of `at` seconds; False once the user has quit. Blocks while paused."""
        if self._size != image.shape:  # at the beginning, and where a stream goes on in another size
            self._size = image.shape
            cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
        if self.help:
            self._draw_help(image)
        draw_label(image, f"{rate:.0f} frames/s", (image.shape[1], 0), LABEL_SIZE)
        cv2.imshow(TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        now = time.perf_counter()
        if self._start is None:
            self._start = now - at
        wait = 0.0 if self.video.live else self._start + at - now  # s; a file is shown at its own rate, or slower
        if wait < 0:
            self._start -= wait  # late: the next frames are not hurried for it
        going = self._keys(max(1, round(1000 * wait)), image)
        while going and self.paused:
            going = self._keys(50, image)
            self._start = time.perf_counter() - at
        return going

    def _draw_help(self, image: np.ndarray) -> None:
        """Write what the keys do, a line each, from the upper left corner on."""
        overlays = [f"{k}  {name}" + "  (now)" * (name == self.loop.name) for k, name in self._numbered.items()]
        lines = [
            "q  quit",
            "s  save an image",
            "space  pause",
            "m  mirror",
            "o  next overlay",
            *overlays,
            "h  hide this",
        ]
        step = image.shape[0] / (len(lines) + 1)
        for number, line in enumerate(lines, start=1):
            draw_label(image, line, (0, step * number), min(LABEL_SIZE, 4 * step))

    @property
    def _numbered(self) -> dict[str, str]:
        return {str(number): name for number, name in enumerate(self.loop.overlays, start=1)}

    def _keys(self, milliseconds: int, image: np.ndarray) -> bool:
        """Wait for a key and obey it; False when it, or the window's own button, quits."""
        key = cv2.waitKey(milliseconds)
        if key != -1:
            key &= 0xFF  # some systems add the state of Shift and the like
        if key == ord(" "):
            self.paused = not self.paused
        elif key in (ord("m"), ord("M")):
            self.loop.mirror = not self.loop.mirror
        elif key in (ord("o"), ord("O")):
            names = self.loop.overlays
            self.loop.choose(names[(names.index(self.loop.name) + 1) % len(names)])
        elif key in (ord("h"), ord("H")):
            self.help = not self.help
        elif (name := self._numbered.get(chr(max(key, 0)))) is not None:
            self.loop.choose(name)
        elif key in (ord("s"), ord("S")):
            path = Path(f"flcourse_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}.png")
            write_image(path, image)
            say(f"saved {path.resolve()}")
        try:
            return key not in QUIT_KEYS and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # with Qt, once the window was closed with the mouse
            return False

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(cv2.error):  # closed with the mouse
            cv2.destroyWindow(TITLE)
            cv2.waitKey(1)


def check_screen() -> None:
    """Raise `CourseError` where no window can be opened: headless OpenCV, or no screen.

    On Linux in a process of its own: without a screen OpenCV's Qt does not raise but aborts.
    """
    if not cv2.currentUIFramework():
        raise CourseError(f"this OpenCV is the headless one, which opens no windows; {NO_WINDOW}")
    if not sys.platform.startswith("linux"):
        return
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opened = False
    if screen:
        code = f"import cv2; cv2.namedWindow({TITLE!r}); cv2.destroyAllWindows()"
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, timeout=20)
            opened = done.returncode == 0
    if not opened:
        what = f"the screen {screen} does not open" if screen else "no screen here (DISPLAY is not set)"
        raise CourseError(f"{what}, so no window can be shown; {NO_WINDOW}")
