"""Live in a notebook: the browser's camera, or the kernel's camera or a video, with points drawn on every face.

`BrowserCamera` uses the camera where the browser runs, so it works with a kernel on another machine; `play` plays what
the kernel itself can open; `film_strip` is a figure of a few frames, for readers of a notebook that does not run.
"""

import asyncio
import html
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event, RLock

import anywidget
import ipywidgets
import numpy as np
import traitlets

from flcourse.errors import CourseError
from flcourse.face.live import Find, LiveLoop
from flcourse.face.overlays import OVERLAYS, Overlay, open_overlay, point_label
from flcourse.face.video import RATE, Video
from flcourse.images import decode_image
from flcourse.show.assets import parts, script, style
from flcourse.show.live_image import SECOND, LastFrame, LiveImage, to_jpeg
from flcourse.show.notes import Noted, close_all, show_with_note
from flcourse.show.plot import Figure, gallery
from flcourse.show.widgets import FAILED, one_line

TELL = 0.25  # s: how often frames/s are told, counted over the last `SECOND`
STRIP, TITLE, COLUMNS = 2.6, 0.3, 4  # inches: a frame's width in a figure and the line above it; frames in a row


class BrowserCamera(LastFrame, Noted, anywidget.AnyWidget):
    """The camera of the browser, with what `find` finds drawn on its images; works with a kernel anywhere.

    `find(image, time)` takes (H, W, 3) uint8 RGB, longer side at most 640 px, and seconds since Start, and returns
    faces: a `FaceTracker`, or any function; where it has a `reset`, that is called at each Start. `overlays` are the
    names to choose from, and `open_overlay(name)` gives a fresh one; the course's need a tracker's faces. Two frames
    are on their way at a time, always the newest. Of the course's overlay "points" only the points travel back, and
    are drawn over the browser's own video; of the others, whose pixels are Python's, the image. A mirrored image is
    mirrored before it is looked at, so that what is drawn on it can be read. `frame`, `image` and `faces` keep the
    last one. What `find` or an overlay raises turns the camera off and is shown, as `error` says.
    """

    _esm = script("camera.js")
    _css = style("camera.css")

    overlays = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    overlay = traitlets.Unicode(help="the one that is drawn").tag(sync=True)
    parts = traitlets.List(parts(), read_only=True, help="how the 68 points are joined and coloured").tag(sync=True)
    mirror = traitlets.Bool(True, help="as people know themselves").tag(sync=True)
    error = traitlets.Unicode("", help="what went wrong in Python, in one line").tag(sync=True)

    def __init__(
        self,
        find: Find,
        overlays: Sequence[str] = tuple(OVERLAYS),
        open_overlay: Callable[[str], Overlay] = open_overlay,
        **traits,
    ) -> None:
        self.session = ""  # of the view in a browser whose camera is on; first, as what fails below is closed, too
        self._number, self._turn = 0, RLock()  # the session's last frame that was looked at; one message at a time
        self._loop = LiveLoop(find, overlays, open_overlay)
        super().__init__(overlay=traits.pop("overlay", self._loop.name), **traits)
        self.set_trait("overlays", self._loop.overlays)
        self.on_msg(self._receive)

    def __repr__(self):  # what a reader on GitHub sees in its place
        return "The browser's camera: run this notebook to see your face with its points"

    def stop(self) -> None:
        """Turn the camera off, in whichever browser it is on."""
        session, self.session = self.session, ""
        if session:
            self.send({"kind": "off", "session": session})

    def close(self) -> None:
        """Turn the camera off, and take the widget off the page."""
        self.stop()
        super().close()

    @traitlets.validate("overlay")
    def _check(self, proposal) -> str:
        return self._loop.check(proposal.value)

    @traitlets.observe("overlay")
    def _choose(self, change) -> None:
        self._loop.choose(change.new)

    def _receive(self, _widget, content: dict, buffers: list) -> None:
        """A message of a browser's: its camera is on, a frame, or its camera is off.

        Every camera that is turned on is a session of its own. There is one at a time: a second view's Start turns the
        first one's camera off, and frames that were still on their way from it are left unanswered. So is a frame that
        a later one has overtaken: JupyterLab sends a widget's first messages to the kernel's main thread and, from the
        moment there is one, the others to its subshell, which is another thread.
        """
        kind, session = content.get("kind"), content.get("session")
        with self._turn:
            try:
                if kind == "start":
                    if session != self.session:
                        self.stop()
                    self.session, self.error, self._number = session, "", 0
                    self._loop.reset()
                elif session == self.session and kind == "stop":
                    self.session = ""
                elif session == self.session and kind == "frame" and content["number"] > self._number:
                    self._number = content["number"]
                    self._look(content, buffers)
            except Exception as problem:  # the learner's own function: whatever it raises belongs into the widget
                self.error = one_line(problem)
                self.stop()

    def _look(self, content: dict, buffers: list) -> None:
        """Look at a frame and answer its message."""
        frame = decode_image(buffers[0] if buffers else b"", "the browser's image")
        self._loop.mirror = bool(content.get("mirrored", False))
        image = self._loop(frame, float(content["time"]))
        said = {"kind": "answer", "session": content["session"], "number": content["number"], "faces": len(self.faces)}
        if image is not None:  # else it was closed meanwhile
            more, data = self._answer(image)
            self.send(said | more, [data])

    def _answer(self, image: np.ndarray) -> tuple[dict, bytes]:
        """What the browser shows: points to draw over its own video, or the image that was drawn on."""
        size, mirrored = [image.shape[1], image.shape[0]], self._loop.mirror
        shown = {"size": size, "mirrored": mirrored, "points": False}
        if self._loop.open_overlay is not open_overlay or self._loop.name != "points":
            return shown, to_jpeg(image)
        faces = [face for face in self.faces if np.isfinite(face.points).all()]
        boxes = [[face.box.left, face.box.top, face.box.width, face.box.height] for face in faces]
        shown |= {"points": True, "boxes": boxes, "labels": [point_label(face) for face in faces]}
        return shown, np.array([face.points for face in faces], "<f4").tobytes()


