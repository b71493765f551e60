"""Where the course's files are: data folders, downloads, atomic writes (standard library only, but for the progress bar)."""

import os
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
        part.unlink(missing_ok=True)
        raise CourseError(f"{path}: cannot be written ({error.strerror or error})") from error
