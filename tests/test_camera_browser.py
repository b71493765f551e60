"""The browser-camera widget in JupyterLab, in a real browser with a fake camera that is pointed at the astronaut."""

import base64
import re

import cv2
import numpy as np
import pytest
from browser import Notebook, browser, jupyterlab, write_notebook
from playwright.sync_api import expect

from flcourse.data.videos import Pose, film
from flcourse.images import decode_image

pytestmark = pytest.mark.browser

CELLS = [
    """
import time
import numpy as np
from flcourse.data.videos import Pose, film
from flcourse.face.draw import draw_faces
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.track import FaceTracker
from flcourse.show.camera import BrowserCamera, play

scene = next(film(lambda at: [Pose(x=0.4)], 1)).image  # what the camera sees
tracker = FaceTracker(FaceLandmarker(threads=1))
pause = 0

def find(image, at):
    time.sleep(pause)
    return tracker(image, at)

find.reset = lambda: tracker.reset()

def open_overlay(name):
    def overlay(image, faces, at):
        image[:] = draw_faces(image, faces) if name == "points" else (0, 90, 200)
    return overlay

def broken(image, at):
    raise RuntimeError("no <b>weights</b> yet")

def sees(image, by=None):
    return bool(np.abs((by or camera).frame.astype(int) - image).mean() < 6)

camera = BrowserCamera(find, ["points", "blue"], open_overlay)
camera""",
    "camera  # again: the same one",
    "failing = BrowserCamera(broken)\nfailing",
    """
frames = (frame.image for frame in film(lambda at: [Pose(x=0.5 + 0.05 * np.sin(6 * at))], 10**6))
view = play(frames, lambda image, at: [], ["points", "blue"], open_overlay, rate=4)  # slow, beside all tests
view""",
    """
over = BrowserCamera(find)  # the course's own overlays
over""",
    "over  # again",
]

# Keeps every camera that the page is given, to see whether it is let go.
TRACKS = """() => {
    window.tracks = [];
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wish) => {
        const stream = await ask(wish);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
}"""
LIVE = "tracks.some((track) => track.readyState === 'live')"
READING = re.compile(r"^[\d.]+ frames/s · \d+ ms from camera to screen · 1 face$")
LONG = 60_000  # ms: a camera's images are much work for a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("camera")


