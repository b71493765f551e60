"""Where results go: under names that nobody else has, so that no file of the user's is ever replaced.

Names are reserved against the images that are read, against each other as Windows and macOS compare them (`A` is `a`),
and against what lies in the folder. A file that flcourse wrote, and nobody has changed since, may be replaced; a ledger
in the folder says which those are.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePath

from flcourse.errors import CourseError
from flcourse.files import atomic_write

MOST_TRIES = 10_000  # numbers that are tried behind a name


def folded(name: str) -> str:
    """A name, or a path, as file systems compare it that take `Ä` and `ä`, in one character or two, for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def unique_stems(paths: Sequence[PurePath]) -> list[str]:
    """A file's stem for each path: its own for the first that has it, for others with the next number nobody has."""
    own = {folded(path.stem) for path in paths}
    used: set[str] = set()
    numbers: dict[str, int] = {}
    stems = []
    for path in paths:
        stem, key = path.stem, folded(path.stem)
        if key in used:
            number = numbers.get(key, 2)
            while folded(f"{path.stem}_{number}") in own | used:
                number += 1
            stem, numbers[key] = f"{path.stem}_{number}", number + 1
        used.add(folded(stem))
        stems.append(stem)
    return stems


class Ledger:
    """What flcourse wrote in a folder: names and checksums, a line each, added before the file is written."""

    NAME = ".flcourse-results"
    HEAD = "# What flcourse wrote here, by checksum: it may replace these files, and looks for no faces in them.\n"
    MOST_BYTES = 100_000_000

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.NAME
        self._sums: dict[str, list[str]] = {}
        try:
            if self.path.stat().st_size > self.MOST_BYTES:
                return
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return
        for line in lines:
            checksum, _, name = line.partition(" ")
            try:
                name = json.loads(name)
            except ValueError:
                continue
            if isinstance(name, str):
                self._remember(name, checksum)
        if len(lines) > 100 + 4 * len(self._sums):  # the same files again and again
            self._rewrite()

    def has(self, path: Path) -> bool:
        """Whether the file at `path` is one that flcourse wrote, and as it wrote it."""
        sums = self._sums.get(folded(path.name))
        try:
            return bool(sums) and not path.is_symlink() and _checksum(path.read_bytes()) in sums
        except OSError:
            return False

    def add(self, files: Mapping[Path, bytes]) -> None:
        """Note files that are about to be written. Raises `OSError`."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(self.HEAD if new else "")
            for path, content in files.items():
                checksum = _checksum(content)
                if checksum not in self._sums.get(folded(path.name), []):
                    file.write(f"{checksum} {json.dumps(path.name)}\n")
                    self._remember(path.name, checksum)

    def _remember(self, name: str, checksum: str) -> None:
        sums = self._sums.setdefault(folded(name), [])
        sums.append(checksum)
        del sums[:-2]  # a kill between the note and the file leaves the one before

    def _rewrite(self) -> None:
        lines = [f"{checksum} {json.dumps(name)}\n" for name, sums in self._sums.items() for checksum in sums]
        atomic_write(self.path, self.HEAD + "".join(lines))


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class OutputFolder:
    """A folder that results of `images` are written to."""

    def __init__(self, folder: Path, images: Iterable[Path] = ()) -> None:
        self.folder = folder
        images = list(images)
        self._stems = dict(zip(images, unique_stems(images), strict=True))
        self._reserved = {folded(stem) for stem in self._stems.values()}
        self._inputs = {folded(os.path.realpath(image)) for image in images}
        self._ledger = Ledger(folder)

    def write(self, image: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
        """Write the results of an image, given by what follows its stem (`_faces.png`); returns where each is.

        All have one stem: the image's own, with a number behind it where any of these names is somebody else's. Raises
        `CourseError` where they cannot be written.
        """
        stem = self._stems.get(image, image.stem)
        for number in count(1):
            if number > MOST_TRIES:
                raise CourseError(f"{self.folder}: {MOST_TRIES} names like {stem}_1 are taken; give another --out")
            name = stem if number == 1 else f"{image.stem}_{number}"
            if number > 1 and folded(name) in self._reserved:
                continue
            paths = {self.folder / f"{name}{ending}": content for ending, content in files.items()}
            if all(map(self._free, paths)):
                break
        self._reserved.add(folded(name))
        try:
            self._ledger.add(paths)
        except OSError as error:
            raise CourseError(f"{self.folder}: cannot be written to ({error.strerror}); give another --out") from error
        for path, content in paths.items():
            atomic_write(path, content)
        return dict(zip(files, paths, strict=True))

    def _free(self, path: Path) -> bool:
        if folded(os.path.realpath(path)) in self._inputs:
            return False
        return not os.path.lexists(path) or self._ledger.has(path)
