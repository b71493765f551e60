"""What the environment says of network, speed, CPUs and data folders; careful reads, whole writes (stdlib only)."""

import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from flcourse.errors import CourseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# --- reading and writing ---

# Files and folders in the making are called NAME.PROCESS-RANDOM.part; a run that finds one whose process is gone
# removes it. What is this old has no process between its making and its locking any more.
_PART = re.compile(r".\.(\d+)-[0-9a-f]{8}\.part$")
_MINUTE, _DAY = 60.0, 86_400.0  # s
_NAME_PART = 40  # characters of a file's name: with up to 4 bytes each, a part's name stays below the usual 255 bytes
_cleaned: set[Path] = set()  # folders this process has looked through
_cleaning = threading.Lock()


def read_bytes(path: str | os.PathLike[str], expected: str, most: int) -> bytes:
    """The bytes of a file. Raises `CourseError` naming it where it has over `most` bytes, or is none.

    A pipe or device is not opened, which could wait or go on for ever; `expected` is the error's word for the file.
    """
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size > most:
            size = f"{status.st_size / 1e6:,.0f} MB"
            raise CourseError(f"{path}: {size}, expected {expected} of at most {most / 1e6:,.0f} MB")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # open() says of a folder what it is
            raise CourseError(f"{path}: a device or a pipe, expected {expected}")
        with open(path, "rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise CourseError(f"{path}: {getattr(error, 'strerror', None) or error}, expected {expected}") from error


def atomic_write(path: str | os.PathLike[str], data: bytes | str, *, durable: bool = True) -> None:
    """Write a file under a temporary name beside it and rename it, so that no reader ever sees half of it.

    `durable` waits until the disk has it (12 ms for a small file), so that a power cut cannot leave an empty file under
    a good one's name; what can be made again at once does without. Raises `CourseError` where it cannot be written.
    """
    path = Path(path)
    part = path.with_name(_part_name(f".{path.name[:_NAME_PART]}"))
    try:
        data = data.encode() if isinstance(data, str) else data
        if path.exists() and not path.is_file():  # renaming over /dev/null would take it from the whole machine
            raise CourseError(f"{path}: a folder, device or pipe, expected the name of a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        with open(part, "xb") as file:
            _lock(file.fileno())
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, ValueError) as error:  # ValueError: a name or text that is no Unicode, or a zero byte in a name
        raise CourseError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    finally:
        with suppress(OSError, ValueError):
            part.unlink()  # still there after an error or Ctrl-C only


@contextmanager
def work_folder(name: str, folder: str | os.PathLike[str] | None = None) -> Generator[Path, None, None]:
    """A new folder for things in the making, below `folder` (default: the system's temporary one), removed at the end.

    What killed processes left of theirs is removed first. Raises OSError.
    """
    folder = Path(folder or tempfile.gettempdir())
    remove_abandoned(folder)
    path = folder / _part_name(name)
    path.mkdir(mode=0o700)
    handle = None
    try:
        if fcntl:  # Windows opens no folders
            handle = os.open(path, os.O_RDONLY)
            _lock(handle)
        yield path
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def _part_name(name: str) -> str:
    return f"{name}.{os.getpid()}-{secrets.token_hex(4)}.part"


def _lock(handle: int) -> None:
    """Show other processes that this part is being worked on, until it is closed."""
    if fcntl:
        with suppress(OSError):  # some network folders cannot be locked
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_abandoned(folder: Path) -> None:
    """Remove parts of this user's whose process is gone, looking through a folder once in a process's life."""
    with _cleaning:
        if folder in _cleaned:
            return
        _cleaned.add(folder)
    with suppress(OSError):
        for entry in os.scandir(folder):
            found = _PART.search(entry.name)
            with suppress(OSError):
                if found and _abandoned(entry, int(found[1])):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)


def _abandoned(entry: os.DirEntry[str], process: int) -> bool:
    """Whether nobody works on a part any more; in doubt somebody does."""
    status = entry.stat(follow_symlinks=False)
    age = time.time() - status.st_mtime
    if not fcntl:  # Windows has no harmless way to ask for a process
        return age > _DAY
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.getuid():
        return False
    handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return age > _DAY and not _runs(process)
    finally:
        os.close(handle)
    return age > _MINUTE or not _runs(process)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


# --- the environment ---

_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


def flag(name: str) -> bool:
    """Whether an environment variable says yes. Raises `CourseError` where it says neither yes nor no."""
    value = os.environ.get(name, "").strip().lower()
    if value not in _YES + _NO:
        raise CourseError(f"{name}={value}: expected 1, yes, on or true, or 0, no, off or false")
    return value in _YES


def offline() -> bool:
    """Whether `FLCOURSE_OFFLINE=1` forbids the network."""
    return flag("FLCOURSE_OFFLINE")


def fast() -> bool:
    """Whether `FLCOURSE_FAST=1` asks for small runs: tests and slow laptops set it, notebooks ask here."""
    return flag("FLCOURSE_FAST")


def cpu_count() -> int:
    """How many CPUs this process may use: under `taskset`, batch systems and in containers fewer than the machine has.

    From Python 3.13 on `PYTHON_CPU_COUNT` and `-X cpu_count` count, too.
    """
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def data_folders() -> list[Path]:
    """The folders where data are looked for, first to last; they need not exist.

    `$FLCOURSE_DATA` where set, then the checkout's `data/`, or the user's cache folder where the package is installed
    elsewhere. Never the working directory, which for a notebook is another than for a script. Raises `CourseError`
    where `FLCOURSE_DATA` is something else than a folder, or one that cannot be read.
    """
    root = Path(__file__).resolve().parent.parent
    try:
        in_checkout = '"flcourse"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        in_checkout = False
    own = root / "data" if in_checkout else _cache_folder()
    named = os.environ.get("FLCOURSE_DATA")
    return [_named_folder(named), own] if named else [own]


def _named_folder(name: str) -> Path:
    try:
        folder = Path(name).expanduser().absolute()
        with suppress(FileNotFoundError):  # it is made when something is to lie there
            os.scandir(folder).close()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: the home of a user who has none
        reason = getattr(error, "strerror", None) or error
        raise CourseError(
            f"FLCOURSE_DATA={name}: {reason}; set it to a folder that you can read, or unset it"
        ) from error
    return folder


def _cache_folder() -> Path:
    try:
        home = Path.home()
    except RuntimeError as error:  # in a container, say, whose user has no name
        raise CourseError(f"no home folder ({error}); set FLCOURSE_DATA to a folder for data") from error
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(base) / "flcourse"


def find_file(relative: str | os.PathLike[str]) -> Path | None:
    """The file or folder of this relative name in the first data folder that has it, or None.

    Raises `CourseError` where a data folder, or one in it, may not be looked into.
    """
    for folder in data_folders():
        path = folder / relative
        try:
            path.stat()
            return path
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise CourseError(f"{path}: {error.strerror or error}; mend its rights, or move it away") from error
    return None


_told: set[Path] = set()  # folders of which was said that they cannot be written


def download_folder() -> Path:
    """Where downloads land: the first data folder that can be written, made if need be. Raises `CourseError`.

    Where that is not the first of all, one line on stderr says so.
    """
    folders = data_folders()
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                if folder != folders[0] and folders[0] not in _told:
                    _told.add(folders[0])
                    print(f"{folders[0]} (FLCOURSE_DATA) cannot be written; new data go to {folder}", file=sys.stderr)
                return folder
    raise CourseError(f"{folders[-1]}: cannot be written; set FLCOURSE_DATA to a folder that can, for downloads")
