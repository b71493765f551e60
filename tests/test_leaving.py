"""Widgets that are left: closed ones are freed, cameras leave neither thread nor file, a note stands in their place."""

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances as OPEN  # all that are not closed
from matplotlib.figure import Figure

from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.track import FaceTracker
from flcourse.show import notes
from flcourse.show.annotator import Annotator
from flcourse.show.camera import BrowserCamera, play
from flcourse.show.live_image import to_jpeg
from flcourse.show.predict import Prediction
from flcourse.show.widgets import DrawingPad, explore

IMAGE = np.full((120, 160, 3), 90, np.uint8)


def figure(number):
    made = Figure(figsize=(2, 1))
    made.subplots().plot([0, number])
    return made


MAKERS = {
    "annotator": lambda: Annotator(IMAGE),
    "pad": lambda: DrawingPad(lambda digit: np.full(10, 0.1)),
    "camera": lambda: BrowserCamera(lambda image, at: []),
    "explorer": lambda: explore(figure, number=(1, 9)),
    "prediction": lambda: Prediction("How many?", unit="%"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_closed_widgets_are_freed(name):
    """anywidget keeps each whose script is a file; ipywidgets each part that is open."""
    make, count = MAKERS[name], 3 if name == "explorer" else 20
    make().close()
    gc.collect()
    before = len(OPEN)
    alive = []
    for _ in range(count):
        widget = make()
        alive.append(weakref.ref(widget))
        widget.close()
        del widget
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 0
    assert len(OPEN) == before


def handles() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def test_fifty_starts_and_stops_leave_no_thread_and_no_file(tmp_path, monkeypatch):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 60, (160, 120))
    for _ in range(5):
        writer.write(IMAGE)
    writer.release()
    landmarker = FaceLandmarker(detector="haar", threads=1)
    jpeg = to_jpeg(IMAGE)

    def browser():
        """The messages of a browser whose camera is turned on for a frame."""
        with FaceTracker(landmarker, live=True) as tracker:
            camera = BrowserCamera(tracker)
            for content, buffers in (
                ({"kind": "start", "session": "a"}, []),
                ({"kind": "frame", "session": "a", "number": 1, "time": 0.0}, [jpeg]),
                ({"kind": "stop", "session": "a"}, []),
            ):
                camera._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": buffers})
            assert camera.image is not None and camera.error == ""
            camera.close()

    async def player():
        with FaceTracker(landmarker) as tracker:
            view = play(path, tracker)
            await asyncio.sleep(0.02)
            view.close()
            await asyncio.wait_for(view.task, 30)

    async def both(times):
        for _ in range(times):
            browser()
            await player()

    async def main():
        await both(3)
        gc.collect()
        before = threading.active_count(), handles(), len(OPEN)
        await both(50)
        gc.collect()
        return before, (threading.active_count(), handles(), len(OPEN))

    before, after = asyncio.run(main())
    assert after[0] <= before[0] + 2  # asyncio's own pool may still grow by a thread
    assert after[1:] == before[1:]


@pytest.mark.parametrize("name", MAKERS)
def test_a_note_stands_before_each_widget(name, monkeypatch):
    """Which the widget's own script hides: the only thing left to read in a page without the kernel."""
    shown = []
    monkeypatch.setattr(notes, "display", lambda data, **_: shown.append(data))
    widget = MAKERS[name]()
    widget._ipython_display_()
    note, view = shown
    own = widget.note if hasattr(widget, "note") else widget._note.note
    assert f"flcourse-note-{own}" in note["text/html"] and "Run the notebook's cells" in note["text/html"]
    assert note["text/plain"] == repr(widget) and "application/vnd.jupyter.widget-view+json" in view
    widget.close()
