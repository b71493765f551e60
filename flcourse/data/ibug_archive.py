"""The iBUG 300-W archive in dlib's packaging: downloaded or as the user has it, unpacked safely, checked.

No checksum of the archive is published (dlib's page, the scripts and papers that fetch it, and the mirrors have none),
so what it holds is checked instead: the compression's own sums, the tar's end, both label files, 68 points on every
face and every image they name.
"""

import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from flcourse.data.imglab import IBUG_TEST, IBUG_TRAIN, read_imglab
from flcourse.download import download, require_room
from flcourse.errors import CourseError, printable
from flcourse.files import data_folders, download_folder, offline, work_folder

FOLDER, _TRAIN = IBUG_TRAIN.split("/")
_TEST = IBUG_TEST.split("/")[1]
OFFICIAL = (6_666, 1_008)  # training and test faces in dlib's packaging, one per image, the mirrored ones among them
LICENCE = "iBUG 300-W is for research and teaching, not for commercial use"
_URLS = [f"{scheme}://dlib.net/files/data/{FOLDER}.tar.gz" for scheme in ("https", "http")]  # dlib's page links the 2nd
_BYTES = 1_700_000_000  # of the archive, about; unpacked it is as large, because images hardly compress

# What a harmless archive stays below, so that a bomb stops early. dlib's has 7,674 images, at most as many .pts
# files, and label files of about 20 MB, which are its largest; in all it unpacks to about `_BYTES`.
_MOST_MEMBERS = 50_000
_MOST_MEMBER_BYTES = 64_000_000
_MOST_BYTES = 4_000_000_000
_MOST_ARCHIVE = 3_000_000_000  # bytes of the archive itself, where a server does not say how many come
_MOST_INDEX = 1 << 24  # bytes of a zip's list of members, which is read at once; 15,000 members take 2 MB
_MOST_READ = 1 << 20  # bytes asked for at once: what asks for more is a header that lies about its length
_BLOCK_BYTES = 1 << 16

# Names that Windows refuses, or takes for something else than a file of that name; what is not printable besides.
_HOSTILE = re.compile(
    r'[<>:"|?*\\]|[ .]$|^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)', re.IGNORECASE
)
_FINDER = "Icon\r"  # what the Mac's Finder calls a folder's own icon: nobody misses it


def fetch_ibug(archive: Path | None = None) -> Path:
    """The folder of a whole iBUG 300-W set, fetched (1.7 GB) or unpacked from `archive` (tar.gz or zip) if need be.

    Prints how many faces it has and the licence. A whole set that is there is left alone; one that is not is named, and
    replaced once the new one is whole. `archive` is kept; a downloaded one is removed when it is unpacked. Raises
    `CourseError` where it cannot be had, is no such archive, is unsafe to unpack or not whole: nothing is then changed.
    """
    folder, counts = _find()
    if counts and archive:
        print(printable(f"{folder} is whole and stays; move it away to have {archive} unpacked"), file=sys.stderr)
    if folder is None or counts is None:
        folder = download_folder() / FOLDER
        counts = _download_and_unpack(folder) if archive is None else _unpack(Path(archive), folder)
    official = "" if counts == OFFICIAL else "; dlib's packaging has {:,} + {:,}".format(*OFFICIAL)
    print("iBUG 300-W: {:,} + {:,} faces".format(*counts) + official)
    print(LICENCE)
    return folder


def _find() -> tuple[Path | None, tuple[int, int] | None]:
    """The first data folder's set that is whole and its counts, or None twice; says what is wrong with the others."""
    for folder in (root / FOLDER for root in data_folders()):
        try:
            if folder.exists():
                return folder, _check_set(folder)
        except CourseError as error:
            print(printable(f"{folder} is not whole: {error}"), file=sys.stderr)  # where the progress bar goes, too
        except OSError as error:
            raise CourseError(f"{folder}: {error.strerror or error}; mend its rights, or move it away") from error
    return None, None


def _check_set(folder: Path) -> tuple[int, int]:
    """How many training and test faces an unpacked set has. Raises `CourseError` at the first thing that is wrong."""

    def count(labels: str) -> int:
        faces = read_imglab(folder / labels)
        for face in faces:
            _split(face.file)  # no label may name a file elsewhere
            if not (face.path.is_file() and face.path.stat().st_size):
                raise CourseError(f"{labels} names {face.file}, which is missing or empty")
        return len(faces)

    try:
        return count(_TRAIN), count(_TEST)
    except CourseError as error:
        raise CourseError(str(error).replace(f"{folder}{os.sep}", "")) from error
    except OSError as error:
        raise CourseError(f"{error.filename}: {error.strerror or error}") from error


