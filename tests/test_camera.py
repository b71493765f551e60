"""The live widgets without a browser: messages go in as a browser sends them, videos play in an event loop."""

import asyncio
import threading
import time

import cv2
import numpy as np
import pytest
from stand_ins import Finder, Marks

from flcourse.errors import CourseError
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.overlays import OVERLAYS
from flcourse.face.track import FaceTracker
from flcourse.show import live_image as module
from flcourse.show.camera import BrowserCamera, film_strip, play
from flcourse.show.live_image import to_jpeg

FRAME = np.full((120, 160, 3), 90, np.uint8)
FRAME[40:80, 60:100] = (200, 40, 40)  # red, so that RGB and BGR can be told apart


class Browser:
    """The browser's end of a BrowserCamera: sends messages, keeps what comes back."""

    def __init__(self, camera, monkeypatch, session="a"):
        self.camera, self.session, self.got = camera, session, []
        monkeypatch.setattr(camera, "send", lambda content, buffers=None: self.got.append((content, buffers or [])))

    def send(self, kind, *buffers, **more):
        content = {"kind": kind, "session": self.session, **more}
        message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": list(buffers)}
        self.camera._handle_msg(message)

    def frame(self, number, at, data=None):
        self.send("frame", memoryview(to_jpeg(FRAME) if data is None else data), number=number, time=at)


def decode(jpeg):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_a_frame_in_an_answer_out(monkeypatch):
    finder = Finder()
    camera = BrowserCamera(finder)
    assert (camera.frame, camera.image, camera.faces, camera.session) == (None, None, [], "")
    browser = Browser(camera, monkeypatch)
    browser.send("start")
    assert finder.resets == 1 and camera.session == "a"
    browser.frame(1, 0.25)
    [(content, [data])] = browser.got
    assert content == {
        **{"kind": "answer", "session": "a", "number": 1, "faces": 1, "points": True, "size": [160, 120]},
        **{"mirrored": False, "boxes": [[40, 20, 60, 60]], "labels": ["1: 0.90"]},
    }
    assert (np.frombuffer(data, np.float32) == 50).all() and len(data) == 68 * 2 * 4
    [(asked, at)] = finder.asked
    assert at == 0.25 and asked.dtype == np.uint8 and np.abs(asked.astype(int) - FRAME).mean() < 3  # JPEG, but RGB
    assert camera.frame is asked
    assert (camera.image != camera.frame).any()  # the points are drawn, on a copy
    assert camera.faces[0].confidence == 0.9
    browser.send("stop")
    assert camera.session == "" and len(browser.got) == 1


def test_overlays_whose_pixels_are_python_s_come_as_images(monkeypatch):
    for camera in (BrowserCamera(Finder(), overlay="pose"), BrowserCamera(Finder(), ["points"], Marks())):
        browser = Browser(camera, monkeypatch)
        browser.send("start")
        browser.frame(1, 0.25)
        [(content, [jpeg])] = browser.got
        assert content["points"] is False and content["size"] == [160, 120]
        assert np.abs(decode(jpeg).astype(int) - camera.image).mean() < 5


def test_overlays_are_changed_live_and_fresh_at_each_start(monkeypatch):
    marks = Marks()
    camera = BrowserCamera(Finder(), ["one", "two"], marks)
    browser = Browser(camera, monkeypatch)
    browser.send("start")
    assert camera.overlay == "one" and camera.overlays == ["one", "two"]
    for number in range(1, 4):
        browser.frame(number, number / 10)
    assert camera.image[0, 0, 0] == 60 and marks.opened == ["one"]
    camera.set_state({"overlay": "two"})  # as the browser does
    browser.frame(4, 0.4)
    assert camera.image[0, 0, 0] == 20 and marks.opened == ["one", "two"]
    browser.send("stop")
    browser.send("start")
    browser.frame(1, 0.1)
    assert camera.image[0, 0, 0] == 20 and marks.opened == ["one", "two", "two"]
    with pytest.raises(CourseError, match="overlay 'three': expected one of one, two"):
        camera.overlay = "three"
    assert camera.overlay == "two"
    assert BrowserCamera(Finder(), ["one", "two"], marks, overlay="two", mirror=False).overlay == "two"
    with pytest.raises(CourseError, match="'hat'"):
        BrowserCamera(Finder(), ["one", "two"], marks, overlay="hat")
    with pytest.raises(CourseError, match="overlays: none is named"):
        BrowserCamera(Finder(), [])
    assert BrowserCamera(Finder(), "pose").overlays == ["pose"]


