"""Downloads that resume, are checksummed and land whole (standard library, but for the progress bar)."""

import hashlib
import os
import shutil
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from flcourse.errors import CourseError
from flcourse.files import offline

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CONNECT_SECONDS = 4.0  # for name look-up and connection together: a dead network shows within the 5 s we promise
STALL_SECONDS = 5.0  # a server silent for this long is asked again, for the rest
BLOCK_BYTES = 1 << 16  # small enough that the bar moves on a slow line


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
) -> Path:
    """Fetch a file from the first of `urls` that serves it, with a progress bar, and return `target`.

    The bytes gather in `<target>.part`, where a later call goes on. Once the checksum (give exactly one) is right, the
    file lands by an atomic rename. Where no sum is published, `check` stands in for it: it looks at a file and returns
    None, or what is wrong with it. `size` is in bytes. Proxies (`https_proxy`, ...) and the system's certificates are
    used. Raises `CourseError` where no address serves the file, the sum is wrong (the part file is then removed), the
    disk is too full, or `FLCOURSE_OFFLINE` is set. A `target` that is there is left alone if right, else replaced.
    """
    sums = [partial(_check_sum, a, s) for a, s in (("sha256", sha256), ("sha1", sha1), ("md5", md5)) if s]
    [wrong] = [*sums, check] if check else sums
    urls = [urls] if isinstance(urls, str) else list(urls)
    part = target.with_name(target.name + ".part")
    troubles = []

    def is_there() -> bool:
        return target.exists() and wrong(target) is None

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
            require_room(target, (size or 0) - (part.stat().st_size if part.exists() else 0))
            for url in _reachable(urls, troubles):
                resumed = True
                while resumed:  # a second round only where an old part file, not the server, may be what is wrong
                    resumed = part.exists()
                    trouble = _fetch(url, part, size)
                    if trouble is not None:
                        break
                    trouble = wrong(part)
                    if trouble is None:
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


def _fetch(url: str, part: Path, size: int | None) -> str | None:
    """Bring `part` to its full length, going on from what it holds; None when done, else what is wrong with `url`."""
    from tqdm.auto import tqdm  # here, because most runs download nothing and this import takes a while

    # The delay keeps a bar that never moved from the screen.
    with tqdm(desc=part.stem, total=size, unit="B", unit_scale=True, unit_divisor=1000, delay=0.3) as bar:
        while True:
            have = part.stat().st_size if part.exists() else 0
            try:
                _transfer(url, part, have, size, bar)
                return None
            except _Broken as error:
                # As long as each connection brings the file on, however little, the next one may finish it.
                if not part.exists() or part.stat().st_size <= have:
                    return str(error)


def _transfer(url: str, part: Path, have: int, size: int | None, bar) -> None:
    """One request for the bytes from `have` on, written to `part`. Raises `_Broken`, or OSError from the disk."""
    headers = {"User-Agent": "flcourse"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=STALL_SECONDS, context=_certificates()
        )
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing follows what we have: the checksum will tell whether that is right
            return
        raise _Broken(f"HTTP status {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _Broken(_reason(error)) from error
    with response:
        goes_on = have and (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        bar.n = done = have if goes_on else 0  # a server that ignores Range sends all of it again
        length = response.headers.get("Content-Length")
        bar.total = total = done + int(length) if length else size
        if size and total != size:
            raise _Broken(f"the server has {total} bytes, expected {size}")
        with open(part, "ab" if goes_on else "wb") as file:
            for block in _blocks(response):
                file.write(block)
                done += len(block)
                bar.update(len(block))
    if total and done < total:
        raise _Broken(f"cut off after {done} of {total} bytes")


def _blocks(response) -> Iterator[bytes]:
    try:
        while block := response.read1(BLOCK_BYTES):  # read() would lose what came before a stall
            yield block
    except (OSError, HTTPException) as error:
        raise _Broken(_reason(error)) from error


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
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"silent for {STALL_SECONDS:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}; SSL_CERT_FILE can name your network's certificates"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
