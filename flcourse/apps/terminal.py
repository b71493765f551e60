"""What every command does with its terminal: standard output and error, JSON, escaped names, bars only where seen."""

import json
import os
import sys
from contextlib import suppress
from io import TextIOWrapper

from flcourse.errors import CourseError, printable


def prepare_streams(own_process: bool) -> None:
    """Let no character that the console or a redirected file cannot show end a command; bars only in a terminal.

    `own_process` says that all of the process is the command. Windows' code pages, which redirected output takes, know
    neither arrows nor other alphabets' letters.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    if own_process and not shows_bars():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported: for bars that nobody else decides on


def shows_bars() -> bool:
    """Whether progress bars are seen by someone: they go to standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def say(text: object) -> None:
    """Print a line on standard output."""
    print(printable(text))


def tell(text: object) -> None:
    """Print a line on standard error, as the program that speaks."""
    with suppress(OSError):  # there is nowhere left to say it
        print(f"flcourse: {printable(text)}", file=sys.stderr)


def strict_json(value: object) -> str:
    """JSON as its standard has it: in ASCII here, without NaN and infinity, for which it raises `CourseError`."""
    try:
        return json.dumps(value, indent=1, allow_nan=False)
    except ValueError as error:
        raise CourseError("a figure is no number (NaN or infinite), which JSON has no word for") from error


def silence() -> None:
    """Let what is still to be written go nowhere, so that Python does not complain of it on its way out."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
