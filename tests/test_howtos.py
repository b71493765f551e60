"""The how-tos in docs/ do what they say: their own blocks of code are run, as a reader would run them."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from flcourse.apps.cli import main
from flcourse.data.drawn_faces import draw_face
from flcourse.data.imglab import read_imglab
from flcourse.data.videos import Pose, film
from flcourse.face.landmark_network import shipped_weights
from flcourse.face.landmarker import FaceLandmarker
from flcourse.images import read_image, write_image

DOCS = Path(__file__).resolve().parents[1] / "docs"
# In the place of a window, which not every machine has: keeps what is shown, and presses q at the third image.
WINDOW = """
import cv2, numpy, runpy, sys
shown = []
cv2.imshow = lambda title, image: shown.append(image.copy())
cv2.waitKey = lambda wait: ord("q") if len(shown) == 3 else -1
runpy.run_path(sys.argv.pop(1), run_name="__main__")
numpy.save("frames.npy", shown)
"""


def blocks(page, language=""):
    """The code blocks of a page in one language; "" are commands."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for fence, block in found if fence == language]


def commands(page):
    """The lines of a page's command blocks."""
    return [line for block in blocks(page) for line in block.splitlines()]


def python(cwd, *args, **environment):
    env = os.environ | {"PYTHONUTF8": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-P", *map(str, args)], cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def course(tmp_path, monkeypatch, capsys):
    """Runs `python3 course.py run ...` of a page in `tmp_path`, where everything is set up: what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(line, *more):
        start, _, arguments = line.partition(" run ")
        assert start == "python3 course.py"
        capsys.readouterr()
        main([*arguments.split(), *more])
        return capsys.readouterr().out

    return run


@pytest.fixture
def astronaut(tmp_path):
    write_image(tmp_path / "photo.jpg", data.astronaut())
    return tmp_path / "photo.jpg"


def test_photos(tmp_path, astronaut, course):
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    shutil.copy(astronaut, holiday / "beach.jpg")
    for command in commands("photos.md"):
        course(command)
    written = {path.name for path in (tmp_path / "points").iterdir() if not path.name.startswith(".")}
    assert written == {"beach_faces.png", "beach_faces.json", "beach_face1.pts"}
    [face] = json.loads((tmp_path / "points" / "beach_faces.json").read_text())["faces"]
    assert {"confidence", "box", "points"} <= set(face) and np.shape(face["points"]) == (68, 2)
    [code] = blocks("photos.md", "python")
    said = python(tmp_path, "-c", code)
    assert re.fullmatch(r"beach\.jpg, face 1: \d\d px between the eyes\n", said)
    assert read_image(tmp_path / "beach_1.png").shape == (256, 256, 3)


def test_own_overlay(tmp_path):
    [code] = blocks("own_overlay.md", "python")
    assert len([line for line in code.splitlines() if line]) <= 20  # as the page says
    (tmp_path / "clown.py").write_text(code, encoding="utf-8")
    frames = [frame.image for frame in film(lambda time: [Pose(x=0.3)], 4)]
    video = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for frame in frames:
        video.write(frame[..., ::-1])
    video.release()
    python(tmp_path, "-c", WINDOW, "clown.py", "video.avi")
    shown = np.load(tmp_path / "frames.npy")
    assert len(shown) == 3  # q ended it
    [face] = FaceLandmarker()(frames[0])
    x, y = face.points[30].round().astype(int)
    assert np.abs(shown[0][y, 639 - x].astype(int) - (40, 30, 220)).max() < 10  # BGR, mirrored
    assert np.abs(shown[0][y, x].astype(int) - (40, 30, 220)).max() > 50


@pytest.mark.slow
def test_fine_tune(tmp_path, astronaut, course, monkeypatch):
    folder = tmp_path / "my_notebooks"
    folder.mkdir()
    annotate, save = blocks("fine_tune.md", "python")
    with monkeypatch.context() as there:
        there.chdir(folder)
        for number in range(14):
            write_image(Path(f"photo_{number}.jpg"), draw_face(number, 160).image)
            code = annotate.replace("me_01", f"photo_{number}") + save
            exec(code if number < 10 else code.replace("my_faces", "my_test"), {})
    assert [len(read_imglab(tmp_path / "data" / f"my_{name}.xml")) for name in ("faces", "test")] == [10, 4]
    train, before, after, export, detect, webcam = commands("fine_tune.md")
    course(train, "--epochs", "1")
    for evaluate in (before, after):
        assert json.loads(course(evaluate, "--json"))["faces"] == 4
    course(export)
    assert "1 face" in course(detect)
    assert webcam.replace("webcam", "detect photo.jpg") == detect  # the same network, which needs a camera here


def test_onnx_in_another_program(tmp_path, astronaut):
    [code] = blocks("onnx.md", "python")
    assert "flcourse" not in code and len([line for line in code.splitlines() if line]) <= 25  # as the page says
    (tmp_path / "points.py").write_text(code + "np.save('points.npy', [landmarks(grey, 224.5, 126.5, 92)])\n")
    shutil.copy(shipped_weights()["xception"], tmp_path)
    [command] = commands("onnx.md")
    start, *arguments = command.split()
    assert start == "python"
    python(tmp_path, *arguments, ORT_DISABLE_TELEMETRY="1")
    drawn = read_image(tmp_path / "points.png").astype(int)
    image = read_image(astronaut)
    [face] = FaceLandmarker("xception")(image)
    for x, y in face.points[27:68].round().astype(int):  # green is near
        patch = drawn[y - 2 : y + 3, x - 2 : x + 3]
        assert (patch[..., 1] - patch[..., 0]).max() > 100
    theirs = np.load(tmp_path / "points.npy")[0]
    [ours] = FaceLandmarker("xception", detector=None).at(image, [(179, 81, 92, 92)])
    assert np.abs(theirs - ours.points).max() < 0.25  # px: 0.4 % of the eye distance


# --- the app through a tunnel ---


def tunnel(target):
    """A port of this machine whose bytes go to port `target`, as `ssh -L` does it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", target))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.slow
def test_lan(tmp_path):
    app, ssh = commands("lan.md")
    port = int(app.split()[-1])
    assert f"-L {port}:127.0.0.1:{port} " in ssh
    with socket.create_server(("127.0.0.1", 0)) as free:
        mine = free.getsockname()[1]
    arguments = app.partition(" run ")[2].replace(str(port), str(mine)).split()
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "flcourse", *arguments], env=os.environ | home, stdout=subprocess.PIPE, text=True
    )

    def status(at, host):
        connection = http.client.HTTPConnection("127.0.0.1", at, timeout=60)
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status

    try:
        assert f"127.0.0.1:{mine}" in server.stdout.readline()
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", mine), timeout=5):
                break
            time.sleep(0.1)
        with tunnel(mine) as listener:
            end = listener.getsockname()[1]
            assert status(end, f"127.0.0.1:{end}") == status(end, f"localhost:{end}") == 200
            assert status(end, "192.168.1.20:8501") == status(end, "faces.example") == 403
        for *_, address in socket.getaddrinfo(socket.gethostname(), mine, socket.AF_INET, socket.SOCK_STREAM):
            if not address[0].startswith("127."):
                with pytest.raises(OSError):
                    socket.create_connection(address, timeout=5)
    finally:
        server.kill()
