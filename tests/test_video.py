"""Sources of images: generators and files give every one, a camera (here a stand-in for its driver) its newest."""

import threading
import time

import cv2
import numpy as np
import pytest

from flcourse.errors import CourseError
from flcourse.face import video
from flcourse.face.video import Video


def images(n):
    """n images, each of one grey value: 10 times its number."""
    for number in range(n):
        yield np.full((48, 64, 3), 10 * number, np.uint8)


@pytest.fixture
def file(tmp_path):
    """A video file of 12 images, 20 a second; red grows, so that RGB and BGR can be told apart."""
    path = tmp_path / "a video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * number), np.uint8))
    writer.release()
    return path


class Camera:
    """cv2.VideoCapture of a camera that gives the number of the image as its grey value, a hundred a second."""

    rate, gives, opened = 100, 10**9, True

    def __init__(self, source):
        self.source, self.number, self.released = source, 0, threading.Event()
        Camera.last = self

    def isOpened(self):
        return self.opened

    def get(self, _property):
        return 0.0

    def read(self):
        time.sleep(1 / self.rate)
        if self.number >= self.gives or self.released.is_set():
            return False, None
        self.number += 1
        return True, np.full((4, 6, 3), min(self.number, 255), np.uint8)

    def release(self):
        self.released.set()


@pytest.fixture
def camera(monkeypatch):
    class Fresh(Camera):
        pass

    monkeypatch.setattr(video.cv2, "VideoCapture", Fresh)
    return Fresh


def test_a_generator_gives_every_image():
    closed = []

    def generator():
        try:
            yield from images(5)
        finally:
            closed.append(True)

    with Video(generator(), rate=25) as source:
        assert (source.live, source.rate, source.count) == (False, 25, None)
        found = list(source)
    assert [int(image[0, 0, 0]) for image, _ in found] == [0, 10, 20, 30, 40]
    assert [at for _, at in found] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    source = Video(generator())
    next(source)
    source.release()
    assert list(source) == [] and len(closed) == 2
    source.release()  # again: nothing
    assert Video(list(images(3))).count == 3
    timed = [(image, 5 + number**2, "more") for number, image in enumerate(images(3))]
    assert [at for _, at in Video(timed)] == [0, 1, 4]


def test_a_file_gives_every_image_in_its_own_time(file):
    for name in (file, str(file)):
        with Video(name) as source:
            assert (source.live, source.rate, source.count) == (False, 20, 12)
            found = list(source)
        assert [round(float(image[..., 0].mean()) / 20) for image, _ in found] == list(range(12))
        assert max(image[..., 2].mean() for image, _ in found) < 10  # RGB: the blue is nothing
        assert [at for _, at in found] == pytest.approx(np.arange(12) / 20)


def test_a_camera_gives_its_newest_image_and_none_twice(camera):
    with Video("3") as source:  # as a command line gives it
        assert source.live and source.name == "camera 3" and camera.last.source == 3
        numbers, times = [], []
        for image, at in source:
            assert image.shape == (4, 6, 3) and image.dtype == np.uint8
            numbers.append(int(image[0, 0, 0]))
            times.append(at)
            if len(numbers) == 4:
                time.sleep(0.3)  # meanwhile others come, and go
            if len(numbers) == 8:
                break
    assert times[0] == 0 and (np.diff(times) > 0).all() and (np.diff(numbers) > 0).all()
    assert np.diff(numbers)[3] >= 5
    assert camera.last.released.wait(5)
    assert list(source) == []


def test_release_ends_a_wait(camera):
    camera.gives = 0
    source = Video(0)
    threading.Timer(0.2, source.release).start()
    assert list(source) == []
    assert camera.last.released.wait(5)


def test_a_camera_that_falls_silent(camera, monkeypatch):
    monkeypatch.setattr(video, "NEXT", 0.2)
    camera.gives = 3
    with pytest.raises(CourseError, match=r"camera 0: gave no image for 0\.2 s: was it unplugged"):
        list(Video(0))
    assert camera.last.released.wait(5)


def test_a_camera_that_does_not_open(camera):
    camera.opened = False
    with pytest.raises(CourseError, match=r"camera 7: does not open: is it plugged in.* macOS"):
        Video(7)
    assert camera.last.released.is_set()


def test_a_missing_camera_is_one_line(capfd):
    with pytest.raises(CourseError, match="camera 99: does not open") as raised:
        Video(99)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""  # nothing of OpenCV's pages


def test_bad_files(tmp_path, capfd):
    with pytest.raises(CourseError, match=r"nothing\.mp4: no such file"):
        Video(tmp_path / "nothing.mp4")
    with pytest.raises(CourseError, match="no such file"):
        Video(tmp_path)
    text = tmp_path / "text.mp4"
    text.write_bytes(b"no video at all" * 500)
    with pytest.raises(CourseError, match=r"text\.mp4: not a video that can be read"):
        Video(text)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.zeros((4, 6), np.uint8), r"uint8 \(4, 6\)"),
        (np.zeros((4, 6, 3)), "float64"),
        (np.zeros((0, 6, 3), np.uint8), r"uint8 \(0, 6, 3\)"),
        ("text", "str"),
    ],
)
def test_something_else_among_the_images(given, found):
    source = Video([*images(2), given])
    with pytest.raises(CourseError, match=f"image 2: {found}.*expected uint8"):
        list(source)
    assert list(source) == []


def test_no_images_and_no_source():
    with pytest.raises(CourseError, match="no image in it"):
        list(Video(iter([])))
    for source in (None, 1.5):
        with pytest.raises(CourseError, match="expected a camera's number, a video file or images"):
            Video(source)


def test_what_a_generator_raises_is_raised():
    def broken():
        yield from images(1)
        raise RuntimeError("no more")

    source = Video(broken())
    with pytest.raises(RuntimeError, match="no more"):
        list(source)
    assert list(source) == []


def test_times_that_stand_still_are_mended(file, monkeypatch):
    real = cv2.VideoCapture

    class Timeless:
        def __init__(self, source):
            self.real = real(source)

        def __getattr__(self, name):
            return getattr(self.real, name)

        def get(self, what):
            return 0.0 if what == cv2.CAP_PROP_POS_MSEC else self.real.get(what)

    monkeypatch.setattr(video.cv2, "VideoCapture", Timeless)
    assert [at for _, at in Video(file)] == pytest.approx(np.arange(12) / 20)


@pytest.mark.parametrize("source", [-1, "-1", 100, 10**12, True, None, 1.5, b"video.mp4", {"a": 1}, "", "a\0b.mp4"])
def test_impossible_sources_are_one_error(source):
    """A negative number, or one of hundreds, is another driver's to OpenCV, and may end the process."""
    with pytest.raises(CourseError, match="expected"):
        Video(source)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 10**6])
def test_impossible_rates_are_one_error(rate):
    with pytest.raises(CourseError, match="expected frames a second"):
        Video([np.zeros((8, 8, 3), np.uint8)], rate)
