"""`flcourse webcam`: videos in, annotated videos and points out; the window on a screen of its own (Xvfb)."""

import csv
import ctypes
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import ImageGrab

from flcourse.apps import window as app
from flcourse.apps.cli import main
from flcourse.apps.window import Recording, webcam
from flcourse.colours import VERMILION
from flcourse.data import videos
from flcourse.data.drawing.shape import Expression
from flcourse.data.drawn_faces import draw_face
from flcourse.data.videos import Pose, film
from flcourse.errors import CourseError
from flcourse.face.landmarker import FaceLandmarker
from flcourse.images import read_image
from flcourse.points import apply

FACE = SimpleNamespace(points=np.ones((68, 2)), number=7, confidence=0.5)
EYES = np.array([[202, 101], [247, 103]])  # the middles of the astronaut's eyes, read off the enlarged image
SIZE = (320, 240)


def write_video(path, frames) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, SIZE)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def read_video(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames


def read_csv(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def points_of(row: dict) -> np.ndarray:
    return np.array([[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)])


def eyes_of(row: dict) -> np.ndarray:
    points = points_of(row)
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker(threads=1)


@pytest.fixture(scope="module")
def moving():
    return list(videos.moving(12, size=SIZE, noise=0))


def test_a_video_becomes_an_annotated_video_and_points(moving, tmp_path, capsys):
    folder = tmp_path / "für Anna"
    folder.mkdir()
    write_video(folder / "in.mp4", [frame.image for frame in moving])
    out = folder / "new" / "out.mp4"
    main(["webcam", "--source", str(folder / "in.mp4"), "--no-window", "--out", str(out)])
    assert f"wrote 12 frames to {out}" in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.csv", "out.mp4"]  # nothing temporary is left
    rows = read_csv(out.with_suffix(".csv"))
    assert [int(row["frame"]) for row in rows] == list(range(12)) and {row["face"] for row in rows} == {"1"}
    for frame, row in zip(moving, rows, strict=True):
        assert float(row["time"]) == pytest.approx(frame.time, abs=1e-3) and 0.8 < float(row["confidence"]) <= 1
        assert np.abs(eyes_of(row) - apply(EYES, frame.matrices[0])).max() < 4
    drawn = read_video(out)
    assert len(drawn) == 12 and drawn[0].shape == (240, 320, 3)
    changed = np.abs(drawn[5].astype(int) - moving[5].image).max(axis=2) > 90
    left, top = points_of(rows[5]).min(axis=0).astype(int)
    right, bottom = points_of(rows[5]).max(axis=0).astype(int)
    assert changed[top:bottom, left:right].sum() > 100  # drawn on the face,
    assert changed[:, : max(0, left - 40)].sum() == 0  # and not beside it


def test_mirrored_the_points_are_those_of_the_mirrored_video(landmarker, tmp_path):
    frames = list(film(lambda t: [Pose(x=0.4)], 3, size=SIZE))
    out = tmp_path / "out.avi"
    webcam(landmarker, [f.image for f in frames], window=False, out=out, mirror=True, smooth=False)
    wanted = apply(EYES, frames[0].matrices[0])[::-1] * (-1, 1) + (319, 0)
    assert np.abs(eyes_of(read_csv(tmp_path / "out.csv")[0]) - wanted).max() < 4
    assert np.abs(read_video(out)[0].astype(int) - frames[0].image[:, ::-1]).mean() < 20


def test_a_confidence_that_nobody_calibrated_is_left_empty(tmp_path):
    camera = SimpleNamespace(live=True, rate=30.0, name="camera 0")
    face = SimpleNamespace(points=np.ones((68, 2)), number=7, confidence=None)
    with Recording(tmp_path / "out.mp4", camera) as recording:
        recording.write(np.full((240, 320, 3), 99, np.uint8), 0, [face])
    [row] = read_csv(tmp_path / "out.csv")
    assert row["confidence"] == "" and row["face"] == "7"


@pytest.mark.parametrize(
    "error, raised", [(CourseError("camera 0: unplugged"), CourseError), (KeyboardInterrupt(),) * 2]
)
def test_what_was_written_before_the_end_is_kept(landmarker, moving, tmp_path, error, raised):
    def images():
        for frame in moving[:4]:
            yield frame.image
        raise error

    out = tmp_path / "out.mp4"
    out.write_bytes(b"of an earlier run")
    with pytest.raises(type(error)):
        webcam(landmarker, images(), window=False, out=out)
    assert len(read_video(out)) == 4 and len(read_csv(tmp_path / "out.csv")) == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cameras_frames_are_written_in_their_time(tmp_path):
    """At 10 frames/s: each three times into a video of 30; what comes too soon is left out."""
    camera = SimpleNamespace(live=True, rate=30.0, name="camera 0")
    with Recording(tmp_path / "out.mp4", camera) as recording:
        for at in (0, 0.1, 0.2, 0.201, 0.3):
            recording.write(np.full((240, 320, 3), 99, np.uint8), at, [FACE])
    assert len(read_video(tmp_path / "out.mp4")) == 10
    assert [(row["frame"], row["time"]) for row in read_csv(tmp_path / "out.csv")] == [
        *(("0", "0.0000"), ("1", "0.1000"), ("4", "0.2000"), ("7", "0.3000"))
    ]


def test_frames_of_changing_rate_keep_their_time(tmp_path):
    """Ten a second, then a second of none: the video written is as long, and a wrong time stamp is no hour of it."""
    times = [0, 0.1, 0.2, 1.2, 1.3]
    source = SimpleNamespace(live=False, rate=30.0, name="film")
    with Recording(tmp_path / "out.mp4", source) as recording:
        for at in (*times, 5000.0, 5000.1):
            recording.write(np.full((240, 320, 3), 99, np.uint8), at, [FACE])
    rows = read_csv(tmp_path / "out.csv")
    assert [int(row["frame"]) for row in rows] == [0, 1, 4, 7, 37, 40, 41]
    assert len(read_video(tmp_path / "out.mp4")) == 44


def test_frames_of_a_new_size_go_on(landmarker, moving, tmp_path):
    """As streams do: fitted into the first one's size, their points too."""
    large = cv2.resize(moving[0].image, (800, 480))
    webcam(landmarker, [moving[0].image, moving[0].image, large, large], window=False, out=tmp_path / "out.mp4")
    frames, rows = read_video(tmp_path / "out.mp4"), read_csv(tmp_path / "out.csv")
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 4
    assert frames[3][:20].max() < 30 < frames[3][40:200].mean()  # black above and below
    wanted = apply(EYES, moving[0].matrices[0]) * (1, 0.8) + (0, 24)  # 800 x 480 in 320 x 240: 320 x 192
    assert np.abs(eyes_of(rows[3]) - wanted).max() < 5


FULL_DISK = """
import resource, sys
from flcourse.apps.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # writes beyond it fail, as on a full disk
main(["webcam", "--detector", "haar", "--source", sys.argv[2], "--no-window", "--out", sys.argv[3]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on a file's size there")
@pytest.mark.parametrize("name, limit", [("out.mp4", 4096), ("out.avi", 60_000), ("out.mp4", 20_000)])
def test_a_full_disk_is_told_and_leaves_nothing(moving, tmp_path, name, limit):
    """Video and points grow beyond what there is."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).write_bytes(b"of an earlier run")
    write_video(tmp_path / "in.mp4", [frame.image for frame in moving] * 3)
    arguments = [str(limit), str(tmp_path / "in.mp4"), str(tmp_path / "new" / name)]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "othing is kept" in done.stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    assert (tmp_path / "new" / name).read_bytes() == b"of an earlier run"


def test_bad_input_is_one_clear_line(moving, tmp_path, monkeypatch, capsys):
    def check(message: str, *arguments: object) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["webcam", *map(str, arguments)])
        told = capsys.readouterr().err
        assert caught.value.code == 2 and told.count("\n") == 1 and message in told, told

    write_video(tmp_path / "in.mp4", [moving[0].image])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder.mp4").mkdir()
    to = "--no-window", "--out", tmp_path / "new.mp4"
    source = "--source", tmp_path / "in.mp4"
    check("gone.mp4: no such file", "--source", tmp_path / "gone.mp4", *to)
    check("text.mp4: not a video that can be read", "--source", tmp_path / "text.mp4", *to)
    check("camera 97: does not open: is it plugged in", "--source", "97", *to)
    check("System Settings > Privacy & Security > Camera", "--source", "97", *to)
    check("without --out: nothing would be seen", *source, "--no-window")
    check("in.mp4: is the source too", *source, "--no-window", "--out", tmp_path / "in.mp4")
    check("new.gif: expected a video's name that ends in .mp4 or .avi", *source, "--no-window", "--out", "new.gif")
    check("folder.mp4: is a folder", *source, "--no-window", "--out", tmp_path / "folder.mp4")
    check("cannot be written", *source, "--no-window", "--out", tmp_path / "text.mp4" / "out.mp4")
    check("moustache", *source, *to, "--overlay", "moustache")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.mp4", "in.mp4", "text.mp4"]

    hint = "without a window: --no-window --out VIDEO.mp4"
    if sys.platform.startswith("linux"):
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.delenv("DISPLAY", raising=False)
        check(f"DISPLAY is not set), so no window can be shown; {hint}", *source)
        monkeypatch.setenv("DISPLAY", ":987")  # where OpenCV's Qt would abort the whole process
        check(f"the screen :987 does not open, so no window can be shown; {hint}", *source)
    monkeypatch.setattr(app.cv2, "currentUIFramework", lambda: "")
    check(f"this OpenCV is the headless one, which opens no windows; {hint}", *source)


# --- the window ---


@pytest.fixture(scope="module")
def screen():
    """A screen that nobody sees: its name for DISPLAY."""
    if not sys.platform.startswith("linux"):
        pytest.skip("window tests use Xvfb, which is for Linux")
    if not cv2.currentUIFramework():
        pytest.skip("this OpenCV is the headless one")
    missing = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]
    if missing:
        told = f"{' and '.join(missing)} not found; `.ci/run` installs them (apt-get install xvfb xdotool)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(told)
    xvfb = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield f":{xvfb.stdout.readline().strip()}"
    xvfb.terminate()
    xvfb.wait()


