"""The iBUG archive: fetched, unpacked and refused, with small archives made here and served on this machine."""

import errno
import gzip
import http.server
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from loopback import serving
from toys import template

from flcourse import files
from flcourse.data import ibug_archive
from flcourse.data.ibug_archive import FOLDER, LICENCE, fetch_ibug
from flcourse.data.imglab import Face, read_imglab, write_imglab
from flcourse.errors import CourseError
from flcourse.points import Box

TRAIN, TEST = 6, 3  # faces
TRAIN_XML, TEST_XML = (f"labels_ibug_300W_{part}.xml" for part in ("train", "test"))
ARCHIVE = f"{FOLDER}.tar.gz"


@pytest.fixture(scope="session")
def contents(tmp_path_factory) -> dict[str, bytes]:
    """A whole small set: file name -> bytes."""
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    points = (template() * 20 + 20).astype(np.float32)
    contents = {"image_metadata_stylesheet.xsl": b"<xsl/>"}
    for xml, names in (
        (TRAIN_XML, [f"afw/{i}_1.jpg" for i in range(TRAIN)]),
        (TEST_XML, [f"ibug/image_{i} _01.jpg" for i in range(TEST)]),  # the real set has a name with a space, too
    ):
        write_imglab(folder / xml, [Face(folder / name, name, Box(5, 5, 30, 30), points) for name in names])
        contents[xml] = (folder / xml).read_bytes()
        for name in names:
            contents[name] = cv2.imencode(".jpg", rng.integers(0, 256, (40, 40, 3), np.uint8))[1].tobytes()
    return contents


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The only data folder, empty, and a stand-in for the official counts."""
    folder = tmp_path / "data"
    folder.mkdir()
    for module in (files, ibug_archive):
        monkeypatch.setattr(module, "data_folders", lambda: [folder])
    monkeypatch.setattr(ibug_archive, "OFFICIAL", (TRAIN, TEST))
    return folder


def entry(name: str, **fields) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def make_tar(path: Path, contents: dict[str, bytes], top: str = f"{FOLDER}/", extra=(), mode: str = "w:gz") -> Path:
    """`extra` members come first, as they are."""
    with tarfile.open(path, mode) as archive:
        for info in extra:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        if top:
            archive.addfile(entry(top, type=tarfile.DIRTYPE, mode=0o755))
        for name, content in contents.items():
            archive.addfile(entry(top + name, size=len(content)), io.BytesIO(content))
    return path


def make_zip(path: Path, contents: dict[str, bytes], top: str = f"{FOLDER}/", extra=()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in extra:
            archive.writestr(info, b"evil")
        for name, content in contents.items():
            archive.writestr(top + name, content)
    return path


def write_set(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / FOLDER / name).write_bytes(content)
    return folder / FOLDER


def read_set(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_refused(archive: Path, folder: Path, message: str) -> None:
    """One line that names the archive, and a data folder that is as it was."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(CourseError) as caught:
        fetch_ibug(archive)
    told = str(caught.value)
    assert message in told and told.startswith(f"{archive}: ") and told.endswith("; nothing was put in place"), told
    assert "\n" not in told and "unpacking-" not in told
    assert sorted(folder.rglob("*")) == before
    assert not {"evil", "evil.txt"} & {path.name for path in folder.parent.rglob("*")}


# --- whole ---

