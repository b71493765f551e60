"""The one error that means: the input was bad, and this line tells the user what to do about it."""

import os
import re
import shutil
import sys
from pathlib import Path

# Controls (with line ends, and the escape that steers terminals), halves of characters (names that are no Unicode), and
# the marks that turn the direction of writing, by which `gpj.exe` reads as `exe.jpg`.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def printable(text: object) -> str:
    """A text of someone else's, such as a file's name, on one line that is safe to print: controls become `\\x1b`."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], str(text))


class CourseError(Exception):
    """Bad input. The message is one line naming the file or value, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2. It may quote what strangers sent: as text it
    is always `printable`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def not_installed(what: str, package: str, extra: str) -> CourseError:
    """The error of something whose package comes only with an extra (`course` or `app`) of the light base package."""
    where = f'in the course\'s folder: python3 course.py setup, or pip install ".[{extra}]"'
    return CourseError(f"{what} needs {package}, which is not installed; {where}")


def command(arguments: str) -> str:
    """The line that runs `flcourse ARGUMENTS` where the reader is: by course.py, or as this program was started.

    `course.py` says in `FLCOURSE_COMMAND` how it was called: who uses it has no `flcourse` on the path.
    """
    program = os.environ.get("FLCOURSE_COMMAND", "flcourse")
    if program == "flcourse" and not shutil.which(program):
        started = Path(sys.argv[0])
        if started.stem == "flcourse":  # .venv/bin/flcourse
            program = sys.argv[0]
        elif started.parent.name == "flcourse" and started.name == "__main__.py":
            program = f"{Path(sys.executable).name} -m flcourse"
    return f"{program} {arguments}"
