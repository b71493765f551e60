"""Data folders and downloads, the latter against a real server on this machine."""

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote, unquote

import pytest
from loopback import RangeHandler, serving

from flcourse import download, errors, files, web
from flcourse.errors import CourseError

CONTENT = bytes(range(256)) * 1500  # 384 kB, several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SHA1 = hashlib.sha1(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(RangeHandler):
    """Serves CONTENT as the path asks: /whole, /cut, /no-range, /wrong, /stall, /missing, /short."""

    def do_GET(self):
        if self.path == "/missing":
            self.server.requests.append((self.path, self.headers.get("Range")))
            return self.send_error(404)
        content = {"/wrong": CONTENT[::-1], "/short": CONTENT[:1000]}.get(self.path, CONTENT)
        start = self.begin(content, ranges=self.path != "/no-range")
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
    monkeypatch.setattr(web, "STALL_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(CourseError, match="silent"):
        download.download(server.url("stall"), tmp_path / "file", sha256=SHA256)
    assert time.monotonic() - start < 3
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:1000]  # kept for the next call


def test_dead_network_is_noticed_within_five_seconds(tmp_path, monkeypatch):
    monkeypatch.delenv("FLCOURSE_OFFLINE", raising=False)
    monkeypatch.setattr(web, "CONNECT_SECONDS", 0.3)
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
    assert web.CONNECT_SECONDS < 5


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
    assert web._first_hop("https://example.org/x") == ("example.org", 443)
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.local:3128")
    assert web._first_hop("https://example.org/x") == ("proxy.local", 3128)
    monkeypatch.setenv("no_proxy", "example.org")
    assert web._first_hop("https://example.org/x") == ("example.org", 443)


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