FORMS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "dlib's tar.gz": make_tar,
    "unzipped by the browser": lambda path, contents: make_tar(path, contents, mode="w"),
    "tar of .": lambda path, contents: make_tar(path, contents, top="./"),
    "zip": make_zip,
    "Kaggle's nested zip": lambda path, contents: make_zip(path, contents, top=f"{FOLDER}/{FOLDER}/"),
    "zip without a folder": lambda path, contents: make_zip(path, contents, top=""),
    "macOS's zip": lambda path, contents: make_zip(
        path, contents, extra=[f"{FOLDER}/", f"{FOLDER}/afw/", f"__MACOSX/{FOLDER}/._{TRAIN_XML}"]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_the_user_has(folder, contents, tmp_path, capsys, form):
    archive = FORMS[form](tmp_path / "mine", contents)
    assert fetch_ibug(archive) == folder / FOLDER
    assert read_set(folder / FOLDER) == contents
    assert os.listdir(folder) == [FOLDER] and archive.exists()
    assert capsys.readouterr().out == f"iBUG 300-W: {TRAIN} + {TEST} faces\n{LICENCE}\n"
    assert len(read_imglab(folder / FOLDER / TRAIN_XML)) == TRAIN


def test_another_size_is_taken_and_said(folder, contents, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    for module in (files, ibug_archive):
        monkeypatch.setattr(module, "data_folders", lambda: [folder])
    fetch_ibug(make_zip(tmp_path / "mine.zip", contents))
    assert capsys.readouterr().out.startswith("iBUG 300-W: 6 + 3 faces; dlib's packaging has 6,666 + 1,008\n")


def test_a_whole_set_is_left_alone(folder, contents, tmp_path, capsys):
    there = write_set(folder, contents)
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*")}
    assert fetch_ibug() == there  # FLCOURSE_OFFLINE is set here
    assert capsys.readouterr().err == ""
    assert fetch_ibug(make_tar(tmp_path / "mine", contents)) == there
    assert "is whole and stays" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*")} == before


@pytest.mark.parametrize("lacks", [TRAIN_XML, TEST_XML, "afw/3_1.jpg"])
def test_an_incomplete_set_is_named_and_replaced(folder, contents, tmp_path, capsys, lacks):
    there = write_set(folder, contents | {"old": b"old"})
    (there / lacks).unlink()
    bad = make_tar(tmp_path / "bad", {name: content for name, content in contents.items() if name != TEST_XML})
    assert_refused(bad, folder, TEST_XML)
    assert (there / "old").exists()  # only a whole one replaces it
    fetch_ibug(make_tar(tmp_path / "mine", contents))
    told = capsys.readouterr().err
    assert f"{there} is not whole: {lacks}" in told or f"names {lacks}, which is missing or empty" in told
    assert read_set(there) == contents and os.listdir(folder) == [FOLDER]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_an_incomplete_set_behind_a_link_is_not_deleted(folder, contents, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_bytes(b"mine")
    (folder / FOLDER).symlink_to(tmp_path / "elsewhere")
    fetch_ibug(make_tar(tmp_path / "archive", contents))
    assert read_set(folder / FOLDER) == contents and not (folder / FOLDER).is_symlink()
    assert (tmp_path / "elsewhere" / "mine").read_bytes() == b"mine"


def windows_zip(path: Path, contents: dict[str, bytes]) -> Path:
    """As programs on Windows have made them, against the format: backslashes between folders, and folders so named."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"": b"", "afw/": b"", **contents}.items():
            info = zip_entry(f"{FOLDER}/{name}".replace("/", "\\"))
            archive.writestr(info, content)
    return path


MADE_ELSEWHERE = {
    "backslashes": windows_zip,
    "Finder's icon, zip": lambda path, contents: make_zip(path, contents, extra=[zip_entry(f"{FOLDER}/Icon\r")]),
    "Finder's icon, tar": lambda path, contents: make_tar(path, contents, extra=[entry(f"{FOLDER}/Icon\r", size=4)]),
}


@pytest.mark.parametrize("form", MADE_ELSEWHERE)
def test_what_other_systems_make_is_read(folder, contents, tmp_path, form):
    fetch_ibug(MADE_ELSEWHERE[form](tmp_path / "mine", contents))
    assert read_set(folder / FOLDER) == contents


# --- unsafe ---

LINK = stat.S_IFLNK | 0o777
UNSAFE_NAMES = (
    "../evil",
    "a/../../evil",
    "/evil",
    "C:/evil",
    "C:evil",
    "a\\..\\evil",
    "a/nul.txt",
    "a/evil.",
    "a/e\tvil",
    # Windows' reserved names, complete
    *(
        "a/CON",
        "prn.jpg",
        "aux",
        "a/NUL .txt",
        "nul  ",
        "COM1.jpg",
        "com\u00b9",
        "LPT\u00b2.x",
        "lpt9",
        "CONIN$",
        "conout$.txt",
    ),
    *("a/x:stream", "a/what?.jpg", 'a/"', "a/b|c", "a/<x>", "a/*"),
    # what a terminal or a reader would take for something else
    *("a/\u202egpj.exe", "a/\u2066x", "a/\x1b[31m", "a/\x9b31m", "a/\u2028x"),
)


def zip_entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename, info.external_attr = name, mode << 16  # the constructor would mend the name
    return info


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_names(folder, contents, tmp_path, name):
    message = f"the name {name!r} is not safe"
    assert_refused(make_tar(tmp_path / "bad", contents, extra=[entry(name, size=4)]), folder, message)
    assert_refused(make_zip(tmp_path / "bad", contents, extra=[zip_entry(name)]), folder, message)


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        (entry("a/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "symbolic link"),
        (entry("a/link", type=tarfile.LNKTYPE, linkname="../../secret"), "hard link"),
        (entry("a/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "device"),
        (entry("a/pipe", type=tarfile.FIFOTYPE), "pipe"),
        (entry("a/odd", type=b"Q"), "unknown thing"),
    ],
)
def test_links_and_devices(folder, contents, tmp_path, info, kind):
    assert_refused(make_tar(tmp_path / "bad", contents, extra=[info]), folder, kind)


def test_links_in_a_zip(folder, contents, tmp_path):
    bad = make_zip(tmp_path / "bad", contents, extra=[zip_entry("a/link", LINK)])
    assert_refused(bad, folder, "'a/link' is a link")


def test_a_name_that_is_none(folder, contents, tmp_path):
    assert_refused(make_tar(tmp_path / "bad", contents, extra=[entry("", size=4)]), folder, "a file without a name")
    assert_refused(make_zip(tmp_path / "bad", contents, extra=[zip_entry("")]), folder, "a file without a name")
    assert_refused(make_zip(tmp_path / "bad", contents, extra=[zip_entry(".")]), folder, "a file without a name")


def test_names_that_are_longer_than_a_line(folder, contents, tmp_path):
    for name in ("n" * 300, "d/" * 2_000 + "x"):
        bad = make_zip(tmp_path / "bad", contents, extra=[zip_entry(name)])
        with pytest.raises(CourseError, match="File name too long"):
            fetch_ibug(bad)
    assert os.listdir(folder) == []


def test_a_zip_with_a_list_that_would_fill_the_memory(folder, tmp_path, monkeypatch):
    make_zip(tmp_path / "bad", dict.fromkeys((f"{i:050}" for i in range(3_000)), b""))
    monkeypatch.setattr(ibug_archive, "_MOST_INDEX", 200_000)
    assert_refused(tmp_path / "bad", folder, "a header of ")


def test_an_archive_that_is_a_pipe_or_a_device(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert_refused(path, folder, "a directory, device or pipe, expected a tar.gz or zip")


def test_a_name_that_is_there_twice(folder, contents, tmp_path):
    twice = entry(f"{FOLDER}/AFW/0_1.JPG", size=4)  # one file on Windows and macOS
    assert_refused(make_tar(tmp_path / "bad", contents, extra=[twice]), folder, "is there twice")
    both = [entry("a", size=4), entry("a/b", size=4)]  # a file and a folder
    assert_refused(make_tar(tmp_path / "bad", contents, extra=both), folder, "bad: ")


def test_bombs_stop_early(folder, contents, tmp_path, monkeypatch):
    (tmp_path / "bad").write_bytes(gzip.compress(entry("a", size=10**15).tobuf(tarfile.GNU_FORMAT) + bytes(5_000_000)))
    assert_refused(tmp_path / "bad", folder, "'a' with 1,000,000,000,000,000 bytes is too large")
    monkeypatch.setattr(ibug_archive, "_MOST_BYTES", 5_000)
    assert_refused(make_tar(tmp_path / "bad", contents), folder, "is too large")
    assert_refused(make_zip(tmp_path / "bad", {"a": bytes(6_000)}), folder, "is too large")
    monkeypatch.setattr(ibug_archive, "_MOST_MEMBERS", 5)
    assert_refused(make_tar(tmp_path / "bad", dict.fromkeys("abcdef", b"")), folder, "over 5 members")
    assert_refused(make_zip(tmp_path / "bad", dict.fromkeys("abcdef", b"")), folder, "over 5 members")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory(folder, tmp_path, kind):
    header = entry("a", type=kind, size=10**12).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "bad").write_bytes(gzip.compress(header + bytes(5_000_000)))
    assert_refused(tmp_path / "bad", folder, "a header of 1,000,000,000,000 bytes")


def test_zeros_without_end(folder, contents, tmp_path):
    whole = make_tar(tmp_path / "bad", contents, mode="w").read_bytes()
    (tmp_path / "bad").write_bytes(gzip.compress(whole + bytes(5_000_000)))
    assert_refused(tmp_path / "bad", folder, "something follows after its end")


def test_a_zip_that_lies_about_a_size(folder, contents, tmp_path):
    make_zip(tmp_path / "bad", contents | {"z": b"ABCDEFGH" * 1000})
    data = (tmp_path / "bad").read_bytes()
    lie = data.replace(struct.pack("<I", 8000), struct.pack("<I", 80))  # in both its headers
    assert data.count(struct.pack("<I", 8000)) == 2
    (tmp_path / "bad").write_bytes(lie)
    assert_refused(tmp_path / "bad", folder, "Bad CRC-32")


# --- damaged, or another thing ---


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("damage", [cut, flip, lambda data: data[:-8], lambda data: b"", lambda data: b"<html>" * 99])
def test_damaged(folder, contents, tmp_path, make, damage):
    path = make(tmp_path / "bad", contents)
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(path, folder, "bad: damaged, cut off, or no tar.gz or zip (")


def test_a_tar_without_its_end(folder, contents, tmp_path):
    whole = make_tar(tmp_path / "bad", contents, mode="w").read_bytes()
    (tmp_path / "bad").write_bytes(gzip.compress(whole.rstrip(b"\0")))
    assert_refused(tmp_path / "bad", folder, "damaged")
    last = len(whole.rstrip(b"\0"))
    (tmp_path / "bad").write_bytes(gzip.compress(whole[: -(-last // 512) * 512]))  # cut between two members
    assert_refused(tmp_path / "bad", folder, "its end is missing")
    wrong = bytearray(whole)
    wrong[wrong.index(f"{FOLDER}/afw/2_1.jpg".encode())] ^= 1  # a header's sum is wrong
    (tmp_path / "bad").write_bytes(gzip.compress(bytes(wrong)))
    assert_refused(tmp_path / "bad", folder, "a header is damaged")


def change(contents: dict[str, bytes], name: str, old: bytes, new: bytes) -> dict[str, bytes]:
    assert old in contents[name]
    return contents | {name: contents[name].replace(old, new, 1)}


INCONSISTENT = {
    "an image is missing": (
        lambda c: {k: v for k, v in c.items() if k != "afw/3_1.jpg"},
        f"{TRAIN_XML} names afw/3_1.jpg, which is missing or empty",
    ),
    "an image is empty": (lambda c: c | {"ibug/image_1 _01.jpg": b""}, f"{TEST_XML} names ibug/image_1 _01.jpg"),
    "no test labels": (lambda c: {k: v for k, v in c.items() if k != TEST_XML}, f"{TEST_XML}: No such file"),
    "no training labels": (lambda c: {k: v for k, v in c.items() if k != TRAIN_XML}, f"no {TRAIN_XML} in it"),
    "broken XML": (lambda c: c | {TRAIN_XML: c[TRAIN_XML][:2000]}, f": {TRAIN_XML}: not whole XML"),
    "67 points": (
        lambda c: change(c, TEST_XML, b"<part name='30'", b"<was name='30'"),
        f": {TEST_XML}, image 1 (ibug/image_0 _01.jpg): 67 points, expected 68",
    ),
    "an image elsewhere": (lambda c: change(c, TRAIN_XML, b"afw/0_1", b"../afw/0_1"), "'../afw/0_1.jpg' is not safe"),
    "entities": (lambda c: c | {TRAIN_XML: b'<!DOCTYPE d [<!ENTITY a "x">]><dataset/>'}, "declares a DTD or entities"),
}


@pytest.mark.parametrize("case", INCONSISTENT)
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_inconsistent(folder, contents, tmp_path, make, case):
    spoil, message = INCONSISTENT[case]
    assert_refused(make(tmp_path / "bad", spoil(contents)), folder, message)


def test_another_file_than_an_archive(folder, tmp_path):
    assert_refused(tmp_path / "gone.zip", folder, "No such file")
    assert_refused(tmp_path, folder, "directory" if os.name != "nt" else "")


def test_a_full_disk(folder, contents, tmp_path, monkeypatch):
    archive = make_tar(tmp_path / "mine", contents)

    def write(*_):
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(ibug_archive.shutil, "copyfileobj", write)
    assert_refused(archive, folder, "No space left")
    monkeypatch.setattr(ibug_archive.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    assert_refused(archive, folder, "but the disk has 0 MB free; make room")
    monkeypatch.delenv("FLCOURSE_OFFLINE")
    with pytest.raises(CourseError, match="3,400 MB needed"):  # before anything is asked of the network
        fetch_ibug()
    assert os.listdir(folder) == []


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("where", ["copyfileobj", "rename"])
def test_ctrl_c_leaves_nothing(folder, contents, tmp_path, monkeypatch, where, there):
    archive = make_tar(tmp_path / "mine", contents)
    if there:
        write_set(folder, {"old": b"old"})
    before = sorted(folder.rglob("*"))

    def interrupt(*_):
        raise KeyboardInterrupt

    if where == "copyfileobj":
        monkeypatch.setattr(ibug_archive.shutil, "copyfileobj", interrupt)
    else:
        rename = Path.rename
        monkeypatch.setattr(
            Path, "rename", lambda self, to: interrupt() if (self / TRAIN_XML).exists() else rename(self, to)
        )
    with pytest.raises(KeyboardInterrupt):
        fetch_ibug(archive)
    assert sorted(folder.rglob("*")) == before


# --- from the network ---


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the archive below /good/, damaged below /wrong/, a third at a time below /cut/, one third below /once/."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        how, content = self.path.split("/")[1], self.server.archive
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(content):
            return self.send_error(416)
        if how == "once" and len(self.server.requests) > 1:
            return self.send_error(503)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = flip(content) if how == "wrong" else content
        self.wfile.write(body[start:] if how in ("good", "wrong") else body[start : start + len(content) // 3 + 1])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, contents, tmp_path):
    monkeypatch.delenv("FLCOURSE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(ibug_archive, "_BYTES", 1000)
    with serving(Handler) as server:
        server.archive = make_tar(tmp_path / "served", contents).read_bytes()

        def serve(*hows: str) -> None:
            urls = [f"{server.root}/{how}/{ARCHIVE}" for how in hows]
            monkeypatch.setattr(ibug_archive, "_URLS", urls)

        server.serve = serve
        yield server


@pytest.mark.parametrize("hows", [("good",), ("cut",), ("wrong", "good")])
def test_downloaded(folder, contents, server, hows):
    server.serve(*hows)
    assert fetch_ibug() == folder / FOLDER
    assert read_set(folder / FOLDER) == contents
    assert os.listdir(folder) == [FOLDER]  # the archive is removed
    asked = len(server.requests)
    assert asked == {"good": 1, "cut": 3, "wrong": 2}[hows[0]]
    fetch_ibug()
    assert len(server.requests) == asked


def test_a_later_run_goes_on(folder, contents, server):
    server.serve("once")
    with pytest.raises(CourseError, match="HTTP status 503"):
        fetch_ibug()
    third = len(server.archive) // 3 + 1
    assert os.listdir(folder) == [f"{ARCHIVE}.part"]
    server.serve("good")
    fetch_ibug()
    assert server.requests[-1] == (f"/good/{ARCHIVE}", f"bytes={third}-")
    assert read_set(folder / FOLDER) == contents and os.listdir(folder) == [FOLDER]


def test_wrong_bytes(folder, server):
    server.serve("wrong")
    with pytest.raises(
        CourseError, match=r"damaged, cut off, or no tar.gz or zip \(.*; the wrong part file was removed"
    ):
        fetch_ibug()
    assert os.listdir(folder) == []


def test_offline_needs_an_archive(folder, contents, tmp_path, capsys):
    with pytest.raises(CourseError, match=f"{ARCHIVE}: not downloaded, FLCOURSE_OFFLINE forbids the network"):
        fetch_ibug()
    shutil.copy(make_tar(tmp_path / "mine", contents), folder / ARCHIVE)  # put in place by hand: it is the user's
    fetch_ibug()
    assert read_set(folder / FOLDER) == contents and (folder / ARCHIVE).exists()
    assert f"{ARCHIVE} is unpacked and no longer needed" in capsys.readouterr().err


def test_the_addresses():
    assert [url.partition(":")[0] for url in ibug_archive._URLS] == ["https", "http"]
    assert all(url.endswith(f"://dlib.net/files/data/{ARCHIVE}") for url in ibug_archive._URLS)