def test_a_mirror_that_is_turned_is_another_video(monkeypatch):
    finder = Finder()
    browser = Browser(BrowserCamera(finder), monkeypatch)
    browser.send("start")
    for number, mirrored in enumerate([True, True, False, False, True], 1):
        browser.send("frame", memoryview(to_jpeg(FRAME)), number=number, time=number / 10, mirrored=mirrored)
    assert finder.resets == 3 and len(finder.asked) == 5  # one for the start


def test_what_goes_wrong_turns_the_camera_off(monkeypatch):
    def find(image, at):
        raise RuntimeError("no weights\nand much more")

    camera = BrowserCamera(find)
    browser = Browser(camera, monkeypatch)
    browser.send("start")
    browser.frame(1, 0.0)
    assert browser.got == [({"kind": "off", "session": "a"}, [])]
    assert camera.error == "RuntimeError: no weights" and camera.session == ""
    browser.frame(2, 0.1)  # was on its way
    assert len(browser.got) == 1
    camera._loop.find = Finder()
    browser.send("start")
    browser.frame(1, 0.0)
    assert camera.error == "" and browser.got[-1][0]["kind"] == "answer"


@pytest.mark.parametrize("data", [b"", b"no image", to_jpeg(FRAME)[:20]])
def test_bad_images(monkeypatch, data):
    finder = Finder()
    camera = BrowserCamera(finder)
    browser = Browser(camera, monkeypatch)
    browser.send("start")
    browser.frame(1, 0.0, data)
    assert browser.got[-1][0]["kind"] == "off" and "the browser's image" in camera.error and not finder.asked


