"""The one error that means: the input was bad, and this line tells the user what to do about it."""

import os
import shutil
import sys
from pathlib import Path


class CourseError(Exception):
    """Bad input. The message is one line naming the file or value, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


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