class Window:
    """`flcourse webcam` in a process of its own, and the keys that are sent to it."""

    def __init__(self, screen, folder, *arguments):
        self.environment = os.environ | {"DISPLAY": screen, "PYTHONUNBUFFERED": "1"}
        self.environment.pop("WAYLAND_DISPLAY", None)
        command = [sys.executable, "-m", "flcourse", "webcam", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=self.environment, **pipes)
        self.folder = folder
        # The process that only tries the screen opens a window of this name, too: what counts is the one that tells.
        assert "q or Esc quits" in self.process.stdout.readline(), self.process.communicate()
        self.id = self.until(lambda: self.xdotool("search", "--name", "flcourse webcam").split())[0]

    def xdotool(self, *arguments):
        done = subprocess.run(["xdotool", *arguments], capture_output=True, text=True, env=self.environment)
        return done.stdout

    def until(self, what, seconds=60):
        """Waits for `what()` to be true and returns it."""
        end = time.monotonic() + seconds
        while not (answer := what()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "in vain"
            time.sleep(0.05)
        return answer

    def key(self, key):
        self.xdotool("key", "--window", self.id, key)

    def close(self):
        """What a window manager sends when the window's button is clicked: WM_DELETE_WINDOW."""
        xlib, long, pointer = ctypes.CDLL("libX11.so.6"), ctypes.c_long, ctypes.c_void_p  # which xdotool needs, too
        xlib.XOpenDisplay.restype = pointer

        class Message(ctypes.Structure):  # XClientMessageEvent, filled up to the size of an XEvent
            _fields_ = (
                *(("type", ctypes.c_int), ("serial", long), ("sent", ctypes.c_int), ("display", pointer)),
                *(("window", long), ("name", long), ("format", ctypes.c_int), ("data", long * 5), ("rest", long * 24)),
            )

        display = pointer(xlib.XOpenDisplay(self.environment["DISPLAY"].encode()))
        name, delete = (xlib.XInternAtom(display, atom, 0) for atom in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
        message = Message(type=33, window=int(self.id), name=name, format=32, data=(long * 5)(delete))
        xlib.XSendEvent(display, long(int(self.id)), 0, long(0), ctypes.byref(message))
        xlib.XCloseDisplay(display)

    def saved(self, count):
        """Sends `s` and returns the image that it makes, the `count`-th."""
        self.key("s")
        self.until(lambda: len(list(self.folder.glob("flcourse_*.png"))) >= count)
        return read_image(sorted(self.folder.glob("flcourse_*.png"))[count - 1])

    def ended(self):
        try:
            out, error = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        assert self.process.returncode == 0 and "Traceback" not in error, error
        return out


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Half a minute of a face left of the middle: long enough for keys to be pressed."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    (frame,) = film(lambda t: [Pose(x=0.35, side=0.4)], 1, size=SIZE)
    write_video(path, [frame.image] * 900)
    return path, frame


def test_the_window_shows_points_and_obeys_keys(screen, long_video, tmp_path):
    path, frame = long_video
    window = Window(screen, tmp_path, "--source", path, "--out", tmp_path / "out.mp4")
    grab = lambda: np.asarray(ImageGrab.grab(xdisplay=screen).convert("RGB"))  # noqa: E731
    window.until(lambda: np.ptp(grab()) > 200)  # something is drawn on the black screen
    first = window.saved(1)
    assert first.shape == (240, 320, 3)
    eyes = apply(EYES, frame.matrices[0]).round().astype(int)
    for x, y in eyes:  # lines and dots about the eyes
        part = np.s_[y - 8 : y + 9, x - 12 : x + 13]
        assert (np.abs(first[part].astype(int) - frame.image[part]).max(axis=2) > 60).sum() > 20
    window.key("m")
    mirrored = frame.image[:, ::-1].astype(int)
    count = 1
    while True:  # a frame or two later
        count += 1
        second = window.saved(count)
        if np.abs(second - mirrored).mean() < 20:
            break
        assert count < 50, "not mirrored"
    window.key("space")
    time.sleep(0.5)
    paused = [np.asarray(ImageGrab.grab(xdisplay=screen).convert("RGB")) for _ in range(2)]
    assert (paused[0] == paused[1]).all()
    window.key("space")
    window.key("q")
    assert "saved" in window.ended()
    assert 0 < len(read_video(tmp_path / "out.mp4")) < 900


def test_escape_and_the_windows_own_button_quit(screen, long_video, tmp_path):
    window = Window(screen, tmp_path, "--source", long_video[0])
    window.key("Escape")
    window.ended()
    window = Window(screen, tmp_path, "--source", long_video[0])
    window.close()
    window.ended()
    assert list(tmp_path.iterdir()) == []


# --- the keys, without a screen ---


@pytest.fixture
def keys(monkeypatch):
    """A window that nobody sees, and the keys that are pressed in it: number of the frame shown -> key.

    `shown` are the images in it, RGB. No frame waits until it is due.
    """
    pressed, shown = {}, []
    monkeypatch.setattr(app, "check_screen", lambda: None)
    for name in ("namedWindow", "resizeWindow", "destroyWindow"):
        monkeypatch.setattr(app.cv2, name, lambda *_: None)
    monkeypatch.setattr(app.cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(app.cv2, "imshow", lambda _, image: shown.append(image[..., ::-1]))
    monkeypatch.setattr(app.cv2, "waitKey", lambda _: ord(pressed.get(len(shown), "\0")))
    return SimpleNamespace(pressed=pressed, shown=shown)


def test_a_mirror_that_is_turned_is_another_video_for_the_overlay_too(landmarker, keys):
    """A head turned to one side for long is the driver's road; mirrored, it would be turned away from that."""
    head = draw_face(3, 240, expression=Expression(), yaw=24, pitch=0, roll=0, plain=True).image
    frames = [(np.pad(head, ((0, 0), (40, 40), (0, 0)), "edge"), at / 9) for at in range(190)]
    keys.pressed[160] = "m"
    webcam(landmarker, frames, overlay="attention")
    assert len(keys.shown) == len(frames)
    assert (keys.shown[-1][:, ::-1].astype(int) - frames[0][0]).__abs__().mean() < 60  # it was mirrored
    warned = [bool((image[1, :100] == VERMILION).all()) for image in keys.shown]
    assert not any(warned), f"told to look at the road in {sum(warned)} frames, from frame {warned.index(True)} on"


def test_keys_change_the_overlay_and_help_is_shown(landmarker, moving, keys):
    frames = [frame.image for frame in moving] * 2
    before = [frame.copy() for frame in frames]
    keys.pressed |= {2: "o", 4: "3", 6: "7", 8: "o", 10: "9", 14: "h", 18: "h"}
    webcam(landmarker, frames)
    assert all((a == b).all() for a, b in zip(frames, before, strict=True))  # the caller's own
    drawn = []
    for number, (image, frame) in enumerate(zip(keys.shown, frames, strict=True), start=1):
        part = np.s_[60:, :]  # below the frames/s
        drawn.append(int((np.abs(image[part].astype(int) - frame[part]).max(axis=2) > 40).sum()))
        dark = (image[4:236, 4:60] == 0).all(axis=2).mean()
        assert (dark > 0.3) == (14 < number <= 18), number  # the lines of help
    # Points, attention, expression, aligned: each paints another part of the image.
    assert len({count // 200 for count in (drawn[1], drawn[3], drawn[5], drawn[7])}) == 4, drawn


def test_the_overlay_that_is_drawn_follows_the_keys(landmarker, moving, keys, monkeypatch):
    chosen, choose = [], app.LiveLoop.choose
    monkeypatch.setattr(app.LiveLoop, "choose", lambda loop, name: (choose(loop, name), chosen.append(name)))
    keys.pressed |= {2: "o", 4: "3", 6: "7", 8: "o", 9: "O"}
    webcam(landmarker, [frame.image for frame in moving], overlay="mask")
    assert chosen == ["mask", "aligned", "expression", "aligned", "points", "attention"]