def test_a_frame_that_was_overtaken_is_left_unanswered(monkeypatch):
    """JupyterLab sends the first frames to another thread of the kernel than those that follow."""
    with FaceTracker(FaceLandmarker(), live=True) as tracker:  # which refuses times that run backwards
        camera = BrowserCamera(tracker)
        browser = Browser(camera, monkeypatch)
        for _ in range(2):  # the second start counts anew
            browser.got.clear()
            browser.send("start")
            browser.frame(2, 0.2)
            browser.frame(1, 0.1)
            assert [content["number"] for content, _ in browser.got] == [2]
            threads = [threading.Thread(target=browser.frame, args=(n, n / 10)) for n in range(12, 2, -1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            numbers = [content["number"] for content, _ in browser.got]
            assert numbers == sorted(numbers) and numbers[-1] == 12
            assert camera.error == "" and camera.session == "a"


def test_messages_that_no_browser_sends_change_nothing(monkeypatch):
    camera = BrowserCamera(Finder())
    browser = Browser(camera, monkeypatch)
    browser.frame(1, 0.0)  # before any start
    browser.send("stop")
    browser.send("something")
    assert browser.got == [] and camera.image is None and camera.error == ""
    browser.send("start")
    browser.send("frame")  # neither image nor time
    assert browser.got[-1][0]["kind"] == "off" and camera.error


def test_one_camera_at_a_time_and_python_can_stop_it(monkeypatch):
    camera = BrowserCamera(Finder())
    first = Browser(camera, monkeypatch)
    first.send("start")
    second = Browser(camera, monkeypatch, "b")
    second.send("start")
    assert second.got == [({"kind": "off", "session": "a"}, [])] and camera.session == "b"
    first.frame(1, 0.0)
    first.send("stop")  # says nothing about the second
    assert len(second.got) == 1 and camera.session == "b"
    camera.stop()
    assert second.got[-1][0] == {"kind": "off", "session": "b"} and camera.session == ""
    camera.stop()
    assert len(second.got) == 2


def test_large_images_are_shown_small():
    assert decode(to_jpeg(np.zeros((1080, 1920, 3), np.uint8))).shape == (360, 640, 3)
    assert decode(to_jpeg(FRAME)).shape == FRAME.shape


def test_the_course_s_overlays_are_there_to_choose_from():
    camera = BrowserCamera(Finder())
    assert camera.overlays == list(OVERLAYS) and camera.overlay == "points"


def test_widgets_read_as_text_where_they_are_not_shown():
    assert "run this notebook" in repr(BrowserCamera(Finder()))


# --- play ---


def images(n):
    for number in range(n):
        yield np.full((60, 80, 3), number, np.uint8)


@pytest.fixture
def file(tmp_path):
    """A video file of 10 images, 20 a second."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (160, 120))
    for _ in range(10):
        writer.write(FRAME[..., ::-1])
    writer.release()
    return path


def run_to_end(act=None, **given):
    """Play until the end with `act(view)` beside it; the view."""

    async def main():
        view = play(**given)
        if act:
            await act(view)
        await asyncio.wait_for(view.task, 30)
        return view

    return asyncio.run(main())


def released(view):
    return list(view.video) == []


def test_a_video_plays_to_its_end_at_its_own_rate(file):
    finder, began = Finder(), time.monotonic()
    view = run_to_end(source=file, find=finder)
    assert time.monotonic() - began >= 9 / 20
    assert view.frames == len(finder.asked) == 10 and finder.resets == 1 and view.error == ""
    assert [at for _, at in finder.asked] == pytest.approx(np.arange(10) / 20)
    assert decode(view.screen.jpeg).shape == FRAME.shape
    assert view.image.shape == FRAME.shape and len(view.faces) == 1
    assert view.status.value == "the end · 10 frames" and view.button.disabled and released(view)
    assert "video.avi, played: run this notebook" in repr(view)


def test_a_generator_plays_and_overlays_are_chosen(monkeypatch):
    marks, seen = Marks(), []

    async def act(view):
        while view.frames < 3:
            await asyncio.sleep(0.01)
        seen.append(view.status.value)
        view.choice.value = "two"

    view = run_to_end(act, source=images(12), find=Finder(), overlays=["one", "two"], open_overlay=marks, rate=60)
    assert view.frames == 12 and marks.opened == ["one", "two"]
    assert seen[0].startswith("frame ") and "1 face" in seen[0]


def test_a_slow_browser_gets_fewer_images_and_the_last_one(monkeypatch):
    sent = []
    monkeypatch.setattr(module, "to_jpeg", lambda image: bytes([sent.append(int(image[9, 9, 0])) or len(sent)]))

    async def act(view):  # nobody answers but once
        while view.frames < 5:
            await asyncio.sleep(0.01)
        message = {"content": {"data": {"method": "custom", "content": {"kind": "seen"}}}, "buffers": []}
        view.screen._handle_msg(message)

    finder = Finder()
    assert run_to_end(act, source=images(12), find=finder, open_overlay=Marks(), rate=100).frames == 12
    assert len(finder.asked) == 12
    assert sent[0] == 0 and 5 <= sent[1] < 11 and sent[2:] == [11]


def test_stop_acts_in_the_middle_of_an_endless_video():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield FRAME
        finally:
            closed.set()

    async def act(view):
        while view.frames < 2:
            await asyncio.sleep(0.01)
        view.button.click()

    view = run_to_end(act, source=endless(), find=Finder(), rate=50)
    assert view.frames >= 2 and view.status.value.startswith("stopped · ") and closed.is_set() and released(view)


def test_stop_does_not_wait_for_a_slow_rate():
    async def act(view):
        while view.frames < 1:
            await asyncio.sleep(0.01)
        view.stop()

    assert run_to_end(act, source=iter([FRAME] * 3), find=Finder(), rate=0.01).frames <= 2  # a hundred seconds a frame


def test_the_kernel_stays_free_while_a_slow_finder_works():
    finder, ticks = Finder(), 0
    finder.slow = 0.3

    async def act(view):
        nonlocal ticks
        while not view.task.done():
            await asyncio.sleep(0.01)
            ticks += 1

    assert run_to_end(act, source=images(2), find=finder).frames == 2
    assert ticks > 10


def test_what_goes_wrong_is_shown_and_the_source_given_back():
    def find(image, at):
        if at > 0.1:
            raise ValueError("<b>too late</b>")
        return []

    view = run_to_end(source=images(50), find=find)
    assert view.error == "ValueError: <b>too late</b>" and "&lt;b&gt;too late" in view.status.value
    assert view.frames == 4 and released(view)

    view = run_to_end(source=iter([FRAME, FRAME[..., 0]]), find=Finder())
    assert "image 1: uint8 (120, 160), expected" in view.error and view.frames == 1


def test_a_second_one_stops_the_first():
    async def main():
        first = play(images(10**6), Finder())
        await asyncio.sleep(0.1)
        second = play(images(3), Finder())
        await asyncio.wait_for(asyncio.gather(first.task, second.task), 30)
        return first, second

    first, second = asyncio.run(main())
    assert first.status.value.startswith("stopped") and released(first) and second.frames == 3


def test_a_tracker_serves_one_video_after_the_other():
    last = -1.0

    def find(image, at):  # as a tracker, it cannot go back in time, and takes its time
        nonlocal last
        assert at >= last
        time.sleep(0.05)
        last = at
        return []

    def reset():
        nonlocal last
        last = -1.0

    find.reset = reset

    async def main():
        first = play(images(10**6), find, rate=100)
        await asyncio.sleep(0.3)
        second = play(images(4), find, rate=100)
        await asyncio.wait_for(asyncio.gather(first.task, second.task), 30)
        return first, second

    first, second = asyncio.run(main())
    assert first.error == second.error == "" and second.frames == 4


def test_a_task_that_is_cancelled_gives_the_source_back():
    async def main():
        view = play(images(10**6), Finder())
        await asyncio.sleep(0.1)
        view.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await view.task
        return view

    assert released(asyncio.run(main()))


def test_sources_that_cannot_be_played(tmp_path):
    for source, said in ((tmp_path / "none.mp4", "no such file"), (99, "camera 99: does not open"), (None, "expected")):
        with pytest.raises(CourseError, match=said):
            run_to_end(source=source, find=Finder())
    with pytest.raises(CourseError, match="plays in a notebook"):
        play(images(3), Finder())


def test_a_busy_camera_is_told_in_the_widget(monkeypatch):
    class Silent:  # opens, and gives nothing: as a camera does that another program reads
        def __init__(self, _source):
            pass

        def isOpened(self):
            return True

        def get(self, _property):
            return 0.0

        def read(self):
            return False, None

        def release(self):
            pass

    monkeypatch.setattr("flcourse.face.video.cv2.VideoCapture", Silent)
    monkeypatch.setattr("flcourse.face.video.FIRST", 0.2)
    view = run_to_end(source=0, find=Finder())
    assert "camera 0: gave no image for 0.2 s" in view.error and view.frames == 0


# --- figures ---


def test_a_film_strip_looks_at_every_frame_and_shows_some(file):
    finder = Finder()
    figure = film_strip(file, finder, seconds=(0, 0.2, 9), title="a video")
    assert [ax.get_title() for ax in figure.axes] == ["0.0 s", "0.2 s"]  # the third is beyond the end
    assert len(finder.asked) == 10 and finder.resets == 1
    shown = figure.axes[1].get_images()[0].get_array()
    assert shown.shape == FRAME.shape and (shown != FRAME).any()
    finder = Finder()
    film_strip(images(100), finder, Marks()("any"), seconds=(0, 0.5), rate=10)
    assert len(finder.asked) == 6  # and none after the last that is shown


def test_a_film_strip_of_nothing(tmp_path):
    with pytest.raises(CourseError, match="no frame at 5 s, it is shorter"):
        film_strip(images(3), Finder(), seconds=[5])
    with pytest.raises(CourseError, match="no such file"):
        film_strip(tmp_path / "none.mp4", Finder())