def _download_and_unpack(folder: Path) -> tuple[int, int]:
    """Bring the archive beside `folder` and unpack it; one that lay there is the user's, and stays."""
    archive = folder.with_name(f"{FOLDER}.tar.gz")
    fetched = not archive.exists()
    if fetched and not offline():
        part = archive.with_name(archive.name + ".part")
        require_room(folder, 2 * _BYTES - (part.stat().st_size if part.exists() else 0))
    download(_URLS, archive, check=_trouble, most=_MOST_ARCHIVE)
    counts = _unpack(archive, folder)
    if fetched:
        archive.unlink()
    else:
        print(printable(f"{archive} is unpacked and no longer needed"), file=sys.stderr)
    return counts


# --- unpacking ---


def _unpack(archive: Path, folder: Path) -> tuple[int, int]:
    """Unpack beside `folder`, check the set and put it there, in place of what was; its counts of faces.

    An error, or Ctrl-C, leaves `folder` as it was and nothing behind; what a killed process leaves, the next removes.
    """
    try:
        # What is no file is not opened: a pipe would wait for ever, and a device never end.
        if not archive.is_file():
            archive.stat()
            raise CourseError("a directory, device or pipe, expected a tar.gz or zip")
        with work_folder(f"{FOLDER}.unpacking", folder.parent) as work:
            require_room(folder, archive.stat().st_size)
            new, old = work / "new", work / "old"
            with _archive_errors():
                for member in _members(archive, "unpacking"):
                    # Only bytes reach the disk, into new files below `new`: no link, owner or mode of the archive's.
                    target = new.joinpath(*member.parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with member.open() as source, open(target, "xb") as file:
                        shutil.copyfileobj(source, file, _BLOCK_BYTES)
            new = _find_labels(new)
            counts = _check_set(new)
            _replace(folder, new, old)
    except OSError as error:
        raise CourseError(f"{archive}: {error.strerror or error}; nothing was put in place") from error
    except CourseError as error:
        raise CourseError(f"{archive}: {error}; nothing was put in place") from error
    return counts


def _find_labels(top: Path) -> Path:
    """The folder with the labels, wherever the archive has it: Kaggle's zip wraps it in another."""
    found = sorted((path.parent for path in top.rglob(_TRAIN)), key=lambda path: len(path.parts))
    if not found:
        raise CourseError(f"no {_TRAIN} in it, expected dlib's {FOLDER}.tar.gz or a zip of the same")
    return found[0]


def _replace(folder: Path, new: Path, old: Path) -> None:
    """Rename `new` to `folder`, and what was there to `old`."""
    try:
        if os.path.lexists(folder):  # a link that leads nowhere counts
            folder.rename(old)
        new.rename(folder)
    except BaseException:  # Ctrl-C, too
        if os.path.lexists(old) and not os.path.lexists(folder):
            old.rename(folder)
        raise


def _trouble(archive: Path) -> str | None:
    """What is wrong with a tar.gz, seen without unpacking it: for `download`."""
    try:
        with _archive_errors():
            for _ in _members(archive, "checking"):
                pass
    except CourseError as error:
        return str(error)
    return None


@contextmanager
def _archive_errors() -> Iterator[None]:
    """Turn what reading a damaged archive raises into `CourseError`."""
    damaged = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile)
    lying = (ValueError, LookupError, ArithmeticError, struct.error, RuntimeError)  # the last: passwords
    try:
        yield
    except (*damaged, *lying, OSError) as error:
        if not isinstance(error, (*damaged, *lying)) and error.errno != errno.EINVAL:  # EINVAL: before the beginning
            raise
        reason = f"{error}"[:200]  # zipfile quotes a member's name at its full length, which may be the whole archive
        raise CourseError(f"damaged, cut off, or no tar.gz or zip ({reason})") from error


# --- reading, with suspicion ---


class _Member(NamedTuple):
    """A file in an archive."""

    parts: tuple[str, ...]  # of its path
    open: Callable[[], IO[bytes]]


