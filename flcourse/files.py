"""What the environment says of network, speed, CPUs and data folders, and atomic writes (standard library only)."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from flcourse.errors import CourseError


def atomic_write(path: str | os.PathLike, data: bytes | str) -> None:
    """Write a file under a temporary name beside it and rename it, so that no reader ever sees half of it."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise CourseError(f"{path}: cannot be written ({error.strerror or error})") from error


def offline() -> bool:
    """Whether `FLCOURSE_OFFLINE=1` forbids the network."""
    return os.environ.get("FLCOURSE_OFFLINE", "") not in ("", "0")


def fast() -> bool:
    """Whether `FLCOURSE_FAST=1` asks for small runs: tests and slow laptops set it, notebooks ask here."""
    return os.environ.get("FLCOURSE_FAST", "") not in ("", "0")


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
    elsewhere. Never the working directory, which for a notebook is another than for a script.
    """
    named = os.environ.get("FLCOURSE_DATA")
    root = Path(__file__).resolve().parent.parent
    try:
        in_checkout = '"flcourse"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        in_checkout = False
    own = root / "data" if in_checkout else _cache_folder()
    return [Path(named).expanduser().absolute(), own] if named else [own]


def _cache_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flcourse"


def find_file(relative: str | os.PathLike) -> Path | None:
    """The file or folder of this relative name in the first data folder that has it, or None."""
    return next((folder / relative for folder in data_folders() if (folder / relative).exists()), None)


def download_folder() -> Path:
    """Where downloads land: the first data folder that can be written, made if need be. Raises `CourseError`."""
    for folder in data_folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    raise CourseError(f"{folder}: cannot be written; set FLCOURSE_DATA to a folder that can, for downloads")
