"""Data folders and downloads, the latter against a real server on this machine."""

import hashlib
import http.server
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from loopback import serving

from flcourse import download, errors, files
from flcourse.errors import CourseError

CONTENT = bytes(range(256)) * 1500  # 384 kB, several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHA1 = hashlib.sha1(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as the path asks: /whole, /cut, /no-range, /wrong, /stall, /missing, /short."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.path != "/no-range" else 0
        content = CONTENT[::-1] if self.path == "/wrong" else CONTENT
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/short":
            content = content[:1000]
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.path == "/cut":  # a connection never brings more than a third
            body = body[: len(CONTENT) // 3]
        if self.path == "/stall":
            self.wfile.write(body[:1000] if not start else b"")
            self.wfile.flush()
            self.server.released.wait(10)
            return None
        self.wfile.write(body)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on the loopback; `requests` lists what was asked of it, `url(path)` names its files."""
    monkeypatch.delenv("FLCOURSE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Handler) as server:
        server.released = threading.Event()
        server.url = lambda path: f"{server.root}/{path}"
        yield server
        server.released.set()


def refused_url() -> str:
    """An address on this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file"


@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {"sha1": SHA1}, {"md5": MD5}])
def test_whole_file(server, tmp_path, sums):
    target = tmp_path / "new folder" / "file.bin"
    assert download.download(server.url("whole"), target, size=len(CONTENT), **sums) == target
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["file.bin"]  # no part file, no lock is left
    download.download(server.url("whole"), target, **sums)
    assert len(server.requests) == 1  # the second call found it there


