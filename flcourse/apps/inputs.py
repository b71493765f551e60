"""Which images a command reads: files, folders, patterns; what is left out is said, and no bad one stops the others."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from flcourse.apps.outputs import Ledger
from flcourse.apps.terminal import tell
from flcourse.errors import CourseError, command
from flcourse.files import data_folders, find_file
from flcourse.images import IMAGE_SUFFIXES

SAID = 3  # of what is left out for one reason, so many names are said


@dataclass
class Inputs:
    """The images that were named, in order and each once."""

    images: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # what was named and cannot be had, a line each
    left_out: dict[str, list[Path]] = field(default_factory=dict)  # why -> which

    def each(self, do: Callable[[Path], None]) -> CourseError | None:
        """Call `do` for every image. Where one fails that is said on stderr, and the others are done all the same.

        Returns the error that counts the failures, to be raised at the very end. A single image's is raised at once.
        """
        for why, paths in self.left_out.items():
            names = ", ".join(map(str, paths[:SAID])) + (f" and {len(paths) - SAID} more" if len(paths) > SAID else "")
            tell(f"left out, {why}: {names}")
        asked = len(self.images) + len(self.failures)
        failures = list(self.failures)
        for path in self.images:
            try:
                do(path)
            except CourseError as error:
                failures.append(str(error))
            except (OSError, MemoryError, cv2.error) as error:
                if isinstance(error, OSError) and error.filename is None:  # standard output's, no file's
                    raise
                reason = str(error).strip().splitlines() or [type(error).__name__]
                failures.append(f"{path}: cannot be worked on ({reason[0]})")
            else:
                continue
            if asked > 1:
                tell(failures[-1])
        if failures and asked == 1:
            raise CourseError(failures[0])
        if failures:
            count = f"{len(failures)} of {asked} images could not be read or written"
            return CourseError(f"{count}, see above; the others are done")
        return None


def gather(named: Sequence[Path], recursive: bool = False) -> Inputs:
    """The images among `named`: files, folders (those in them whose suffix says image), and patterns such as `*.jpg`.

    Windows' shell leaves patterns to the program. Folders' subfolders are looked into where `recursive`. Hidden files,
    of which macOS leaves one beside every image on a foreign disk (`._IMG.jpg`), and what flcourse wrote itself are
    left out, the latter unless it is all that was named.
    """
    inputs = Inputs()
    own = _Own()
    seen: set[str] = set()

    def add(path: Path) -> None:
        if (where := os.path.realpath(path)) not in seen:
            seen.add(where)
            inputs.images.append(path)

    def leave_out(why: str, path: Path) -> None:
        inputs.left_out.setdefault(why, []).append(path)

    paths = [path for one in named for path in _expanded(one)]
    for path in paths:
        if path.is_dir():
            before = len(inputs.images)
            try:
                for found in _walk(path, recursive):
                    if why := (own.has(found) and "an earlier result") or _no_image(found):
                        leave_out(why, found)
                    else:
                        add(found)
            except OSError as error:
                _fail(inputs, f"{error.filename or path}: {error.strerror}")
                continue
            if len(inputs.images) == before:
                more = "" if recursive else "; --recursive looks into its subfolders"
                _fail(inputs, f"{path}: no image in this folder, expected {', '.join(IMAGE_SUFFIXES)}{more}")
        elif len(paths) > 1 and own.has(path):
            leave_out("an earlier result", path)
        else:
            add(path)
    if not inputs.images and not inputs.failures:
        _fail(inputs, f"{', '.join(map(str, named))}: nothing but earlier results; name one of them to look at it")
    if len(inputs.failures) + len(inputs.images) > 1:
        for failure in inputs.failures:
            tell(failure)
    return inputs


def _fail(inputs: Inputs, line: str) -> None:
    inputs.failures.append(line)


def _expanded(path: Path) -> list[Path]:
    """The files that a pattern stands for, sorted; another path itself."""
    if not glob.has_magic(str(path)) or os.path.lexists(path):
        return [path]
    return [Path(found) for found in sorted(glob.glob(str(path), recursive=True))] or [path]


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """The files in a folder, sorted, but for flcourse's ledger. Raises `OSError` where it cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if name != Ledger.NAME)


def _no_image(path: Path) -> str:
    """Why a file in a folder is not taken for an image; empty where it is."""
    if path.name.startswith("."):
        return "hidden"
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return "no image by its name"
    return "" if path.is_file() else "no file"  # a pipe, a broken link


class _Own:
    """Tells flcourse's own results; reads each folder's ledger once."""

    def __init__(self) -> None:
        self._ledgers: dict[Path, Ledger] = {}

    def has(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._ledgers:
            self._ledgers[folder] = Ledger(folder)
        return self._ledgers[folder].has(path)


def training_labels(xml: Path | None = None) -> Path:
    """The labels file that was named, else iBUG's training faces in a data folder. Raises `CourseError`."""
    from flcourse.data.imglab import IBUG_TRAIN

    found = xml or find_file(IBUG_TRAIN)
    if found is None:
        raise CourseError(
            f"{IBUG_TRAIN}: not found in {' or '.join(map(str, data_folders()))}; "
            f"fetch it with {command('data ibug')}, or give --data XML"
        )
    return found