def _members(archive: Path, title: str) -> Iterator[_Member]:
    """The files of a tar.gz, tar or zip in its order, with a progress bar over the archive's bytes.

    Raises `CourseError` before it yields what is not safe to unpack, and at the end where the archive is cut off.
    """
    from tqdm.auto import tqdm  # here, as in download.py

    bar = {"desc": f"{title} {archive.name}", "total": archive.stat().st_size, "delay": 0.3}
    units = {"bytes": False, "unit": "B", "unit_scale": True, "unit_divisor": 1000}  # bytes=True counts in 1024s
    with open(archive, "rb") as raw, tqdm.wrapattr(raw, "read", **bar, **units) as file:
        magic = raw.read(2)
        raw.seek(0)
        read = _read_zip if magic == b"PK" else _read_tar
        seen, total = set(), 0
        members = read(cast(IO[bytes], file), gzipped=magic == b"\x1f\x8b")
        for number, (name, size, kind, opener) in enumerate(members, start=1):
            if number > _MOST_MEMBERS:
                raise CourseError(f"over {_MOST_MEMBERS:,} members, expected some 15,000")
            folder, _, last = name.rpartition("/")
            if last == _FINDER:
                _split(folder)
                continue
            parts = _split(name)
            if kind == "folder":
                continue
            if not parts:
                raise CourseError(f"a {kind} without a name, expected names like {FOLDER}/afw/1.jpg")
            if kind != "file":
                raise CourseError(f"{name!r} is a {kind}, expected files and folders")
            total += size
            if not 0 <= size <= _MOST_MEMBER_BYTES or total > _MOST_BYTES:
                most = f"at most {_MOST_MEMBER_BYTES / 1e6:,.0f} MB a file and {_MOST_BYTES / 1e6:,.0f} MB in all"
                raise CourseError(f"{name!r} with {size:,} bytes is too large, expected {most}")
            key = unicodedata.normalize("NFC", "/".join(parts)).casefold()  # Windows and macOS: A.jpg is a.jpg
            if key in seen:
                raise CourseError(f"{name!r} is there twice")
            seen.add(key)
            yield _Member(parts, opener)


def _split(name: str) -> tuple[str, ...]:
    """The parts of a path with forward slashes. Raises `CourseError` where it is not safe to write on every system."""
    path = PurePosixPath(name)
    odd = printable(name) != name or path.is_absolute() or ".." in path.parts
    if odd or any(map(_HOSTILE.search, path.parts)):
        raise CourseError(f"the name {name!r} is not safe, expected one like {FOLDER}/afw/1.jpg")
    return path.parts


def _read_tar(file: IO[bytes], gzipped: bool) -> Iterator[tuple[str, int, str, Callable]]:
    kinds = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "folder"}
    kinds |= {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link"}
    unzipped = _ShortReads(gzip.GzipFile(fileobj=file) if gzipped else file, _MOST_READ)
    with tarfile.open(fileobj=cast(IO[bytes], unzipped), mode="r:") as tar:
        for member in tar:
            kind = "sparse file" if member.issparse() else kinds.get(member.type, "device, pipe or unknown thing")
            yield member.name, member.size, kind, lambda member=member: tar.extractfile(member)
        # tarfile takes damage for the end; a whole tar ends in zeros. Reading on, gzip compares its sum, too.
        zeros = 0
        while block := unzipped.read(_BLOCK_BYTES):
            zeros += len(block)
            if any(block) or zeros > _MOST_READ:
                raise tarfile.ReadError("something follows after its end, or a header is damaged")
        if not zeros:
            raise EOFError("its end is missing")


class _ShortReads:
    """A file that refuses long reads: tarfile would hold a header of any length in memory, zipfile a list."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._read, self._most = file.read, most

    def read(self, size: int = -1) -> bytes:
        data = self._read(size if 0 <= size <= self._most else 0 if size != -1 else self._most + 1)
        if not -1 <= size <= self._most or len(data) > self._most:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return data


def _read_zip(file: IO[bytes], gzipped: bool) -> Iterator[tuple[str, int, str, Callable]]:
    short = cast(IO[bytes], _ShortReads(file, _MOST_INDEX))
    with zipfile.ZipFile(short) as archive:  # opened members end at the size they declare, and compare their sum there
        for info in archive.infolist():
            form = stat.S_IFMT(info.external_attr >> 16)  # 0 where Windows made it
            # Old programs of Windows separate folders by backslashes, which the format forbids.
            name = info.filename if ".." in info.filename else info.filename.replace("\\", "/")
            folder = name.endswith("/") or form == stat.S_IFDIR
            kind = "folder" if folder else "file" if form in (0, stat.S_IFREG) else "link or device"
            yield name, info.file_size, kind, lambda info=info: archive.open(info)
