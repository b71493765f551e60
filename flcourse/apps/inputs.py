"""Which images a command is to read, and what to call what it writes of each."""

from collections.abc import Sequence
from pathlib import Path

from flcourse.errors import CourseError
from flcourse.images import IMAGE_SUFFIXES


def image_paths(paths: Sequence[Path]) -> list[Path]:
    """The images among `paths`, folders replaced by what lies in them (not in their subfolders), sorted."""
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise CourseError(f"{path}: no image in this folder, expected {', '.join(IMAGE_SUFFIXES)}")
            found += inside
        else:
            found.append(path)
    return found


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A file stem for each path, made unique by a number where two folders hold the same name."""
    seen: dict[str, int] = {}
    stems = []
    for path in paths:
        count = seen[path.stem] = seen.get(path.stem, 0) + 1
        stems.append(path.stem if count == 1 else f"{path.stem}_{count}")
    return stems