# --- servers that are not to be trusted ---


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers as the path says: headers or bytes without end, drop by drop, with lengths that are none, elsewhere."""

    def do_GET(self):
        how = unquote(self.path[1:])
        self.server.requests.append(how)
        if how == "slow-header":
            return self.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000)
        if how.startswith("to-"):
            self.send_response(302)
            places = {"to-file": "file:///etc/passwd", "to-ftp": "ftp://127.0.0.1/x", "to-self": "/to-self"}
            self.send_header("Location", places[how])
            return self.end_headers()
        self.send_response(204 if how == "nothing" else 200)
        if how.startswith("length="):
            self.send_header("Content-Length", how.removeprefix("length="))
        if how in ("chunks", "endless-chunk"):
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError):
            if how == "endless":
                while not self.server.released.is_set():
                    self.wfile.write(bytes(1 << 16))
            elif how == "endless-chunk":
                self.drip(b"f" * 10_000)
            elif how == "chunks":
                self.wfile.write(b"zz\r\nnot a number\r\n")
            elif how == "drops":
                self.drip(CONTENT)
            else:
                self.wfile.write(CONTENT)
        return None

    def drip(self, data: bytes) -> None:
        with suppress(OSError):
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                if self.server.released.wait(0.05):
                    break

    def log_message(self, *args):
        pass


@pytest.fixture
def hostile(monkeypatch):
    monkeypatch.delenv("FLCOURSE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(web, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(web, "CONNECT_SECONDS", 0.4)
    monkeypatch.setattr(download, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(download, "SLOWEST", 1e9)
    with serving(Hostile) as server:
        server.released = threading.Event()
        yield server
        server.released.set()


HOSTILE = {
    "endless": "the server sends over 1,000,000 bytes",
    "drops": "far too slow, given up; what came is kept",
    "slow-header": "far too slow",
    "endless-chunk": "silent for",
    "chunks": "IncompleteRead",
    "length=abc": "Content-Length: 'abc', expected a number",
    "length=-5": "Content-Length: '-5', expected a number",
    "length=1e6": "expected a number",
    "length=²": "expected a number",
    f"length={'9' * 40}": "expected a number",
    "length=99999999999": "the server has 99,999,999,999 bytes, expected at most 1,000,000",
    "length=0": "sha256 ",
    "nothing": "sha256 ",
    "to-file": "is not allowed",
    "to-ftp": "redirects from http to ftp, which is not followed",
    "to-self": "HTTP status 302",
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_servers_end_in_one_line(hostile, tmp_path, how):
    start = time.monotonic()
    with pytest.raises(CourseError) as caught:
        download.download(f"{hostile.root}/{quote(how)}", tmp_path / "file", sha256=SHA256, most=1_000_000)
    told = str(caught.value)
    assert HOSTILE[how] in told and "\n" not in told
    assert time.monotonic() - start < 5
    assert not (tmp_path / "file").exists()
    if how == "endless":
        assert os.listdir(tmp_path) == []


def test_https_never_leads_to_http():
    request = urllib.request.Request("https://host/file")
    with pytest.raises(URLError, match="redirects from https to http, which is not followed"):
        web._Redirects().redirect_request(request, None, 302, "Found", {}, "http://host/file")
    followed = web._Redirects().redirect_request(request, None, 302, "Found", {}, "https://mirror/file")
    assert followed.full_url == "https://mirror/file"
    upwards = urllib.request.Request("http://host/file")
    assert web._Redirects().redirect_request(upwards, None, 302, "Found", {}, "https://host/file")


def test_time_grows_with_size():
    minutes = [(download.GRACE_SECONDS + size / download.SLOWEST) / 60 for size in (232_589, 12e6, 170_498_071, 1.7e9)]
    assert minutes == sorted(minutes) and minutes[0] < 2 and minutes[-1] < 25 * 60


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("link", ["symbolic", "hard", "to a pipe"])
def test_a_part_file_is_not_opened_through_a_link(server, tmp_path, link):
    precious, part = tmp_path / "precious", tmp_path / "folder" / "file.part"
    precious.write_bytes(CONTENT[:1000])
    part.parent.mkdir()
    if link == "to a pipe":
        precious.unlink()
        os.mkfifo(precious)
    os.link(precious, part) if link == "hard" else part.symlink_to(precious)
    download.download(server.url("whole"), part.with_name("file"), sha256=SHA256)
    assert part.with_name("file").read_bytes() == CONTENT and os.listdir(part.parent) == ["file"]
    assert link == "to a pipe" or precious.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("name", ["file", "file.part"])
def test_a_folder_in_the_way_is_named(server, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(CourseError, match=rf"{name}: a folder.*move it away"):
        download.download(server.url("whole"), tmp_path / "file", sha256=SHA256)
    assert server.requests == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_who_waits_for_another_process_is_told(server, tmp_path, capsys):
    other = "import fcntl, os, sys, time; h = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(h, fcntl.LOCK_EX)"
    other += "; print('held', flush=True); time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", other, tmp_path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        download.download(server.url("whole"), tmp_path / "file", sha256=SHA256)
    assert capsys.readouterr().err == f"another process downloads to {tmp_path}; waiting for it\n"


# --- what killed processes leave ---


@pytest.fixture
def anew(monkeypatch):
    """As in a process that has not looked through any folder yet."""
    monkeypatch.setattr(files, "_cleaned", set())


def gone_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.skipif(os.name == "nt", reason="Windows removes them after a day")
def test_parts_of_processes_that_are_gone_are_removed(tmp_path, anew):
    gone, mine = gone_process(), os.getpid()
    (tmp_path / f".a.txt.{gone}-0123abcd.part").write_bytes(b"rubbish")
    folder = tmp_path / f"set.unpacking.{gone}-0123abcd.part"
    (folder / "new").mkdir(parents=True)
    (folder / "new" / "image.jpg").write_bytes(b"rubbish")
    kept = [f".b.txt.{mine}-0123abcd.part", "model.bin.part", f"notes.{gone}.part", f"x.{gone}-0123abcd.part.txt"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / f".link.{gone}-0123abcd.part").symlink_to(tmp_path / "model.bin.part")
    files.atomic_write(tmp_path / "a.txt", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.txt", f".link.{gone}-0123abcd.part"])


@pytest.mark.skipif(os.name == "nt", reason="Windows removes them after a day")
def test_a_part_that_is_being_written_stays(tmp_path, anew):
    import fcntl

    part = tmp_path / f".a.{gone_process()}-0123abcd.part"  # as from a container, whose processes are not seen here
    part.write_bytes(b"half")
    with open(part, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        files.remove_abandoned(tmp_path)
        assert part.exists()
    files._cleaned.clear()
    files.remove_abandoned(tmp_path)
    assert not part.exists()


def test_work_folders_are_removed_and_seen(tmp_path, anew):
    with files.work_folder("flcourse", tmp_path) as folder:
        (folder / "x").write_bytes(b"")
        files._cleaned.clear()
        with files.work_folder("flcourse", tmp_path):
            assert folder.exists()  # another thread's
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="devices are files elsewhere")
def test_devices_folders_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null", "."):
        with pytest.raises(CourseError, match="a folder, device or pipe, expected the name of a file"):
            files.atomic_write(tmp_path / name, b"")
    assert sorted(os.listdir(tmp_path)) == ["null", "pipe"]


@pytest.mark.parametrize("name", ["x" * 250, "ü" * 120, "顔" * 80])
def test_long_names_are_written(tmp_path, name):
    files.atomic_write(tmp_path / name, b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


@pytest.mark.parametrize(("name", "text"), [("a\0b", "x"), ("x" * 300, "x"), ("a", "\ud800")])
def test_what_cannot_be_written_is_one_line(tmp_path, name, text):
    with pytest.raises(CourseError, match="cannot be written") as caught:
        files.atomic_write(tmp_path / name, text)
    assert str(caught.value).isprintable() and os.listdir(tmp_path) == []


# --- the environment ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [(w, True) for w in ("1", "yes", "TRUE", "on", " 1 ")] + [(w, False) for w in ("", "0", "no", "False", "OFF", " ")],
)
def test_flags_say_yes_or_no(monkeypatch, value, expected):
    for name, asked in (("FLCOURSE_FAST", files.fast), ("FLCOURSE_OFFLINE", files.offline)):
        monkeypatch.setenv(name, value)
        assert asked() is expected


@pytest.mark.parametrize("value", ["maybe", "2", "-1", "nope", "\x1b[31m"])
def test_a_flag_that_says_neither(monkeypatch, value):
    monkeypatch.setenv("FLCOURSE_FAST", value)
    with pytest.raises(CourseError, match=r"FLCOURSE_FAST=.*: expected 1, yes") as caught:
        files.fast()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["file", "below a file", "long", "nobody's home"])
def test_a_data_folder_that_is_none_is_said(tmp_path, monkeypatch, kind):
    (tmp_path / "file").write_text("")
    names = {"file": "file", "below a file": "file/x", "long": "x" * 300}
    monkeypatch.setenv("FLCOURSE_DATA", str(tmp_path / names[kind]) if kind in names else "~no-such-user/data")
    for ask in (files.data_folders, files.download_folder, lambda: files.find_file("models/x")):
        with pytest.raises(
            CourseError, match=r"FLCOURSE_DATA=.*: .*; set it to a folder that you can read, or unset it"
        ):
            ask()


def test_a_data_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "_told", set())
    monkeypatch.setattr(files, "data_folders", lambda: [tmp_path / "a", tmp_path / "b"])
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "a")
    assert [files.download_folder(), files.download_folder()] == [tmp_path / "b"] * 2
    assert capsys.readouterr().err == (
        f"{tmp_path / 'a'} (FLCOURSE_DATA) cannot be written; new data go to {tmp_path / 'b'}\n"
    )


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="needs a user to become who may not")
@pytest.mark.parametrize("closed", ["folder", "models", "models/x"])
def test_what_may_not_be_read_is_named(tmp_path, closed):
    """As a user without rights, in a process of its own."""
    (tmp_path / "folder" / "models").mkdir(parents=True)
    (tmp_path / "folder" / "models" / "x").write_text("x")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(parent.stat().st_mode | 0o005)
    (tmp_path / "folder" / ("" if closed == "folder" else closed)).chmod(0)
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(files.__file__).parents[1])!r})
from flcourse import files, images
from flcourse.data import imglab
os.environ["FLCOURSE_DATA"] = {str(tmp_path / "folder")!r}
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    imglab.read_imglab(files.find_file("models/x"))
except files.CourseError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "" and "Permission denied" in done.stdout, done
    assert str(tmp_path / "folder") in done.stdout and done.stdout.count("\n") == 1


CONTROLS = ["\x1b[31m", "\n", "\r", "\x07", "\x9b31m", "\u202e", "\u2066", "\udcff", "\u2028", "\0"]


@pytest.mark.parametrize("control", CONTROLS)
def test_errors_are_one_line_that_a_terminal_only_shows(control):
    told = str(CourseError(f"a{control}b: no file"))
    assert told.isprintable() and told == f"a{ascii(control)[1:-1]}b: no file"
    assert str(CourseError(told)) == told  # one error may quote another
    assert str(CourseError("Grüße 顔 👩\u200d🚀.jpg")) == "Grüße 顔 👩\u200d🚀.jpg"