class VideoPlayer(LastFrame, ipywidgets.VBox):
    """A camera or a video that plays in a notebook, with what is found drawn on it; made by `play`.

    `frame`, `image` and `faces` keep the last frame, `frames` counts those looked at. `task` ends when the video
    does, or after `stop`; `await view.task` waits for it. `error` is what went wrong, in one line.
    """

    def __init__(self, video: Video, loop: LiveLoop) -> None:
        self.video, self.frames, self.error = video, 0, ""
        self._loop, self._stopping = loop, Event()
        self._begin = self._told = -math.inf  # when frame 0 was due; when the status was written
        self._times = deque()  # when the frames of the last second were looked at
        self.screen = LiveImage(f"{video.name}, with what is found drawn on it")
        self.button = ipywidgets.Button(description="Stop", icon="stop", tooltip=f"Stop {video.name}")
        self.choice = ipywidgets.Dropdown(options=loop.overlays, description="overlay")
        self.status = ipywidgets.HTML("opening ...")
        self.button.on_click(lambda _button: self.stop())
        self.choice.observe(lambda change: loop.choose(change.new), "value")
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        controls = ipywidgets.Box([self.button, self.choice, self.status], layout=row)
        super().__init__([self.screen, controls])
        self.add_class("flcourse-player")
        self.task = asyncio.get_running_loop().create_task(self._play())

    def __repr__(self):  # what a reader on GitHub sees in its place
        return f"{self.video.name}, played: run this notebook to see it"

    def _ipython_display_(self) -> None:
        show_with_note(self, self.screen.note)

    def close(self) -> None:
        """Stop, and take it off the page with all that it is made of."""
        self.stop()
        close_all(self)

    def stop(self) -> None:
        """Stop after the frame that is being looked at, and give the camera or the file back."""
        self._stopping.set()
        self.video.release()
        self._loop.close()

    async def _play(self) -> None:
        """Look at frame after frame. Reading, finding and drawing run in a thread, so that the kernel stays free."""
        try:
            while await asyncio.to_thread(self._next):
                self._tell()
            if self.image is not None:
                self.screen.show(self.image)  # the last one, whether or not the browser kept up
        except Exception as problem:  # shown; the last image stays
            self.error = one_line(problem)
        finally:  # also where the kernel ends and cancels the task
            early = self._stopping.is_set()
            self.stop()
            self.button.disabled = True
            end = FAILED.format(html.escape(self.error)) if self.error else "stopped" if early else "the end"
            self.status.value = f"{end} · {self.frames} frames"

    def _next(self) -> bool:
        """Look at the next frame, and show it when it is due; False at the end."""
        frame, at = next(self.video, (None, 0.0))
        image = None if frame is None else self._loop(frame, at)
        if image is None:
            return False
        if not self.video.live:
            now = time.monotonic()
            # Where finding takes longer than a frame lasts, the video is slow; it does not run faster afterwards.
            self._begin = max(self._begin, now - at)
            self._stopping.wait(max(0.0, self._begin + at - now))
        if self.screen.free:
            self.screen.show(image)
        self.frames += 1
        return True

    def _tell(self) -> None:
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > SECOND:
            self._times.popleft()
        if now - self._told < TELL:
            return
        self._told = now
        rate = (len(self._times) - 1) / max(now - self._times[0], 1e-3)
        number = f"frame {self.frames}" + (f" of {self.video.count}" if self.video.count else "")
        faces = f"{len(self.faces)} face" + "s" * (len(self.faces) != 1)
        self.status.value = f"{number} · {rate:.1f} frames/s · {faces}"