@pytest.fixture(scope="module")
def notebook(folder):
    """A notebook of the cells above, all run, in a browser with one camera, which sees the astronaut."""
    # The film that Chromium's fake camera plays in a loop: uncompressed YUV4MPEG2. Not in the middle, for the mirror.
    scene = next(film(lambda at: [Pose(x=0.4)], 1)).image
    frame = b"FRAME\n" + cv2.cvtColor(scene, cv2.COLOR_RGB2YUV_I420).tobytes()
    (folder / "scene.y4m").write_bytes(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n" + 2 * frame)
    flags = "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={folder / 'scene.y4m'}"
    with browser(*flags) as chromium, jupyterlab(folder) as url:
        write_notebook(folder / "notebooks" / "live.ipynb", CELLS)
        with Notebook(chromium, url, "live.ipynb", folder) as opened:
            opened.page.evaluate(TRACKS)
            opened.page.context.grant_permissions(["camera"])
            opened.run_all()
            opened.page.set_default_timeout(LONG)
            expect.set_options(timeout=LONG)
            yield opened
            expect.set_options(timeout=15_000)  # as in browser.py


@pytest.fixture
def widgets(notebook):
    """The camera's two views and the failing camera, all off before and after."""
    widgets = notebook.page.locator(".flcourse-cam")
    widgets.first.scroll_into_view_if_needed()
    yield [widgets.nth(number) for number in range(3)]
    notebook.evaluate("globals().update(pause=0)")
    notebook.evaluate("[camera.stop(), failing.stop(), over.stop()]")
    notebook.wait(f"!({LIVE})", 10, "a camera is still on")
    assert not notebook.errors()


def press(widget, name):
    widget.get_by_role("button", name=f"{name} the camera").click()


def figures(widget):
    return widget.locator(".flcourse-cam-figures")


def problem(widget):
    return widget.locator(".flcourse-cam-error")


def start(widget):
    """Turn it on, and wait for answers."""
    press(widget, "Start")
    expect(figures(widget)).to_have_text(READING)


def pixels(widget):
    """What the widget's canvas shows, (H, W, 3) uint8 RGB."""
    png = widget.locator("canvas").evaluate("canvas => canvas.toDataURL().split(',')[1]")
    return decode_image(base64.b64decode(png), "the canvas")


def test_points_on_the_face(notebook, widgets):
    widget, other, _ = widgets
    expect(widget.locator(".flcourse-cam-hint")).to_have_text(re.compile("^Start shows your camera's image here"))
    expect(widget.get_by_role("combobox", name="camera")).to_be_disabled()  # they have names once one was allowed
    assert not notebook.page.evaluate(LIVE)
    widget.get_by_role("button", name="Start the camera").press("Enter")  # without a mouse
    expect(figures(widget)).to_have_text(READING)
    assert notebook.page.evaluate(LIVE)
    assert notebook.evaluate("sees(scene[:, ::-1]) and not sees(scene)")  # mirrored, as people know themselves
    widget.get_by_label("mirror").uncheck()
    notebook.wait_for_python("sees(scene) and len(camera.faces) == 1", 60)
    # The points are the astronaut's, whose image came as JPEG by way of a film.
    notebook.wait_for_python("np.abs(camera.faces[0].points - tracker.landmarker(scene)[0].points).mean() < 2", 60)
    # And they are on the screen, in both views: what is shown is what Python drew.
    drawn = np.array(notebook.evaluate("camera.image[::4, ::4].tolist()"))
    for view in (widget, other):
        for _ in range(100):  # a slow browser still shows the one before
            shown = pixels(view)
            if np.abs(shown[::4, ::4] - drawn).mean() < 6:
                break
            notebook.page.wait_for_timeout(200)
        else:
            notebook.fail("the page shows another image than Python drew")
        assert shown.shape == (480, 640, 3)
    notebook.shot("camera", widget)
    assert notebook.evaluate("int((np.abs(camera.image.astype(int) - camera.frame).max(axis=2) > 60).sum())") > 1000
    widget.get_by_label("overlay").select_option("blue")
    notebook.wait_for_python("(camera.image == (0, 90, 200)).all()", 60)
    notebook.evaluate("camera.set_trait('mirror', True)")  # Python can turn it, too
    expect(widget.get_by_label("mirror")).to_be_checked()
    widget.get_by_label("overlay").select_option("points")
    press(widget, "Stop")
    assert not notebook.page.evaluate(LIVE)  # at once
    expect(figures(widget)).to_have_text("")
    notebook.wait_for_python("camera.session == ''")
    press(widget, "Start")  # and once more
    expect(figures(widget)).to_have_text(READING)
    print("\n" + figures(widget).inner_text())


def test_points_are_drawn_over_the_camera_s_own_video(notebook, widgets):
    """Nothing but points comes back: the canvas is empty elsewhere, and the video below it is the browser's."""
    widget = notebook.page.locator(".flcourse-cam").nth(3)
    video = widget.locator("video")
    expect(video).to_be_hidden()
    start(widget)
    expect(video).to_be_visible()
    where = """canvas => { const { width, height } = canvas;
        const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
        return [width, height, data.filter((_, i) => i % 4 === 3 && data[i]).length,
            over.map(([x, y]) => data[4 * (width * Math.round(y) + Math.round(x)) + 3])]; }"""
    for mirrored in (True, False):
        widget.get_by_label("mirror").set_checked(mirrored)
        seen = "sees(scene[:, ::-1], over)" if mirrored else "sees(scene, over)"
        notebook.wait_for_python(f"{seen} and len(over.faces) == 1", 60)
        notebook.page.wait_for_timeout(1000)
        points = notebook.evaluate("over.faces[0].points.tolist()")  # of a still scene
        notebook.page.evaluate("points => { window.over = points; }", points)
        width, height, painted, alpha = widget.locator("canvas").evaluate(where)
        assert (width, height) == (640, 480) and 500 < painted < 20_000 and min(alpha) > 100
        assert video.evaluate("video => video.style.transform") == ("scaleX(-1)" if mirrored else "")
    notebook.shot("over the video", widget)
    other = notebook.page.locator(".flcourse-cam").nth(4)  # of the same camera, whose video it shows too
    expect(other.locator("video")).to_be_visible()
    assert other.locator("canvas").evaluate(where)[2] > 500
    notebook.shot("in another view", other)
    for name in notebook.evaluate("over.overlays"):
        widget.get_by_label("overlay").select_option(name)
        notebook.wait_for_python(f"over._loop.name == {name!r}")
        notebook.page.wait_for_timeout(1500)
        notebook.shot(f"overlay {name}", widget)
        expect(video).to_be_visible() if name == "points" else expect(video).to_be_hidden()
    widget.get_by_label("overlay").select_option("points")
    expect(video).to_be_visible()
    press(widget, "Stop")
    expect(video).to_be_hidden()
    assert np.ptp(pixels(widget)) > 200 and pixels(widget)[240, 300].any()  # the last image stays, points on it


def test_one_camera_in_two_views(notebook, widgets):
    first, second, _ = widgets
    start(first)
    start(second)
    expect(first).to_have_attribute("data-state", "off")
    assert notebook.page.evaluate("tracks.filter((track) => track.readyState === 'live').length") == 1
    notebook.evaluate("camera.stop()")
    expect(second).to_have_attribute("data-state", "off")
    assert not notebook.page.evaluate(LIVE)


def test_what_find_raises_turns_the_camera_off(notebook, widgets):
    failing = widgets[2]
    for _ in range(2):
        press(failing, "Start")
        expect(problem(failing)).to_have_text("RuntimeError: no <b>weights</b> yet")
        expect(failing).to_have_attribute("data-state", "off")
        assert not notebook.page.evaluate(LIVE)


def test_a_busy_kernel_is_waited_for(notebook, widgets):
    widget = widgets[0]
    start(widget)
    notebook.evaluate("globals().update(pause=6)")
    expect(problem(widget)).to_have_text(re.compile("^Python does not answer: it is busy"))
    expect(widget).to_have_attribute("data-state", "on")
    notebook.evaluate("globals().update(pause=0)")
    expect(problem(widget)).to_have_text("")


def test_cameras_are_named_and_a_missing_one_is_told(notebook, widgets):
    widget, choice = widgets[0], widgets[0].get_by_role("combobox", name="camera")
    start(widget)
    expect(choice).to_be_enabled()
    expect(choice.locator("option")).to_have_text(re.compile("scene.y4m"))
    before = notebook.page.evaluate("tracks.length")
    choice.evaluate("select => select.append(new Option('gone', 'no such camera'))")
    choice.select_option("gone")
    expect(problem(widget)).to_have_text("No camera was found. Plug one in, then press Start again.")
    assert not notebook.page.evaluate(LIVE)
    start(widget)  # whichever there is
    assert notebook.page.evaluate("tracks.length") == before + 1


def test_a_hidden_page_turns_the_camera_off(notebook, widgets):
    widget = widgets[0]
    start(widget)
    hide = """hidden => {
        Object.defineProperty(document, 'visibilityState', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
        delete document.visibilityState;
    }"""
    notebook.page.evaluate(hide, "visible")
    expect(widget).to_have_attribute("data-state", "on")
    notebook.page.evaluate(hide, "hidden")
    expect(problem(widget)).to_have_text(re.compile("turned off because the page was hidden"))
    assert not notebook.page.evaluate(LIVE)
    start(widget)
    notebook.page.evaluate("window.dispatchEvent(new Event('pagehide'))")  # as when it is closed
    assert not notebook.page.evaluate(LIVE)


def test_a_camera_that_is_refused(notebook, widgets):
    notebook.page.context.clear_permissions()
    try:
        press(widgets[0], "Start")
        expect(problem(widgets[0])).to_have_text(re.compile("^The browser refuses the camera. Allow it for this page"))
        expect(widgets[0]).to_have_attribute("data-state", "off")
        notebook.shot("refused", widgets[0])
    finally:
        notebook.page.context.grant_permissions(["camera"])
    start(widgets[0])
    expect(problem(widgets[0])).to_have_text("")


def test_cameras_that_cannot_be_had(notebook, widgets):
    page, widget = notebook.page, widgets[0]
    said = {
        "NotFoundError": "No camera was found",
        "NotReadableError": "The camera is there but gives nothing: another program uses it",
        "UnheardOfError": "No image from the camera: what it said",
    }
    page.evaluate("window.given = navigator.mediaDevices.getUserMedia; 0")  # 0: it would call a function
    try:
        for name, text in said.items():
            page.evaluate(
                """name => { navigator.mediaDevices.getUserMedia = () =>
                    Promise.reject(new DOMException('what it said', name)); }""",
                name,
            )
            press(widget, "Start")
            expect(problem(widget)).to_have_text(re.compile(f"^{text}"))
            expect(widget).to_have_attribute("data-state", "off")
    finally:
        page.evaluate("navigator.mediaDevices.getUserMedia = given; 0")
    # A page from another machine by plain http has no mediaDevices at all.
    define = "(thing, name, value) => Object.defineProperty(thing, name, { value, configurable: true })"
    page.evaluate(f"[[navigator, 'mediaDevices'], [window, 'isSecureContext']].map((pair) => ({define})(...pair)); 0")
    try:
        press(widget, "Start")
        expect(problem(widget)).to_have_text(re.compile("^Browsers give the camera to secure pages only.*ssh -L"))
    finally:
        page.evaluate("delete navigator.mediaDevices, delete window.isSecureContext")


def test_a_stop_while_the_browser_asks(notebook, widgets):
    page, widget = notebook.page, widgets[0]
    page.evaluate(
        """window.given = navigator.mediaDevices.getUserMedia;
        navigator.mediaDevices.getUserMedia = async (wish) => {
            await new Promise((go) => { window.allow = go; });
            return given(wish);
        }; 0"""
    )
    try:
        press(widget, "Start")
        expect(widget).to_have_attribute("data-state", "asking")
        press(widget, "Stop")
        page.evaluate("window.asked = tracks.length; allow(); 0")
        notebook.wait("tracks.length > asked", 10, "no camera was given")
        notebook.wait(f"!({LIVE})", 10, "the camera came on after Stop")
        expect(widget).to_have_attribute("data-state", "off")
    finally:
        page.evaluate("navigator.mediaDevices.getUserMedia = given; 0")


def test_a_video_of_the_kernel_plays_and_stops(notebook, widgets):
    player = notebook.page.locator(".flcourse-player")
    player.scroll_into_view_if_needed()
    image, status = player.locator("img"), player.locator(".widget-html")
    before = image.get_attribute("src")
    expect(image).not_to_have_attribute("src", before)  # it plays, though the cells are done
    expect(status).to_have_text(re.compile(r"^frame \d+ · [\d.]+ frames/s · 0 faces$"))
    player.get_by_role("combobox").select_option("blue")
    notebook.wait_for_python("(view.image == (0, 90, 200)).all()")
    notebook.shot("player", player)
    player.get_by_role("button", name="Stop").click()
    expect(status).to_have_text(re.compile(r"^stopped · \d+ frames$"))
    notebook.wait_for_python("view.task.done()")


def test_a_cell_that_is_run_again_or_cleared_turns_the_camera_off(notebook, widgets):
    page = notebook.page
    act = """command => {
        const { content } = jupyterapp.shell.currentWidget;
        content.deselectAll();
        content.activeCellIndex = 0;
        return jupyterapp.commands.execute(command);
    }"""
    for command in ("notebook:run-cell", "notebook:clear-cell-output"):
        start(page.locator(".flcourse-cam").first)
        notebook.evaluate("globals().update(before=camera)")
        page.evaluate(act, command)
        notebook.wait(f"!({LIVE})", 60, f"{command}: the camera is still on")
        notebook.wait_for_python("before.session == ''")
    expect(page.locator(".flcourse-cam")).to_have_count(4)  # the second view, the failing one, and the last two


def test_a_dead_kernel_turns_the_camera_off(notebook):
    widget = notebook.page.locator(".flcourse-cam").first
    start(widget)
    notebook.page.evaluate(
        """() => { jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute(
            { code: '__import__("os")._exit(1)', silent: true }); }"""
    )
    expect(problem(widget)).to_have_text(re.compile("^The kernel has ended or was restarted"))
    assert not notebook.page.evaluate(LIVE)
    expect(notebook.page.get_by_role("dialog")).to_be_visible()  # JupyterLab's own word on it, above everything
    widget.get_by_role("button", name="Start the camera").evaluate("button => button.click()")
    expect(problem(widget)).to_have_text(re.compile("^The kernel has ended or was restarted"))
    assert not notebook.page.evaluate(LIVE)
