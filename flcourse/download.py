"""Downloads that resume, are checksummed and land whole (standard library, but for the progress bar).

Servers are not trusted: with time, length, redirects or bytes. What they send has limits and counts only once its sum
is right.
"""

import hashlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from flcourse.errors import CourseError, printable
from flcourse.files import fcntl, offline
from flcourse.web import Answer, BrokenTransfer, reachable

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
            for url in reachable(urls, troubles):
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
            except BrokenTransfer as error:
                # As long as each connection brings the file on, however little, the next one may finish it.
                if time.monotonic() > until or not part.exists() or part.stat().st_size <= have:
                    return str(error)


def _transfer(url: str, part: Path, have: int, size: int | None, most: int, until: float, bar) -> None:
    """One request for the bytes from `have` on, to `part`. Raises `BrokenTransfer`, or OSError from the disk."""
    with Answer(url, have) as answer:
        headers = answer.headers(until)
        if headers is None:  # nothing follows what we have: the checksum will tell whether that is right
            return
        goes_on = have and (headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        bar.n = done = have if goes_on else 0  # a server that ignores Range sends all of it again
        length = headers.get("Content-Length")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
            raise BrokenTransfer(f"the server says Content-Length: {length[:40]!r}, expected a number")
        bar.total = total = done + int(length) if length else size
        if size and total != size:
            raise BrokenTransfer(f"the server has {total} bytes, expected {size}")
        if total and total > most and not size:
            raise BrokenTransfer(f"the server has {total:,} bytes, expected at most {most:,}")
        with _open_part(part, done) as file:
            for block in answer.blocks(until):
                file.write(block)
                done += len(block)
                bar.update(len(block))
                if done > (size or most):
                    break
    if done > (size or most):
        part.unlink()  # it cannot be what was asked for
        raise BrokenTransfer(f"the server sends over {size or most:,} bytes")
    if total and done < total:
        raise BrokenTransfer(f"cut off after {done} of {total} bytes")
