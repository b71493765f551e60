"""JupyterLab in a real browser, for tests: a server of its own on a free port, and pages driven by Playwright."""

import ast
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Error, expect, sync_playwright

START, KERNEL, RUN = 90, 90, 240  # seconds at most, on a busy machine: the server, a kernel, one notebook
FLAGS = "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run".split()
expect.set_options(timeout=15_000)  # ms
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # no network, no question
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, also far below the screen
    "docmanager-extension/plugin": {"autosave": False},
}


@contextlib.contextmanager
def browser(*flags):
    """A headless Chromium, closed at the end; further `flags` may for example give it a camera.

    It is the system's: the one named in CHROMIUM, else found on PATH, else Chrome in its usual place (Windows, macOS).
    Without one a test is skipped, and fails in CI.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            where = {"executable_path": path} if path else {"channel": "chrome"}
            opened = playwright.chromium.launch(args=[*FLAGS, *flags], **where)
        except Error as error:
            without = pytest.fail if os.environ.get("CI") else pytest.skip
            without(f"no browser: install chromium, or name one in CHROMIUM ({error.message.splitlines()[0]})")
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def jupyterlab(folder: Path):
    """JupyterLab over `folder/notebooks`, apart from all settings of the user's; yields its address.

    Extensions of widgets are still found: they lie beside Python, in sys.prefix, which is searched in any case.
    """
    root, config, log = folder / "notebooks", folder / "config", folder / "jupyterlab.log"
    for name, setting in SETTINGS.items():
        path = config / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting), encoding="utf-8")
    root.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    apart = {
        "JUPYTER_CONFIG_DIR": config,
        "JUPYTERLAB_SETTINGS_DIR": config / "lab" / "user-settings",
        "JUPYTERLAB_WORKSPACES_DIR": config / "lab" / "workspaces",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "IPYTHONDIR": folder / "ipython",
    }
    environment = os.environ | {name: str(path) for name, path in apart.items()}
    environment |= {"FLCOURSE_OFFLINE": "1", "FLCOURSE_FAST": "1"}
    for unwanted in ("MPLBACKEND", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_TOKEN"):
        environment.pop(unwanted, None)  # MPLBACKEND: set for the tests; a notebook has its own
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    options += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", "--IdentityProvider.token="]
    options += ["--LabApp.expose_app_in_browser=True"]  # commands are called, not looked for in menus
    with open(log, "wb") as out:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_server(f"{url}/api/status", server, log)
            yield url
        finally:
            server.terminate()  # shuts its kernels down too
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_for_server(url, server, log):
    """Until JupyterLab answers; without one in time, fail with what it said."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy to this very machine
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), direct.open(url, timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start within {START} s:\n{log.read_text(errors='replace')[-3000:]}")


def write_notebook(path: Path, cells: Iterable[str]) -> None:
    """Write a notebook of code cells with these sources, for this Python."""
    notebook = new_notebook(cells=[new_code_cell(source.strip()) for source in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


class Notebook:
    """One notebook open in JupyterLab; `page` is Playwright's."""

    def __init__(self, browser, url: str, name: str, shots: Path):
        self.name, self.shots = name, shots
        self.page = browser.new_page(viewport={"width": 1100, "height": 900})
        self.page.set_default_timeout(15_000)
        self.said = []  # the browser's own errors
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(f"{url}/doc/tree/{name}", timeout=START * 1000)
        self.wait("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady", START, "the notebook did not open")
        idle = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
        self.wait(idle, KERNEL, "the kernel did not become idle")  # else Run All asks which kernel to use

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A kernel that lives on would slow the next test.
        with contextlib.suppress(Error):
            self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def run_all(self):
        """Run every cell; fail on the first that fails, or when they are not done in time."""
        self.page.evaluate(
            """() => { window.ran = undefined;
            jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.ran = true; }); }"""
        )
        self.wait("window.ran", RUN, "not all cells finished")
        if self.errors():
            self.fail("a cell failed")
        counts = [cell["execution_count"] for cell in self.cells() if cell["cell_type"] == "code"]
        if counts != list(range(1, len(counts) + 1)):
            self.fail(f"cells ran as {counts}, expected 1 to {len(counts)}")

    def run_part(self, which: str, index: int):
        """Run the cells "above" a cell, or it and those "below"; fail where one fails, or when they are not done."""
        self.page.evaluate(
            """([which, index]) => { window.ran = undefined;
            const { content } = jupyterapp.shell.currentWidget;
            content.deselectAll();
            content.activeCellIndex = index;
            jupyterapp.commands.execute(`notebook:run-all-${which}`).then(() => { window.ran = true; }); }""",
            [which, index],
        )
        self.wait("window.ran", RUN, f"not all cells {which} finished")
        if self.errors():
            self.fail("a cell failed")

    def cells(self) -> list[dict]:
        """The cells as they would be saved now."""
        return self.page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells")

    def errors(self) -> list[str]:
        """What failed in the cells and in the page, in one line each."""
        outputs = [output for cell in self.cells() for output in cell.get("outputs", [])]
        return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"] + self.said

    def wait(self, condition: str, seconds: float, otherwise: str):
        """Until a JavaScript expression is true; fail with an image of the page if it does not become so."""
        try:
            self.page.wait_for_function(f"() => Boolean({condition})", timeout=seconds * 1000)
        except Error as error:
            self.fail(f"{otherwise} within {seconds} s ({error.message.splitlines()[0]})")

    def shot(self, name: str, element=None) -> Path:
        """A screenshot of the page, or of one element of it."""
        path = self.shots / f"{name}.png"
        (element or self.page).screenshot(path=path)
        return path

    def fail(self, message: str):
        """Fail the test, naming a screenshot and everything that went wrong in the notebook."""
        try:
            shot, errors = self.shot("failed"), self.errors()
            counts = [cell["execution_count"] for cell in self.cells() if cell["cell_type"] == "code"]
            errors.append(f"cells finished: {sum(map(bool, counts))} of {len(counts)}")
        except Error as error:
            shot, errors = "no screenshot", [str(error)]
        pytest.fail(f"{self.name}: {message}\nscreenshot: {shot}\n" + "\n".join(errors))

    # --- widgets ---

    def pad(self, number: int = 0):
        """The notebook's drawing pad of this number."""
        return self.page.locator(".flcourse-pad").nth(number)

    def explorer(self, label):
        """The first explorer that has a control with this label (text, or a pattern)."""
        return self.page.locator(".flcourse-explore").filter(has_text=label).first

    def slider(self, label):
        """The handle of the slider with this label."""
        return self.explorer(label).locator(".widget-slider").filter(has_text=label).get_by_role("slider")

    def canvas_box(self, pad) -> tuple[float, float, float]:
        """Left, top and side of a pad's canvas on the screen, scrolled into sight."""
        canvas = pad.locator("canvas.flcourse-pad-canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        return box["x"], box["y"], box["width"]

    def draw(self, pad, strokes):
        """Draw strokes, lists of (x, y) as parts of the pad's side, with the mouse; wait for the last answer."""
        left, top, side = self.canvas_box(pad)
        for stroke in strokes:
            for number, (x, y) in enumerate(stroke):
                self.page.mouse.move(left + x * side, top + y * side)
                if number == 0:
                    self.page.mouse.down()
            self.page.mouse.up()
        expect(pad).to_have_attribute("aria-busy", "false")

    # --- Python ---

    def evaluate(self, expression: str):
        """The value of a Python expression in the notebook's kernel: what JSON can carry."""
        ask = """async (code) => {
            const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const request = { code: '', silent: true, user_expressions: { code } };
            return (await kernel.requestExecute(request).done).content.user_expressions.code;
        }"""
        answer = self.page.evaluate(ask, f"__import__('json').dumps({expression})")
        if answer["status"] != "ok":
            self.fail(f"{expression}: {answer['ename']}: {answer['evalue']}")
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def wait_for_python(self, condition: str, seconds: float = 15):
        """Until a Python expression is true in the kernel."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"bool({condition})"):
            if time.monotonic() > end:
                self.fail(f"{condition} did not become true within {seconds} s")
            self.page.wait_for_timeout(100)
