"""Kills a process (SIGKILL) at moments spread evenly over what it does, and looks at what it leaves. POSIX only.

Run as a script of its own, so that the forks have no threads; prints a line for each action. A moment is a number of
calls to the system, so that kills fall before, between and after writes, waits for the disk and renames alike.
"""

import hashlib
import http.server
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tqdm.auto  # noqa: F401 (imported late, and no moment worth a kill)
from skimage import data
from test_files import CONTENT, SHA256, Handler
from test_ibug_archive import TEST_XML, TRAIN_XML, make_tar, read_set
from toys import template

from flcourse import files
from flcourse.apps import detect, results  # noqa: F401 (imported late, too)
from flcourse.apps.cli import main
from flcourse.apps.outputs import Ledger
from flcourse.data import datasets, ibug_archive
from flcourse.data.drawn_faces import draw_face
from flcourse.data.imglab import Face, read_imglab, write_imglab
from flcourse.download import download
from flcourse.images import read_image, write_image
from flcourse.points import Box

MOMENTS = 10


def run(action: Callable[[], object], until: int = 0) -> tuple[int, int]:
    """Do it in a process of its own, killed before call number `until`; its signal or exit status, and how many."""
    reader, writer = os.pipe()
    if (process := os.fork()) == 0:
        calls, status = 0, 1

        def count(_frame: object, event: str, called: object) -> None:
            nonlocal calls
            home = getattr(called, "__module__", None) or type(getattr(called, "__self__", None)).__module__
            calls += event == "c_call" and home in ("posix", "fcntl", "_io")
            if until and calls == until:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            sys.setprofile(count)
            action()
            sys.setprofile(None)
            status = 0
        finally:
            os.write(writer, str(calls).encode())
            os._exit(status)
    os.close(writer)
    _, status = os.waitpid(process, 0)
    with open(reader, "rb") as told:
        return os.waitstatus_to_exitcode(status), int(told.read() or 0)


def try_kills(
    name: str, action: Callable[[], object], whole: Callable[[], bool], sound: Callable[[], bool], folder: Path
):
    """`whole` says whether all is there and nothing else, `sound` whether nothing is broken, be it missing."""
    reset(folder)
    status, calls = run(action)
    assert status == 0 and whole(), f"{name}: {status}, {os.listdir(folder)}"
    killed = rubbish = 0
    for moment in range(MOMENTS):
        reset(folder)
        status, _ = run(action, until=1 + calls * (2 * moment + 1) // (2 * MOMENTS))
        killed += status == -signal.SIGKILL
        assert sound(), f"{name}, moment {moment}: {os.listdir(folder)}"
        rubbish += any(".part" in path.name for path in folder.rglob("*"))
        status, _ = run(action)
        assert status == 0 and whole(), f"{name}, moment {moment}: {status}, {os.listdir(folder)}"
    print(f"{name}: {killed} of {MOMENTS} killed, {rubbish} left parts, all recovered and removed")


def reset(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def try_all(top: Path) -> None:
    draw_face(0)  # what a process imports and makes once is no moment worth a kill
    folder = top / "data"
    folder.mkdir()
    for module in (files, ibug_archive, datasets):
        module.data_folders = lambda: [folder]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    if (serving := os.fork()) == 0:
        server.serve_forever()
    os.environ.pop("FLCOURSE_OFFLINE", None)
    os.environ["no_proxy"] = "127.0.0.1"
    url, target = f"http://127.0.0.1:{server.server_address[1]}/cut", folder / "file"
    try:
        try_kills(
            "download",
            lambda: download(url, target, sha256=SHA256),
            lambda: os.listdir(folder) == ["file"] and target.read_bytes() == CONTENT,
            lambda: not target.exists() or hashlib.sha256(target.read_bytes()).hexdigest() == SHA256,
            folder,
        )
    finally:
        os.kill(serving, signal.SIGKILL)
        os.waitpid(serving, 0)
        server.server_close()
    os.environ["FLCOURSE_OFFLINE"] = "1"

    image = cv2.imencode(".jpg", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
    points = (template() * 20 + 20).astype(np.float32)
    contents = {}
    for xml, names in ((TRAIN_XML, [f"afw/{i}_1.jpg" for i in range(20)]), (TEST_XML, ["ibug/1_1.jpg"])):
        write_imglab(top / xml, [Face(top / name, name, Box(5, 5, 30, 30), points) for name in names])
        contents |= {xml: (top / xml).read_bytes(), **dict.fromkeys(names, image)}
    archive = make_tar(top / "archive.tar.gz", contents)
    unpacked = folder / ibug_archive.FOLDER
    try_kills(
        "extraction",
        lambda: ibug_archive.fetch_ibug(archive),
        lambda: os.listdir(folder) == [unpacked.name] and read_set(unpacked) == contents,
        lambda: archive.exists() and (not unpacked.exists() or read_set(unpacked) == contents),
        folder,
    )

    faces = [Face(top / f"{i}.png", f"{i}.png", Box(5, 5, 30, 30), points) for i in range(5)]
    labels = folder / "labels.xml"
    try_kills(
        "labels",
        lambda: [write_imglab(labels, faces[: n + 1]) for n in range(5)],
        lambda: os.listdir(folder) == ["labels.xml"] and len(read_imglab(labels)) == 5,
        lambda: not labels.exists() or 1 <= len(read_imglab(labels)) <= 5,
        folder,
    )

    drawn = folder / "drawn_faces_2"
    try_kills(
        "drawn faces",
        lambda: datasets.fetch_drawn_faces(2),
        lambda: len(list(drawn.rglob("*"))) == 7 and all(len(read_imglab(xml)) for xml in drawn.glob("*.xml")),
        lambda: not (drawn / "labels_drawn_train.xml").exists() or (drawn / "labels_drawn_test.xml").exists(),
        folder,
    )

    photos, names = top / "photos", ["a", "b", "c"]
    for name in names:
        write_image(photos / f"{name}.png", data.astronaut()[:256, 100:356])
    expected = {f"{name}_faces.{kind}" for name in names for kind in ("png", "json")} | {Ledger.NAME}
    try_kills(
        "detect",
        lambda: main(["detect", str(photos), "--out", str(folder), "--json"]),
        lambda: set(os.listdir(folder)) == expected and all(map(is_result, folder.glob("[!.]*"))),
        lambda: all(map(is_result, folder.glob("[!.]*"))),
        folder,
    )


def is_result(path: Path) -> bool:
    return bool(json.loads(path.read_text())) if path.suffix == ".json" else read_image(path).shape == (256, 256, 3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as top:
        try_all(Path(top))
