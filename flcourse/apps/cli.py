"""The command `flcourse`: a table of commands, each a module of this package, imported only when it is asked for.

A command's module has `configure(parser)`, which says what it takes, and `run(args)`, which does it. Modules are light:
what takes time to import, `run` imports. Exit codes: 0 done, 2 the one line on stderr says what is wrong and what to
do, 130 interrupted by Ctrl-C.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from flcourse import __version__
from flcourse.errors import CourseError, not_installed

COMMANDS = {  # name -> what it does; its module has the same name, with _ for -
    "demo": "Find 68 points on the faces of a photograph and say what to do next",
    "detect": "Find 68 points on every face of images",
    "app": "Find 68 points in the browser, in camera shots and images",
    "webcam": "Find 68 points on the faces of a camera or a video, live",
    "data": "Fetch or draw data, with progress and checks",
    "train": "Train a landmark network on imglab XML (iBUG 300-W, or faces of your own)",
    "evaluate": "Measure a network on the annotated faces of imglab XML",
    "calibrate": "Fit a trained network's confidence: the chance that its points are right",
    "fit-boxes": "Fit the map from detectors' boxes to the XML's on training faces",
    "bench": "Time the detectors, the engines that run the network, the live loop and training, in one run",
    "export": "Write a trained network as ONNX, which detect, demo and evaluate run without PyTorch",
}


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The command line. Only the `chosen` command's own options are in it, so that no other's module is imported."""
    parser = argparse.ArgumentParser(
        prog="flcourse", description="Face landmarks from scratch: train, evaluate and use a 68-point network."
    )
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
    """Run a command; exits with 2 and one line on stderr where the input is bad, 130 on Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(next(iter(argv), None)).parse_args(argv)
    try:
        try:
            args.run(args)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in ("", "flcourse"):
                raise
            raise not_installed("this command", package, "course") from error
    except CourseError as error:
        print(f"flcourse: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `flcourse ... | head` closed the pipe: nothing is wrong, and nobody reads more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nflcourse: interrupted", file=sys.stderr)
        sys.exit(130)
