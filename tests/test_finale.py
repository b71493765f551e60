"""Notebook 06 as it ends the course: the webcam on, in a real browser, while every other cell runs beside it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Notebook, browser, jupyterlab
from playwright.sync_api import expect

from flcourse.data.videos import Pose, film

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "06_live_landmarks.ipynb"
LONG = 90_000  # ms: the camera's images are much work for a busy machine


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook in JupyterLab, nothing run yet, in a browser whose camera sees the astronaut move."""
    folder = tmp_path_factory.mktemp("finale")
    with open(folder / "scene.y4m", "wb") as scene:  # uncompressed YUV4MPEG2
        scene.write(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n")
        for frame in film(lambda at: [Pose(x=0.5 + 0.05 * np.sin(2 * np.pi * at))], 30):
            scene.write(b"FRAME\n" + cv2.cvtColor(frame.image, cv2.COLOR_RGB2YUV_I420).tobytes())
    flags = "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={folder / 'scene.y4m'}"
    (folder / "notebooks").mkdir()
    shutil.copy(NOTEBOOK, folder / "notebooks")
    with (
        browser(*flags) as chromium,
        jupyterlab(folder) as url,
        Notebook(chromium, url, NOTEBOOK.name, folder) as opened,
    ):
        opened.page.set_default_timeout(LONG)
        opened.page.context.grant_permissions(["camera"])
        yield opened


def figures(cell) -> int:
    """How many images a cell has put out."""
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))


def webcam_cell(notebook) -> int:
    [index] = [i for i, cell in enumerate(notebook.cells()) if "BrowserCamera" in cell["source"]]
    return index


def points_are_drawn(notebook) -> bool:
    """Whether the face was found in the last frame, and its points are on the canvas where Python says."""
    found = notebook.evaluate("[face.points.tolist() for face in webcam.faces]")
    if len(found) != 1:
        return False
    alpha = """(canvas, points) => { const { width, height } = canvas;
        const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
        return points.map(([x, y]) => data[4 * (width * Math.round(y) + Math.round(x)) + 3]); }"""
    canvas = notebook.page.locator(".flcourse-cam canvas").first
    # The face moves on: most of the points of a moment ago still lie on lines or dots.
    return sum(value > 0 for value in canvas.evaluate(alpha, found[0])) > 20


def until(notebook, condition, seconds: float, otherwise: str) -> None:
    for _ in range(int(5 * seconds)):
        if condition():
            return
        notebook.page.wait_for_timeout(200)
    notebook.fail(otherwise)


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_webcam_is_on_while_every_cell_runs(notebook, time):
    page, webcam = notebook.page, notebook.page.locator(".flcourse-cam").first
    kernel = "jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
    split = webcam_cell(notebook) + 1
    notebook.run_part("above", split)
    webcam.scroll_into_view_if_needed()
    webcam.get_by_role("button", name="Start the camera").click()
    expect(webcam).to_have_attribute("data-state", "on")
    until(notebook, lambda: points_are_drawn(notebook), 90, "no points before the other cells")
    before = page.evaluate(kernel), notebook.evaluate("webcam.session")
    notebook.run_part("below", split)
    assert (page.evaluate(kernel), notebook.evaluate("webcam.session")) == before  # the same kernel, and still on
    assert notebook.evaluate("webcam.error") == "" and notebook.evaluate("player.error") == ""
    frame = notebook.evaluate("id(webcam.frame)")
    until(notebook, lambda: notebook.evaluate("id(webcam.frame)") != frame, 30, "no more frames")
    until(notebook, lambda: points_are_drawn(notebook), 60, "no points after the other cells")
    expect(webcam).to_have_attribute("data-state", "on")
    assert not notebook.errors()
    # Every figure is in its own cell: the camera's messages, which come meanwhile, take none.
    saved = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [figures(cell) for cell in notebook.cells()] == [figures(cell) for cell in saved]
