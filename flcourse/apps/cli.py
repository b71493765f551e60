"""The command `flcourse`: a table of commands, each a module of this package, imported only when it is asked for.

A command's module has `configure(parser)`, which says what it takes, and `run(args)`, which does it. Modules are light:
what takes time to import, `run` imports.
"""

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

from flcourse import __version__
from flcourse.apps.terminal import prepare_streams, printable, silence, tell
from flcourse.errors import CourseError, not_installed

COMMANDS = {  # name -> what it does; its module has the same name, with _ for -
    "demo": "Find 68 points on the faces of a photograph and say what to do next",
    "detect": "Find 68 points on every face of images",
    "app": "Find 68 points in the browser, in camera shots and images",
    "webcam": "Find 68 points on the faces of a camera or a video, live",
    "data": "Fetch or draw data, with progress and checks",
    "train": "Train a landmark network on imglab XML (iBUG 300-W, or faces of your own)",
    "train-detector": "Train the face detector on scenes composed of the faces of imglab XML and of things",
    "evaluate": "Measure a network on the annotated faces of imglab XML",
    "calibrate": "Fit a trained network's confidence: the chance that its points are right",
    "fit-boxes": "Fit the map from detectors' boxes to the XML's on training faces",
    "bench": "Time the detectors, the engines that run the network, the live loop and training, in one run",
    "export": "Write a trained network as ONNX, which detect, demo and evaluate run without PyTorch",
}
BAD_INPUT, INTERRUPTED, NOBODY_READS = 2, 130, 141  # exit codes; the last two are those of shells: 128 + the signal
EXIT_CODES = (
    f"Exit codes: 0 done; {BAD_INPUT} not done, or not all of it: standard error says in one line what is wrong and "
    f"what to do; {INTERRUPTED} interrupted by Ctrl-C; {NOBODY_READS} the reader of a pipe has gone."
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """End with the line and `BAD_INPUT`."""
        self.exit(BAD_INPUT, printable(f"{self.prog}: {message}; see {self.prog} --help") + "\n")

    def _print_message(self, message: str, file: TextIO | None = None) -> None:
        # argparse's own passes over what cannot be written, as if `--help` had been shown.
        print(message, end="", file=file or sys.stderr)


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The command line. Only the `chosen` command's own options are in it, so that no other's module is imported."""
    about = "Face landmarks from scratch: train, evaluate and use a 68-point network."
    parser = Parser(prog="flcourse", description=about, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"flcourse {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary}.")
        if name == chosen:
            module = importlib.import_module(f"flcourse.apps.{name.replace('-', '_')}")
            module.configure(command)
            command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. Returns where it is done, else raises `SystemExit` with one of the codes of `EXIT_CODES`."""
    prepare_streams(own_process=argv is None)
    try:
        try:
            _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()  # here, where a full disk or a reader that has gone can still be told
    except CourseError as error:
        tell(error)
        sys.exit(BAD_INPUT)
    except BrokenPipeError:  # `flcourse ... | head`: nothing is wrong, and nobody reads more
        silence()
        sys.exit(NOBODY_READS)
    except OSError as error:
        silence()
        lost = error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)
        if error.filename is None and not lost:
            raise
        tell(f"{'standard output' if lost else error.filename}: {error.strerror}")
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("\nflcourse: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run(argv: list[str]) -> None:
    args = build_parser(next(iter(argv), None)).parse_args(argv)
    try:
        args.run(args)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "flcourse"):
            raise
        raise not_installed("this command", package, "course") from error