def test_cut_connections_are_resumed(server, tmp_path):
    download.download(server.url("cut"), tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    third = len(CONTENT) // 3
    assert server.requests == [("/cut", None), ("/cut", f"bytes={third}-"), ("/cut", f"bytes={2 * third}-")]


def test_part_of_an_earlier_run_is_resumed(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    download.download(server.url("whole"), tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == [("/whole", "bytes=1000-")]


def test_complete_part_of_an_earlier_run_lands(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    download.download(server.url("whole"), tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_server_that_ignores_range(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    download.download(server.url("no-range"), tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("junk", [b"junk", b"junk" * len(CONTENT)])
def test_junk_of_an_earlier_run_is_fetched_anew(server, tmp_path, junk):
    (tmp_path / "file.part").write_bytes(junk)
    download.download(server.url("whole"), tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_bytes(server, tmp_path):
    with pytest.raises(CourseError, match=r"file: not downloaded .*sha256 \w+, expected \w+; the wrong part file was"):
        download.download(server.url("wrong"), tmp_path / "file", sha256=SHA256)
    assert os.listdir(tmp_path) == []


def test_a_check_stands_in_for_a_sum(server, tmp_path):
    def check(path):
        return None if path.read_bytes() == CONTENT else "not the content"

    with pytest.raises(CourseError, match=r"file: not downloaded .*: not the content; the wrong part file was removed"):
        download.download(server.url("wrong"), tmp_path / "file", check=check)
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_bytes(b"wrong")
    download.download(server.url("cut"), tmp_path / "file", check=check)
    assert (tmp_path / "file").read_bytes() == CONTENT
    asked = len(server.requests)
    download.download(server.url("cut"), tmp_path / "file", check=check)
    assert len(server.requests) == asked  # it was found there
    for sums in ({}, {"check": check, "md5": MD5}):
        with pytest.raises(ValueError):  # exactly one
            download.download(server.url("whole"), tmp_path / "file", **sums)


def test_wrong_size_is_seen_before_the_bytes_come(server, tmp_path):
    with pytest.raises(CourseError, match=f"the server has 1000 bytes, expected {len(CONTENT)}"):
        download.download(server.url("short"), tmp_path / "file", sha256=SHA256, size=len(CONTENT))
    assert os.listdir(tmp_path) == []


def test_other_addresses_are_tried(server, tmp_path):
    urls = [refused_url(), server.url("missing"), server.url("wrong"), server.url("whole")]
    download.download(urls, tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_address_serves_it(server, tmp_path):
    with pytest.raises(CourseError) as caught:
        download.download([refused_url(), server.url("missing")], tmp_path / "file", sha256=SHA256)
    message = str(caught.value)
    assert "\n" not in message
    assert "refused" in message and "HTTP status 404" in message and str(tmp_path / "file") in message


def test_stalled_server_is_noticed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(CourseError, match="silent"):
        download.download(server.url("stall"), tmp_path / "file", sha256=SHA256)
    assert time.monotonic() - start < 3
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:1000]  # kept for the next call


def test_dead_network_is_noticed_within_five_seconds(tmp_path, monkeypatch):
    monkeypatch.delenv("FLCOURSE_OFFLINE", raising=False)
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.3)
    over = threading.Event()

    def hang(*args, **kwargs):  # a name look-up or a connection without end
        over.wait(10)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    start = time.monotonic()
    with pytest.raises(CourseError, match="no connection within"):
        download.download([f"http://host{i}.invalid/" for i in range(4)], tmp_path / "file", sha256=SHA256)
    assert time.monotonic() - start < 1.1  # four addresses do not wait four times
    over.set()
    assert download.CONNECT_SECONDS < 5


def test_offline_touches_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FLCOURSE_OFFLINE", "1")
    with pytest.raises(CourseError, match="FLCOURSE_OFFLINE"):
        download.download(server.url("whole"), tmp_path / "folder" / "file", sha256=SHA256)
    assert server.requests == [] and os.listdir(tmp_path) == []


def test_full_disk_is_noticed_first(server, tmp_path):
    with pytest.raises(CourseError, match="make room"):
        download.download(server.url("whole"), tmp_path / "file", sha256=SHA256, size=10**18)
    assert server.requests == []


def test_target_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CourseError, match="cannot be written"):
        download.download(server.url("whole"), tmp_path / "file" / "x", sha256=SHA256)


def test_two_downloads_at_once_give_one_good_file(server, tmp_path):
    def get():
        download.download(server.url("cut"), tmp_path / "file", sha256=SHA256)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["file"]


def test_proxy_is_the_first_hop(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert download._first_hop("https://example.org/x") == ("example.org", 443)
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.local:3128")
    assert download._first_hop("https://example.org/x") == ("proxy.local", 3128)
    monkeypatch.setenv("no_proxy", "example.org")
    assert download._first_hop("https://example.org/x") == ("example.org", 443)


def test_data_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLCOURSE_DATA", raising=False)
    (tmp_path / "data").mkdir()
    [own] = files.data_folders()
    assert own.is_absolute() and tmp_path not in own.parents  # not the working directory's data/
    monkeypatch.setenv("FLCOURSE_DATA", str(tmp_path / "mine"))
    assert files.data_folders() == [tmp_path / "mine", own]
    assert files.download_folder() == tmp_path / "mine"


def test_checkout_or_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("FLCOURSE_DATA", raising=False)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "flcourse" / "files.py"))
    [cache] = files.data_folders()
    assert tmp_path not in cache.parents and cache.name == "flcourse"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "flcourse"\n')
    assert files.data_folders() == [tmp_path / "data"]


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [("linux", "XDG_CACHE_HOME", "base/flcourse"), ("win32", "LOCALAPPDATA", "base/flcourse")],
)
def test_cache_folder_follows_the_platform(monkeypatch, platform, variable, expected):
    monkeypatch.setattr(files.sys, "platform", platform)
    monkeypatch.setenv(variable, "base")
    assert files._cache_folder() == Path(expected)


def test_find_file_prefers_the_named_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "data_folders", lambda: [tmp_path / "a", tmp_path / "b"])
    assert files.find_file("models/x") is None
    for folder in ("b", "a"):
        (tmp_path / folder / "models").mkdir(parents=True)
        (tmp_path / folder / "models" / "x").write_bytes(b"")
        assert files.find_file("models/x") == tmp_path / folder / "models" / "x"


def test_download_folder_skips_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(files, "data_folders", lambda: [tmp_path / "file" / "x", tmp_path / "b"])
    assert files.download_folder() == tmp_path / "b"
    monkeypatch.setattr(files, "data_folders", lambda: [tmp_path / "file" / "x"])
    with pytest.raises(CourseError, match="FLCOURSE_DATA"):
        files.download_folder()


def test_atomic_write(tmp_path):
    files.atomic_write(tmp_path / "sub" / "x.txt", "é")
    assert (tmp_path / "sub" / "x.txt").read_bytes() == "é".encode()
    assert os.listdir(tmp_path / "sub") == ["x.txt"]
    with pytest.raises(CourseError, match="cannot be written"):
        files.atomic_write(tmp_path / "sub" / "x.txt" / "y", b"")


# --- the commands that messages name ---


@pytest.mark.parametrize(
    ("environment", "started", "on_path", "wanted"),
    [
        ("python3 course.py run", "anything", False, "python3 course.py run data ibug"),
        (None, ".venv/bin/flcourse", True, "flcourse data ibug"),
        (None, ".venv/bin/flcourse", False, ".venv/bin/flcourse data ibug"),
        (None, "site-packages/flcourse/__main__.py", False, f"{Path(sys.executable).name} -m flcourse data ibug"),
        (None, "ipykernel_launcher.py", False, "flcourse data ibug"),
    ],
)
def test_messages_name_a_command_that_works_here(monkeypatch, environment, started, on_path, wanted):
    if environment:
        monkeypatch.setenv("FLCOURSE_COMMAND", environment)
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr("shutil.which", lambda name: f"bin/{name}" if on_path else None)
    assert errors.command("data ibug") == wanted
