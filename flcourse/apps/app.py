"""`flcourse app`: starts Streamlit on the page, for this machine alone. Never imports torch."""

import argparse
import importlib.util
import runpy
import signal
import socket
import sys
from pathlib import Path

from flcourse.apps.options import add_description, add_weights, whole
from flcourse.errors import CourseError, not_installed

ADDRESS = "127.0.0.1"  # nobody else's machine can reach it; and only there or by HTTPS do browsers lend a camera
PORT, TRIES = 8501, 20  # Streamlit's usual port, and how many from it on are tried where it is taken
UPLOAD_MB = 50  # for each file; a phone's 48 megapixels are 10 to 25 MB as JPEG


def configure(parser: argparse.ArgumentParser) -> None:
    """What `flcourse app` takes."""
    add_description(
        parser,
        "Needs Streamlit, which the extra [app] brings. Only this machine reaches the page; nothing is kept or sent.",
    )
    parser.add_argument("--port", type=whole(1, 65535), metavar="N", help="default: 8501, or the next free one")
    text = "open one (default: where a screen is)"
    parser.add_argument("--browser", action=argparse.BooleanOptionalAction, help=text)
    add_weights(parser)


def run(args: argparse.Namespace) -> None:
    """Serve the page for the browser."""
    serve(args.port, browser=args.browser, weights=args.weights)


def serve(port: int | None = None, *, browser: bool | None = None, weights: str | None = None) -> None:
    """Serve the page until Ctrl-C; returns only by `SystemExit`.

    `port`: the one to use, or None for the first free one from 8501 on. `browser`: whether to open one; None leaves it
    to whether there is a screen. `weights`: a shipped name or an `.onnx` file, None for the default. Raises
    `CourseError` where Streamlit is missing, the port taken or the weights bad.
    """
    from flcourse.face.landmark_network import DEFAULT_WEIGHTS
    from flcourse.face.landmarker import FaceLandmarker

    weights = weights or DEFAULT_WEIGHTS
    if importlib.util.find_spec("streamlit") is None:
        raise not_installed("the app", "Streamlit", "app")
    FaceLandmarker(weights, detector=None)  # bad weights are told here, in the terminal, instead of later on the page
    port = choose_port(port)
    from starlette.formparsers import MultiPartParser

    # By default what is above 1 MB passes through a temporary file; the page promises that nothing does.
    MultiPartParser.spool_max_size = 2 * UPLOAD_MB * 1024 * 1024
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app_server.py")), *options(port, browser)]
    sys.argv += ["--", weights]
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # Ctrl-C is how it ends; else Streamlit says "Aborted!"
    # What `python -m streamlit` does, in this very process: one to end.
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)


def options(port: int, browser: bool | None = None) -> list[str]:
    """Streamlit's options; given so, they outrank the user's own configuration, and none is written."""
    chosen = {
        "server.address": ADDRESS,
        "server.port": port,
        "server.maxUploadSize": UPLOAD_MB,
        "server.fileWatcherType": "none",  # costs time, and the page does not change
        "server.showEmailPrompt": "false",  # else the first start asks for an address and writes a file
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "browser.gatherUsageStats": "false",
        # Streamlit's red looks like an alarm. One colour for both themes would switch the dark one off.
        "theme.light.primaryColor": "#1f77b4",
        "theme.dark.primaryColor": "#56b4e9",
        "client.toolbarMode": "minimal",  # no button that would publish the page
        "logger.hideWelcomeMessage": "true",
    }
    if browser is not None:
        chosen["server.headless"] = str(not browser).lower()
    return [f"--{name}={value}" for name, value in chosen.items()]


def choose_port(port: int | None) -> int:
    """`port` where it is free, for None the first free one from 8501 on. Raises `CourseError` where there is none."""
    for number in range(PORT, PORT + TRIES) if port is None else [port]:
        with socket.socket() as probe:
            if sys.platform != "win32":  # there it would mean: even where another program listens
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, number))
            except PermissionError as error:
                if port is not None:
                    raise CourseError(f"--port {port}: this system does not allow it; give one above 1023") from error
            except OSError as error:
                if port is not None:
                    raise CourseError(
                        f"--port {port}: taken by another program; give another, or none for the next free one"
                    ) from error
            else:
                return number
    raise CourseError(f"ports {PORT} to {PORT + TRIES - 1} are all taken; give a free one: flcourse app --port N")
