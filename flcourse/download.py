"""Downloads that resume, are checksummed and land whole (standard library, but for the progress bar).

Servers are not trusted: with time, length, redirects or bytes. What they send has limits and counts only once its sum
is right.
"""

import hashlib
import os
import queue
import shutil
import socket
import ssl
import stat
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import Message
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from flcourse.errors import CourseError, printable
from flcourse.files import fcntl, offline

CONNECT_SECONDS = 4.0  # for name look-up and connection together: a dead network shows within the 5 s we promise
STALL_SECONDS = 5.0  # a server silent for this long is asked again, for the rest
BLOCK_BYTES = 1 << 16  # small enough that the bar moves on a slow line
# Whatever comes, and however slowly, a download ends after this time: 12 MB have 11 minutes, 1.7 GB a day.
GRACE_SECONDS, SLOWEST = 60.0, 20_000  # s; bytes/s
MOST_BYTES = 64_000_000  # of a file whose size nobody stated


def file_sum(path: Path, algorithm: str) -> str:
    """The hexadecimal checksum of a file; `algorithm` is "sha256", "sha1" or "md5"."""
    with open(path, "rb") as file:  # these sums find damage, they are no security: strict machines refuse md5 otherwise
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def download(
    urls: str | Sequence[str],
    target: Path,
    *,
    sha256: str | None = None,
    sha1: str | None = None,
    md5: str | None = None,
    check: Callable[[Path], str | None] | None = None,
    size: int | None = None,
    most: int = MOST_BYTES,
) -> Path:
    """Fetch a file from the first of `urls` that serves it, with a progress bar, and return `target`.

    The bytes gather in `<target>.part`, where a later call goes on. Once the checksum (give exactly one) is right, the
    file lands by an atomic rename. Where no sum is published, `check` stands in for it: it looks at a file and returns
    None, or what is wrong with it. `size` is in bytes; where it is not known, the file may have `most`. Proxies
    (`https_proxy`, ...) and the system's certificates are used; https never falls back to http. Raises `CourseError`
    where no address serves the file in time (`GRACE_SECONDS` and its bytes at `SLOWEST`), the sum is wrong (the part
    file is then removed), the disk is too full, `target` is no file, or `FLCOURSE_OFFLINE` is set. A `target` that is
    there is left alone if right, else replaced.
    """
    sums = [partial(_check_sum, a, s) for a, s in (("sha256", sha256), ("sha1", sha1), ("md5", md5)) if s]
    [wrong] = [*sums, check] if check else sums
    urls = [urls] if isinstance(urls, str) else list(urls)
    part = target.with_name(target.name + ".part")
    troubles = []

    def is_there() -> bool:
        try:
            if not stat.S_ISREG(target.stat().st_mode):
                raise CourseError(f"{target}: a folder, device or pipe, expected a file; move it away")
            return wrong(target) is None
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise CourseError(f"{target}: {error.strerror or error}; mend its rights, or move it away") from error

    if is_there():
        return target
    if offline():
        raise CourseError(
            f"{target.name}: not downloaded, FLCOURSE_OFFLINE forbids the network; unset it, "
            f"or put {urls[0]} at {target}"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _folder_lock(target.parent):
            if is_there():  # another process has fetched it meanwhile
                return target
            have = _own_part(part)
            require_room(target, (size or 0) - have)
            until = time.monotonic() + GRACE_SECONDS + max(0, (size or most) - have) / SLOWEST
            for url in _reachable(urls, troubles):
                resumed = True
                while resumed:  # a second round only where an old part file, not the server, may be what is wrong
                    resumed = part.exists()
                    trouble = _fetch(url, part, size, most, until)
                    if trouble is not None:
                        break
                    trouble = wrong(part)
                    if trouble is None:
                        _to_disk(part)
                        os.replace(part, target)
                        return target
                    part.unlink()
                    trouble += "; the wrong part file was removed"
                troubles.append(f"{url}: {trouble}")
    except OSError as error:
        raise CourseError(f"{target}: cannot be written ({error.strerror or error}); what came is kept") from error
    raise CourseError(
        f"{target.name}: not downloaded ({'; '.join(troubles)}); check the network and run this again to go on, "
        f"or put the file at {target}"
    )


def _check_sum(algorithm: str, expected: str, path: Path) -> str | None:
    found = file_sum(path, algorithm)
    return None if found == expected else f"{algorithm} {found}, expected {expected}"


def _own_part(part: Path) -> int:
    """How many bytes an earlier run left in a part file; what a link leads to is not taken for one.

    Anybody who may write into the folder could have laid a link there, to a file that is not ours to write to.
    """
    try:
        status = part.lstat()
    except FileNotFoundError:
        return 0
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return status.st_size
    if stat.S_ISDIR(status.st_mode):
        raise CourseError(f"{part}: a folder is in the way of a download; move it away")
    part.unlink()  # the name, not the file behind it
    return 0


def _open_part(part: Path, keep: int) -> BinaryIO:
    """A part file to write to, with its first `keep` bytes; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = open(os.open(part, flags, 0o666), "wb")
    file.truncate(keep)
    file.seek(keep)
    return file


def _to_disk(path: Path) -> None:
    """Wait until the disk has a file, so that a power cut cannot leave an empty one under its final name."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes' downloads, so that two never write one part file.

    Windows needs no lock: it refuses to rename a file that another process has open.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network folders cannot be locked
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process downloads to {printable(folder)}; waiting for it", file=sys.stderr)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def require_room(target: Path, needed: int) -> None:
    """Raise `CourseError` where the disk that `target` is to lie on has fewer than `needed` bytes free."""
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise CourseError(
            f"{target}: {needed / 1e6:,.0f} MB needed, but the disk has {free / 1e6:,.0f} MB free; "
            "make room, or set FLCOURSE_DATA to a folder on another disk"
        )


def _reachable(urls: list[str], troubles: list[str]) -> Iterator[str]:
    """Those of `urls` whose host, or the proxy before it, takes a connection; the others go to `troubles`.

    All are tried at once, so that the dead ones cost `CONNECT_SECONDS` in all; in threads, because a name look-up
    heeds no time limit.
    """

    def probe(url: str) -> None:
        try:
            socket.create_connection(_first_hop(url), timeout=CONNECT_SECONDS).close()
            answers[url] = None
        except (OSError, ValueError) as error:
            answers[url] = f"no connection ({_reason(error)})"

    answers: dict[str, str | None] = {}
    deadline = time.monotonic() + CONNECT_SECONDS
    probes = [threading.Thread(target=probe, args=(url,), daemon=True) for url in urls]
    for thread in probes:
        thread.start()
    for url, thread in zip(urls, probes, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        trouble = answers.get(url, f"no connection within {CONNECT_SECONDS:.0f} s")
        if trouble is None:
            yield url
        else:
            troubles.append(f"{url}: {trouble}")


def _first_hop(url: str) -> tuple[str, int]:
    """Host and port that a request for `url` connects to first: a proxy's where one is set."""
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


class _Broken(Exception):
    """The network, not the disk, ended a transfer."""


def _fetch(url: str, part: Path, size: int | None, most: int, until: float) -> str | None:
    """Bring `part` to its full length, going on from what it holds; None when done, else what is wrong with `url`."""
    from tqdm.auto import tqdm  # here, because most runs download nothing and this import takes a while

    # The delay keeps a bar that never moved from the screen.
    with tqdm(desc=printable(part.stem), total=size, unit="B", unit_scale=True, unit_divisor=1000, delay=0.3) as bar:
        while True:
            have = part.stat().st_size if part.exists() else 0
            try:
                _transfer(url, part, have, size, most, until, bar)
                return None
            except _Broken as error:
                # As long as each connection brings the file on, however little, the next one may finish it.
                if time.monotonic() > until or not part.exists() or part.stat().st_size <= have:
                    return str(error)


def _transfer(url: str, part: Path, have: int, size: int | None, most: int, until: float, bar) -> None:
    """One request for the bytes from `have` on, written to `part`. Raises `_Broken`, or OSError from the disk."""
    with _Answer(url, have) as answer:
        headers = answer.headers(until)
        if headers is None:  # nothing follows what we have: the checksum will tell whether that is right
            return
        goes_on = have and (headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        bar.n = done = have if goes_on else 0  # a server that ignores Range sends all of it again
        length = headers.get("Content-Length")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
            raise _Broken(f"the server says Content-Length: {length[:40]!r}, expected a number")
        bar.total = total = done + int(length) if length else size
        if size and total != size:
            raise _Broken(f"the server has {total} bytes, expected {size}")
        if total and total > most and not size:
            raise _Broken(f"the server has {total:,} bytes, expected at most {most:,}")
        with _open_part(part, done) as file:
            for block in answer.blocks(until):
                file.write(block)
                done += len(block)
                bar.update(len(block))
                if done > (size or most):
                    break
    if done > (size or most):
        part.unlink()  # it cannot be what was asked for
        raise _Broken(f"the server sends over {size or most:,} bytes")
    if total and done < total:
        raise _Broken(f"cut off after {done} of {total} bytes")


class _Answer:
    """A server's answer, which a thread of its own reads, so that no slowness of the server's outlasts a limit.

    Time limits on a socket begin anew with every byte: a server that sends a header's next letter every four seconds
    could keep `urlopen` for days.
    """

    def __init__(self, url: str, start: int) -> None:
        self._parts: queue.Queue = queue.Queue(maxsize=16)  # headers, blocks, then None; or what went wrong
        self._over = threading.Event()
        threading.Thread(target=self._read, args=(url, start), daemon=True).start()

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_) -> None:
        self._over.set()

    def headers(self, until: float) -> Message | None:
        """The answer's headers, or None where no byte follows `start`. Raises `_Broken`."""
        return self._next(until, CONNECT_SECONDS + 2 * STALL_SECONDS)  # redirections take a while

    def blocks(self, until: float) -> Iterator[bytes]:
        """The bytes as they come. Raises `_Broken`."""
        while (block := self._next(until, 2 * STALL_SECONDS)) is not None:
            yield block

    def _next(self, until: float, patience: float) -> Any:
        left = until - time.monotonic()
        if left <= 0:
            raise _Broken("far too slow, given up; what came is kept")
        try:
            part = self._parts.get(timeout=min(left, patience))
        except queue.Empty:
            if left < patience:
                return self._next(until, 0)
            raise _Broken(f"silent for {patience:.0f} s") from None
        if isinstance(part, Exception):
            raise _Broken(_reason(part)) from part
        return part

    def _read(self, url: str, start: int) -> None:
        headers = {"User-Agent": "flcourse"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            request = urllib.request.Request(url, headers=headers)
            with _opener().open(request, timeout=STALL_SECONDS) as response:
                listening = self._put(response.headers)
                while listening and (block := response.read1(BLOCK_BYTES)):  # read() loses what came before a stall
                    listening = self._put(block)
            self._put(None)
        except HTTPError as error:
            error.close()
            self._put(None if error.code == 416 and start else error)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
            self._put(error)

    def _put(self, part: object) -> bool:
        """Hand something over; False once nobody waits for it any more."""
        while not self._over.is_set():
            with suppress(queue.Full):
                self._parts.put(part, timeout=0.2)
                return True
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but never from https to where anybody on the way can read and change."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new != old and new != "https":
            raise URLError(f"redirects from {old} to {new}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=_certificates()), _Redirects())


@cache
def _certificates() -> ssl.SSLContext:
    """The system's certificates; where python.org's macOS build has none, those of `certifi` if it is there."""
    context = ssl.create_default_context()
    if not context.get_ca_certs() and ssl.get_default_verify_paths().capath is None:
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP status {error.code} {error.reason}"
    if isinstance(error, URLError):
        if not isinstance(error.reason, Exception):
            return str(error.reason)
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"silent for {STALL_SECONDS:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}; SSL_CERT_FILE can name your network's certificates"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
