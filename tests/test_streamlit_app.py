"""The page of `flcourse app`: quickly without a browser, then once in a real one, with a camera and no disk."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
import zlib
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import websockets
from browser import browser, expect
from PIL import Image
from skimage import data
from streamlit.testing.v1 import AppTest
from websockets.sync.client import connect

from flcourse import files
from flcourse.apps import app as command
from flcourse.apps import streamlit_app
from flcourse.apps.cli import main
from flcourse.apps.results import find
from flcourse.apps.streamlit_app import detectors_here, load, pts_files
from flcourse.errors import CourseError
from flcourse.face.detector_files import SSD8_NET, SSD8_WEIGHTS, SSD_NET, SSD_WEIGHTS, YUNET
from flcourse.face.landmarker import FaceLandmarker
from flcourse.images import MEGAPIXELS, decode_image

START = 120  # seconds at most, on a busy machine: the server, then the first page


def encoded(image, form="PNG", orientation=1, **options):
    """An image as a file's bytes, stored turned as a phone held upright stores it where `orientation` is 6."""
    image, exif = Image.fromarray(image), Image.Exif()
    exif[0x112] = orientation
    if orientation == 6:
        image = image.transpose(Image.Transpose.ROTATE_90)
    file = io.BytesIO()
    image.save(file, form, exif=exif, **options)
    return file.getvalue()


def near(found, faces, within=0.05):
    """Whether the faces of a result's JSON are these faces."""
    points = [face["points"] for face in found["faces"]]
    return len(points) == len(faces) and all(
        np.abs(np.subtract(ours, face.points)).max() < within for ours, face in zip(points, faces, strict=True)
    )


@pytest.fixture
def no_models(monkeypatch, tmp_path):
    """A machine whose one data folder, which this is, holds no detector yet."""
    monkeypatch.setattr(files, "data_folders", lambda: [tmp_path])
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


# --- what the page is made of ---


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], ["course", "haar"]),
        ([YUNET], ["course", "yunet", "haar"]),
        ([SSD_WEIGHTS, SSD_NET], ["course", "ssd", "haar"]),
        ([SSD8_WEIGHTS, SSD8_NET, YUNET], ["course", "ssd", "yunet", "haar"]),
        ([SSD_WEIGHTS, SSD8_WEIGHTS, SSD8_NET], ["course", "haar"]),  # open_detector would fetch the missing one
        ([SSD8_WEIGHTS, SSD_NET], ["course", "haar"]),
    ],
)
def test_only_detectors_whose_files_are_here_are_offered(no_models, there, expected):
    for file in there:
        (no_models / file.name).touch()
    assert detectors_here() == expected


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP"])
def test_phone_photos_come_upright(form):
    image = data.astronaut()[:300]
    quality = {"JPEG": {"quality": 95}, "PNG": {}, "WebP": {"lossless": True}}[form]
    upright = load(encoded(image, form, orientation=6, **quality), "phone")
    assert upright.shape == image.shape and np.abs(upright.astype(int) - image).mean() < 3