_playing: VideoPlayer | None = None  # the one that plays


def play(
    source: int | str | Path | Iterable[np.ndarray],
    find: Find,
    overlays: Sequence[str] = tuple(OVERLAYS),
    open_overlay: Callable[[str], Overlay] = open_overlay,
    *,
    rate: float = RATE,
) -> VideoPlayer:
    """Play the kernel's own camera, a video file or images in the notebook, with what `find` finds drawn on them.

    `source` and `rate` are those of `Video`; `find`, `overlays` and `open_overlay` those of `BrowserCamera`. A camera
    shows its newest image, a file every one at its own rate, or slower where finding takes longer. Other cells run
    beside it. One plays at a time: what an earlier call still plays is stopped, so that its camera is free again.
    Raises `CourseError` where the source cannot be opened, or where no notebook is there to play in.
    """
    global _playing
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise CourseError("play: this plays in a notebook; elsewhere use `flcourse webcam`") from None
    if _playing is not None:
        _playing.stop()
    loop = LiveLoop(find, overlays, open_overlay)
    loop.reset()
    _playing = VideoPlayer(Video(source, rate), loop)
    return _playing


def film_strip(
    source: str | Path | Iterable[np.ndarray],
    find: Find,
    overlay: Overlay | None = None,
    *,
    seconds: Sequence[float] = (0, 1, 2, 3),
    rate: float = RATE,
    title: str = "",
) -> Figure:
    """A figure of a video's frames at some `seconds`, beside each other, with what `find` finds drawn on them.

    `overlay` draws (default: points). Every frame up to the last of them is looked at, as when it plays, so that a
    tracker does here what it does live; each time stands for the first frame at or after it. Times beyond the video's
    end are left out. Raises `CourseError` where the source cannot be read, or where all times are beyond its end.
    """
    loop = LiveLoop(find, ["strip"], lambda _name: overlay or open_overlay("points"))
    loop.reset()
    wanted, images, titles = deque(sorted(seconds)), [], []
    with Video(source, rate) as video:
        for frame, at in video:
            image = loop(frame, at)
            while wanted and at >= wanted[0] - 0.5 / video.rate:
                wanted.popleft()
                images.append(image)
                titles.append(f"{at:.1f} s")
            if not wanted:
                break
    if not images:
        raise CourseError(f"{video.name}: no frame at {', '.join(f'{at:g}' for at in seconds)} s, it is shorter")
    columns = min(len(images), COLUMNS)
    figure = gallery(images, titles, columns=columns, size=STRIP, title=title)
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    figure.set_figheight(rows * (STRIP * height / width + TITLE) + (TITLE if title else 0))  # frames are not square
    return figure