def bomb(width, height):
    """A PNG of few kilobytes that says it is so large; its header is all there is."""
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    raw = bytearray(file.getvalue())
    raw[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    return bytes(raw)


BAD = {
    "empty.png": (b"", "the file is empty"),
    "text.jpg": (b"no image at all", "not a PNG, JPEG or WebP"),
    "cut.png": (encoded(data.astronaut())[:40], "damaged|not an image"),
    "other.webp": (encoded(data.astronaut(), "TIFF"), "not a PNG, JPEG or WebP"),
    "large.png": (bomb(9000, 8000), f"9000 x 8000 px, 72 megapixels, expected at most {MEGAPIXELS:g}"),
    "huge.png": (bomb(40_000, 40_000), f"40000 x 40000 px, 1,600 megapixels, expected at most {MEGAPIXELS:g}"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_uploads_are_one_clear_line(name):
    content, message = BAD[name]
    with pytest.raises(CourseError, match=message) as error:
        load(content, name)
    assert str(error.value).startswith(f"{name}: ") and "\n" not in str(error.value)


def test_images_at_the_limit_are_taken(monkeypatch):
    monkeypatch.setenv("FLCOURSE_MEGAPIXELS", "0.01")
    assert load(encoded(np.zeros((100, 100, 3), np.uint8)), "x").shape == (100, 100, 3)
    with pytest.raises(CourseError, match=r"x: 101 x 100 px, 0 megapixels, expected at most 0.01"):
        load(encoded(np.zeros((100, 101, 3), np.uint8)), "x")


def test_names_are_no_markdown_and_no_path():
    assert streamlit_app.plain("my_*photo*[1].png") == r"my\_\*photo\*\[1\].png"
    assert [streamlit_app.stem(name) for name in ("C:\\a\\b.png", "../b.c.png", "")] == ["b", "b.c", "image"]


# --- the page without a browser ---


def script():
    from flcourse.apps.streamlit_app import page

    page()


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """AppTest puts its script in the place of `__main__`, which processes that later tests spawn would then run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def app(no_models):
    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception and not app.error
    return app


def upload(app, **images):
    mime = "image/png"
    app.file_uploader[0].set_value([(f"{name}.png", content, mime) for name, content in images.items()])
    app.run()
    assert not app.exception
    return app


def found(app):
    return app.session_state["latest"]["found"][1]


def test_an_upload_gives_the_landmarkers_points(app):
    upload(app, astronaut=encoded(data.astronaut()))
    [face] = FaceLandmarker()(data.astronaut())
    [ours] = found(app).faces
    assert np.abs(ours.points - face.points).max() < 0.05
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Confidence"] == f"{face.confidence:.2f}" and figures["Detector's score"] == f"{face.score:.2f}"
    assert any("smile" in caption.value for caption in app.caption)
    assert [b.label for b in app.download_button] == ["Image (PNG)", "Points (JSON)", "Points (.pts)"]


def test_what_is_drawn_changes_without_finding_again_and_the_threshold_finds_again(app):
    upload(app, astronaut=encoded(data.astronaut()))
    first = found(app)
    for toggle in app.toggle:
        toggle.set_value(False)
    assert found(app.run()) is first
    app.slider[0].set_value(0.95)
    assert found(app.run()) is not first and not app.exception


def test_several_images_several_faces_one_broken(app):
    astronaut = data.astronaut()
    two = encoded(np.concatenate([astronaut, astronaut[:, ::-1]], axis=1))
    upload(app, none=encoded(data.coffee()), broken=b"x", two=two)
    assert app.selectbox[0].value == 2 and len(found(app).faces) == 2  # the last is looked at
    assert "Points (.pts, zip)" in [b.label for b in app.download_button]
    assert list(pts_files(found(app), "two")) == ["two_face1.pts", "two_face2.pts"]
    app.selectbox[0].set_value(1).run()
    assert [b.label for b in app.download_button] == ["All 3 images with their points (zip)"]
    assert len(app.error) == 1 and app.error[0].value.startswith("broken.png\\: damaged")
    app.selectbox[0].set_value(0).run()
    assert "found no face" in app.warning[0].value and "threshold" in app.warning[0].value
    assert not app.metric and not app.exception


def test_ten_images_are_ten_tiles_and_what_is_known_is_not_looked_at_again(app, monkeypatch):
    looked = []
    monkeypatch.setattr(streamlit_app, "find", lambda *a: looked.append(a[2]) or find(*a))
    astronaut = encoded(cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA))
    brick = encoded(np.repeat(data.brick()[..., None], 3, axis=2))
    images = {f"eileen_{i}": astronaut for i in range(7)} | {"bricks": brick, "broken": b"x", "last": astronaut}
    upload(app, **images)
    captions = [caption.value for caption in app.main.caption]
    names = [text.strip("*").replace("\\", "") for text in captions if text.startswith("**")]
    assert names == [f"{name}.png" for name in images]
    states = [
        text for text in captions if text.startswith((":material/check", ":material/search_off", ":material/error"))
    ]
    words = [text.partition(" ")[2].replace("\\", "") for text in states]
    assert len(words) == 10 and "waiting" not in " ".join(captions)
    assert all(re.fullmatch(r"1 face, confidence 0\.\d\d", text) for text in (*words[:7], words[9]))
    assert words[7] == "No face" and words[8].startswith("damaged, or not a PNG")
    assert len(looked) == 9  # the chosen one once, not again for its tile; the broken one never
    app.toggle[0].set_value(False).run()
    app.selectbox[0].set_value(0).run()
    assert len(looked) == 10 and looked[-1] == "eileen_0.png"  # now large, so at its own size


def test_the_formats_are_one_list(app):
    [uploader] = app.file_uploader
    listed = re.search(r": (.*?); up to", uploader.label)[1].lower().split(", ")
    assert sorted(listed) == sorted(suffix.strip(".") for suffix in uploader.proto.type)


def test_other_detectors_and_how_to_get_them_are_named(app):
    assert app.sidebar.radio[0].options == ["The course's", "Haar cascade"]
    assert "SSD (res10) and YuNet" in app.sidebar.caption[0].value
    assert app.sidebar.code[0].value == "flcourse data detectors"


def test_a_damaged_detector_is_one_message(no_models):
    (no_models / YUNET.name).write_bytes(b"half a download")
    app = AppTest.from_function(script, default_timeout=60).run()
    app.sidebar.radio[0].set_value("yunet").run()
    assert (
        not app.exception
        and "damaged" in app.error[0].value
        and "flcourse data detectors" in app.error[0].value.replace("\\", "")
    )


# --- the command ---


def test_the_command_says_what_is_wrong(monkeypatch, capsys, tmp_path):
    def refused(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["app", *map(str, arguments)])
        error = capsys.readouterr().err
        assert end.value.code == 2 and error.count("\n") == 1
        return error

    with socket.socket() as taken:
        taken.bind((command.ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: taken" in refused("--port", port)
    assert "expected 1 to 65535" in refused("--port", 99999)
    assert "nowhere.onnx" in refused("--weights", tmp_path / "nowhere.onnx")
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert 'pip install ".[app]"' in refused()


def test_without_a_wish_the_next_free_port_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind((command.ADDRESS, 0))
        taken.listen()
        monkeypatch.setattr(command, "PORT", taken.getsockname()[1])
        assert command.choose_port(None) > command.PORT
        monkeypatch.setattr(command, "TRIES", 1)
        with pytest.raises(CourseError, match="all taken"):
            command.choose_port(None)


# --- in a real browser ---

# `flcourse app` in a process that cannot write a byte to any file: what the page promises. Windows cannot be told so.
SERVER = """
import atexit, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
except ImportError:
    pass
atexit.register(lambda: print("torch" in sys.modules, "torch imported"))
from flcourse.apps.cli import main
main(sys.argv[1:])
"""


@contextlib.contextmanager
def served(home):
    """`flcourse app` on a free port: yields its address and the process."""
    with socket.socket() as free:
        free.bind((command.ADDRESS, 0))
        port = free.getsockname()[1]
    server_command = [sys.executable, "-c", SERVER, "app", "--port", str(port), "--no-browser"]
    environment = os.environ | {"HOME": str(home), "USERPROFILE": str(home)}
    server = subprocess.Popen(
        server_command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    try:
        end = time.monotonic() + START
        while time.monotonic() < end and server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((command.ADDRESS, port), timeout=5):
                break
            time.sleep(0.1)
        else:
            server.kill()
            pytest.fail(f"flcourse app did not start within {START} s:\n{server.communicate()[0]}")
        yield f"http://{command.ADDRESS}:{port}", server
    finally:
        server.kill()


def answer(port, host, origin=None, path=""):
    """How the server takes a websocket to this machine's `port` that calls it `host`: "open", or the refusal's status.

    What a browser sends of a page whose name leads to 127.0.0.1.
    """
    try:
        address = f"ws://{host}{path}/_stcore/stream"
        with connect(address, address=(command.ADDRESS, port), origin=origin, open_timeout=60, proxy=None):
            return "open"
    except websockets.exceptions.InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize("base", ["", "/faces/of"])
def test_only_the_machines_own_page_is_let_in(tmp_path, base):
    settings = tmp_path / ".streamlit" / "config.toml"
    settings.parent.mkdir()
    settings.write_text(f'[server]\nbaseUrlPath = "{base}/"\n')
    with served(tmp_path) as (url, server):
        port = urlsplit(url).port
        here, rebound = f"{command.ADDRESS}:{port}", f"stranger.example:{port}"
        cases = [
            (here, f"http://{here}", "open"),
            (f"localhost:{port}", f"http://localhost:{port}", "open"),
            (here, None, "open"),  # no browser
            (here, "http://stranger.example", 403),
            (here, "null", 403),  # a page from a file, or in a sandbox
            (here, f"http://{command.ADDRESS}:{port + 1}", 403),  # another server of this machine
            (here, f"http://localhost:{port}", 403),
            (rebound, f"http://{rebound}", 403),  # DNS rebinding: of the same origin, as the browser sees it
            (f"{command.ADDRESS}.stranger.example:{port}", None, 403),
            (f"localhost.stranger.example:{port}", None, 403),
        ]
        assert [(host, origin, answer(port, host, origin, base)) for host, origin, _ in cases] == cases
        for host, status in ((here, 200), (rebound, 403)):
            connection = http.client.HTTPConnection(command.ADDRESS, port, timeout=60)
            connection.request("GET", f"{base}/", headers={"Host": host})
            assert connection.getresponse().status == status
            connection.close()
        if os.name == "posix":
            server.send_signal(signal.SIGINT)
            output = server.communicate(timeout=60)[0]
            assert f"The app is on {url}{base}, for this machine alone" in output and server.returncode == 0


def shown(page, text):
    """Wait until this text is on the page and Streamlit has run to its end."""
    expect(page.get_by_text(text)).to_be_visible(timeout=30_000)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=30_000)


def save(page, label):
    """What a click on a download button gives: the file's name and its bytes."""
    with page.expect_download() as download:
        page.get_by_role("button", name=label, exact=True).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


@pytest.mark.browser
def test_camera_and_uploads_in_chromium(tmp_path):
    camera, home = tmp_path / "camera.mjpeg", tmp_path / "home"
    home.mkdir()
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, 80:560] = cv2.resize(data.astronaut()[:300, 74:374], (480, 480))
    camera.write_bytes(encoded(frame, "JPEG", quality=95))  # one image, again and again
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with served(home) as (url, server), browser(*flags, f"--use-file-for-fake-video-capture={camera}") as chromium:
        page = chromium.new_page()
        page.set_default_timeout(30_000)
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url, timeout=START * 1000)
        files = page.locator("input[type=file]")
        files.wait_for(state="attached", timeout=START * 1000)
        landmarker = FaceLandmarker(detector=detectors_here()[0])

        # An upload of more than the megabyte that servers like to pass through a file.
        large = encoded(cv2.resize(data.astronaut(), (1024, 1024), interpolation=cv2.INTER_CUBIC))
        assert len(large) > 1.2e6
        files.set_input_files({"name": "eileen.png", "mimeType": "image/png", "buffer": large})
        shown(page, "1 face in eileen.png, 1024 × 1024 px")
        name, content = save(page, "Points (JSON)")
        result = json.loads(content)
        assert (name, result["image"], result["width"]) == ("eileen_faces.json", "eileen.png", 1024)
        assert near(result, landmarker(decode_image(large, "")))

        # A phone's photograph, stored on its side.
        phone = encoded(data.astronaut()[:280, 74:374], "JPEG", orientation=6, quality=95)
        files.set_input_files({"name": "phone.jpg", "mimeType": "image/jpeg", "buffer": phone})
        shown(page, "1 face in phone.jpg, 300 × 280 px")
        name, content = save(page, "Points (.pts)")
        points = np.loadtxt(content.decode().splitlines()[3:-1]) - 1
        [face] = landmarker(decode_image(phone, ""))
        assert name == "phone_face1.pts" and np.abs(points - face.points).max() < 0.05

        # No image: one line. The others are not lost.
        files.set_input_files({"name": "broken.png", "mimeType": "image/png", "buffer": b"broken"})
        shown(page, "broken.png: damaged, or not a PNG")
        name, content = save(page, "All 3 images with their points (zip)")
        packed = zipfile.ZipFile(io.BytesIO(content))
        assert {"eileen_faces.png", "phone_faces.json", "phone_face1.pts", "broken_error.txt"} <= set(packed.namelist())

        # The camera: the points are those of the shot, which is what the PNG holds with nothing drawn on it.
        page.get_by_text("Camera", exact=True).click()
        take = page.get_by_role("button", name="Take Photo")
        take.wait_for()
        # The button is there before the camera's first images: a shot at once, as on a busy machine, is black.
        page.wait_for_function("document.querySelector('video')?.currentTime > 0.5")
        take.click()
        shown(page, "1 face in camera.jpg")
        assert not page.get_by_test_id("stCameraInput").count()  # which would show the shot a second time
        for what in ("boxes", "points", "confidence"):
            page.get_by_text(f"Draw {what}", exact=True).click()
        page.wait_for_timeout(500)  # the last toggle's run has begun
        shown(page, "1 face in camera.jpg")
        drawn = json.loads(save(page, "Points (JSON)")[1])
        shot = decode_image(save(page, "Image (PNG)")[1], "shot")
        assert shot.shape[:2] == (drawn["height"], drawn["width"])
        assert near(drawn, landmarker(shot)) and drawn["faces"][0]["confidence"] > 0.9

        assert {urlsplit(address).hostname for address in asked if not address.startswith(("data:", "blob:"))} == {
            command.ADDRESS
        }
        assert not said
        if os.name == "posix":
            server.send_signal(signal.SIGINT)  # Ctrl-C
            output = server.communicate(timeout=60)[0]
            assert server.returncode == 0 and "Traceback" not in output
            assert "False torch imported" in output
            assert not list(home.rglob("*"))
