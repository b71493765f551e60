"""The page of `flcourse app`: camera shots and images in, points out. Keeps nothing, sends nothing; no torch.

Streamlit runs this file anew at every click. What costs time is kept between the runs: the network and the detectors
for everyone, the present image and what was found in it for one visitor, in memory.
"""

import io
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import PureWindowsPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import streamlit as st

from flcourse.apps.app import UPLOAD_MB
from flcourse.apps.outputs import unique_stems
from flcourse.apps.results import Found, find, json_text, pts_text
from flcourse.errors import CourseError, command
from flcourse.face.detect import open_detector
from flcourse.face.detections import Detector
from flcourse.face.detector_files import SSD8_NET, SSD8_WEIGHTS, SSD_NET, SSD_WEIGHTS, YUNET, ModelFile
from flcourse.face.draw import close_up, draw_faces
from flcourse.face.landmark_network import DEFAULT_WEIGHTS
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.face.measure import expression_meters, expression_word, head_pose, measure
from flcourse.files import find_file
from flcourse.images import decode_image, image_format, most_megapixels, shrink, to_input, warp
from flcourse.points import Box, apply, crop_matrix

FORMATS = {"PNG": ("png",), "JPEG": ("jpg", "jpeg"), "WebP": ("webp",)}
SUFFIXES = [suffix for suffixes in FORMATS.values() for suffix in suffixes]  # as the uploader lists them, too
COLUMNS, TILE_SIDE = 4, 360  # of the grid of several images; px, the long side of a tile's image
SHOWN_SIDE = 1400  # px, the long side of the result as shown; what is downloaded has the image's own size
SHOWN_FACES = 12  # close-ups; a crowd's other faces are in the image and in the files
MOUTH_OPEN = 0.2  # of the meter; parted lips measure less
TURNED = 20  # degrees; below, the image's unknown lens and the network's own errors decide
ENLARGED = 4  # times, of the crop's pixels, so that they can be seen
DETECTORS = {  # the page's order of preference -> its name in words, what to know about it
    "course": ("The course's", "Its own small network, at every scale of the image: finds the smallest faces, too."),
    "ssd": ("SSD (res10)", "A neural network on 300 × 300 px: steady on large faces, misses small ones."),
    "yunet": ("YuNet", "A small neural network of Wu, Peng and Yu's, on 640 px."),
    "haar": ("Haar cascade", "From 2001, comes with OpenCV: upright, frontal faces only."),
}


def detectors_here() -> list[str]:
    """The detectors whose files are on this machine, in the page's order; two come with the packages."""

    def here(*files: ModelFile) -> bool:
        return all(find_file(f"models/{file.name}") for file in files)

    # As `open_detector` chooses between the SSD's two networks: what it would have to download does not count as here.
    ssd = here(SSD_WEIGHTS, SSD_NET) or (not here(SSD_WEIGHTS) and here(SSD8_WEIGHTS, SSD8_NET))
    there = {"course": True, "ssd": ssd, "yunet": here(YUNET), "haar": True}
    return [name for name in DETECTORS if there[name]]


@st.cache_resource(show_spinner="Loading the network …")
def open_network(weights: str) -> FaceLandmarker:
    """The landmark network, loaded once for all visitors."""
    network = FaceLandmarker(weights, detector=None)
    network.at(np.zeros((64, 64, 3), np.uint8), [Box(0, 0, 64, 64)])  # the first run warms up and would be timed
    return network


@st.cache_resource(show_spinner=False, max_entries=8)
def open_landmarker(weights: str, detector: str, threshold: float | None) -> FaceLandmarker:
    """The network with a detector, for all visitors."""
    landmarker = copy(open_network(weights))  # shares the ONNX session
    landmarker.detector = open_detector(detector, threshold)
    landmarker(np.zeros((64, 64, 3), np.uint8))
    return landmarker


def detector_of(landmarker: FaceLandmarker) -> Detector:
    """The one that `open_landmarker` gave it."""
    assert landmarker.detector is not None
    return landmarker.detector


def load(data: bytes, name: str) -> np.ndarray:
    """An upload as an upright (H, W, 3) RGB image. Raises `CourseError` where it is none, or a huge one."""
    if data and image_format(data) not in FORMATS:
        raise CourseError(f"{name}: damaged, or not a PNG, JPEG or WebP image; try another file")
    return decode_image(data, name)


def network_view(image: np.ndarray, face: FaceLandmarks, size: int) -> np.ndarray:
    """The crop of a face as the network gets it, (size, size) in [-1, 1], as a grey uint8 image, pixels enlarged."""
    values = to_input(warp(image, crop_matrix(face.box, size), size))[0]
    grey = np.rint((values + 1) * 127.5).astype(np.uint8)
    return grey.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def png(image: np.ndarray) -> bytes:
    """An RGB image as the bytes of a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Files' contents by file name, as the bytes of a zip file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def plain(text: str) -> str:
    """Text such as a file's name, safe from being taken for Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+!$~<>|:-])", r"\\\1", text)


def stem(name: str) -> str:
    """The name of a file without folders, of whichever system, and without its suffix."""
    return PureWindowsPath(name).stem or "image"


def in_words(points: np.ndarray, size: tuple[int, int]) -> str:
    """What the points of a face (68, 2) say in an image of `size` (width, height): words, as numbers seem exact."""
    meters = expression_meters(measure(points))
    expression = expression_word(meters)
    words = [
        {"neutral": "neither smile nor surprise"}.get(expression, f"{expression} (by its shape)"),
        "mouth open" if meters.mouth >= MOUTH_OPEN else "mouth closed",
    ]
    if pose := head_pose(points, size):
        way = "right" if pose.yaw > 0 else "left"
        words.append(f"head turned to the image's {way}" if abs(pose.yaw) >= TURNED else "head turned to the camera")
    return ", ".join(words)


def latest(what: str, key: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, kept in this visitor's memory until it is asked for another `key`."""
    kept = st.session_state.setdefault("latest", {})
    if what not in kept or kept[what][0] != key:
        kept.pop(what, None)  # two large images at once may be one too many
        kept[what] = key, make()
    return kept[what][1]


# --- the page, top to bottom ---

# Drawn here: Streamlit's own icons for a page's tab are fetched from a server of Google's.
ICON = """<svg viewBox="0 0 32 32" fill="none" stroke="#1f77b4" stroke-width="3" stroke-linecap="round">
<circle cx="16" cy="16" r="13" stroke-dasharray="0.1 5"/>
<path d="M10 12h.1M22 12h.1M16 15v3M10.5 22q5.5 4 11 0"/></svg>"""
UPLOAD, CAMERA, EXAMPLE = "Upload", "Camera", "Example"
MEANING = """
- **Confidence**, 0 to 1, is the landmark network's own estimate of the chance that its points are right: off by at
  most 8 % of the distance between the outer eye corners. It was measured on faces cut badly, turned, covered and dark;
  of the answers with 0.9, about nine in ten were right. What gets less than 0.2 is taken for no face and left out. A
  dash (–): this network was never calibrated, so nobody knows.
- **The detector's score**, 0 to 1, says how much like a face the box looks to that detector. Scores of different
  detectors compare only roughly.
- The shipped network's points are off by 3.3 % of the distance between the outer eye corners, on average over the 224
  photographs of LFPW's test set. Nobody noted who is in the photographs it learned from, so nobody knows for whom it
  works less well; faces in profile are hardly among them.
- **What the points say** compares with the average calm face, which nobody has, and supposes a usual lens. A smile is
  a shape of the mouth. Points do not tell what somebody feels or wants, nor who it is.
- Ask people before you take their image.
"""


class Upload(NamedTuple):
    """An image as it came in; `key` tells it from all others of the visit."""

    key: str
    name: str
    data: Callable[[], bytes]


def page(weights: str = DEFAULT_WEIGHTS) -> None:
    """The whole page, for a shipped network's name or an `.onnx` file."""
    st.set_page_config("flcourse: 68 points", page_icon=ICON)
    st.title("68 points on every face")
    st.write("Give an image: you get a box, 68 landmarks and a confidence for each face in it.")
    st.caption(
        ":material/lock: Your images stay in this computer's memory while the page is open. Nothing is written to "
        "disk, nothing is sent anywhere."
    )
    try:
        detector, threshold, drawn = settings(weights)
        uploads = images_in()
        if uploads:
            landmarker = open_landmarker(weights, detector, threshold)
            look = Look(landmarker, (weights, detector, threshold))
            several = len(uploads) > 1
            waiting = grid(uploads, drawn, look) if several else []
            chosen = choose(uploads) if several else uploads[0]
            place = st.empty()
            try:
                # In the very place of the result before, which would else stand there, out of date, until the new one.
                with place, st.spinner(f"Looking for faces in {plain(chosen.name)} …"):
                    found = look.at_one(chosen)
                with place.container():
                    show(found, drawn, landmarker)
            except CourseError as error:  # of this image; there may be others
                with place:
                    tell(error)
            for tile_place, upload in waiting:
                with tile_place, st.spinner("Looking …"):
                    tile = look.at_tile(upload)
                with tile_place.container():
                    tile.show(drawn)
            if several:
                download_all(uploads, drawn, look)
    except CourseError as error:
        tell(error)
    with st.expander("What the scores mean, and what they do not"):
        st.markdown(MEANING)


@dataclass(frozen=True)
class Look:
    """How images are looked at now: with what, and the key of these settings."""

    landmarker: FaceLandmarker
    settings: tuple

    def at_one(self, upload: Upload) -> Found:
        """What is found in the image that is shown large; the latest is kept."""
        image = latest("image", upload.key, lambda: load(upload.data(), upload.name))
        return latest("found", (upload.key, self.settings), lambda: find(self.landmarker, image, upload.name))

    def known(self, upload: Upload) -> "Tile | None":
        """What the grid shows of an image, where that is known already."""
        return st.session_state.setdefault("tiles", {}).get((upload.key, self.settings))

    def at_tile(self, upload: Upload) -> "Tile":
        """What the grid shows of an image. Of all images of the visit this small part is kept, not their pixels."""
        key = upload.key, self.settings
        kept = st.session_state.get("latest", {}).get("found", (None, None))
        try:
            found = kept[1] if kept[0] == key else find(self.landmarker, load(upload.data(), upload.name), upload.name)
            tile = Tile.of(found)
        except CourseError as error:
            tile = Tile(None, [], str(error).removeprefix(f"{upload.name}: "), ":material/error:")
        st.session_state.setdefault("tiles", {})[key] = tile
        return tile


class Tile(NamedTuple):
    """An image in the grid: a small copy, the faces in its pixels, what was found or is wrong, in words and a sign."""

    image: np.ndarray | None
    faces: list[FaceLandmarks]
    text: str
    sign: str

    @classmethod
    def of(cls, found: Found) -> "Tile":
        """The tile of what was found."""
        small, x, y = shrink(found.image, TILE_SIDE)
        scale = np.array([[1 / x, 0, (1 / x - 1) / 2], [0, 1 / y, (1 / y - 1) / 2]])  # integers are at pixel centres
        faces = [
            replace(
                face,
                points=apply(face.points, scale),
                box=Box(face.box.left / x, face.box.top / y, face.box.width / x, face.box.height / y),
            )
            for face in found.faces
        ]
        if not faces:
            return cls(small.copy(), [], counted(0), ":material/search_off:")
        sure = ", ".join(face.confidence_text for face in faces[:3]) + (", …" if len(faces) > 3 else "")
        return cls(small.copy(), faces, f"{counted(len(faces))}, confidence {sure}", ":material/check:")

    def show(self, drawn: dict[str, bool]) -> None:
        """The image with what is drawn, but for the numbers, which would be too small to read."""
        if self.image is not None:
            st.image(draw_faces(self.image, self.faces, **(drawn | {"confidence": False})), output_format="JPEG")
        st.caption(f"{self.sign} {plain(self.text)}")


def grid(uploads: Sequence[Upload], drawn: dict[str, bool], look: Look) -> list[tuple[Any, Upload]]:
    """All images side by side, each with its state; returns the places of those that are still to be looked at."""
    tiles = st.session_state.setdefault("tiles", {})
    for gone in tiles.keys() - {(upload.key, look.settings) for upload in uploads}:
        del tiles[gone]
    waiting = []
    for start in range(0, len(uploads), COLUMNS):
        for column, upload in zip(st.columns(COLUMNS), uploads[start : start + COLUMNS], strict=False):
            with column.container(border=True):
                place = st.empty()
                st.caption(f"**{plain(upload.name)}**")
            if tile := look.known(upload):
                with place.container():
                    tile.show(drawn)
            else:
                place.caption(":material/hourglass_empty: waiting")
                waiting.append((place, upload))
    return waiting


def counted(faces: int) -> str:
    """A number of faces in words."""
    return {0: "No face", 1: "1 face"}.get(faces, f"{faces} faces")


def tell(error: CourseError) -> None:
    """An error as one clear line on the page."""
    st.error(plain(str(error)), icon=":material/error:")


def settings(weights: str) -> tuple[str, float | None, dict[str, bool]]:
    """The sidebar: detector, threshold or None for its own, what is drawn.

    Raises `CourseError` where the detector's file is damaged.
    """
    with st.sidebar:
        here = detectors_here()
        detector = st.radio(
            "Face detector",
            here,
            format_func=lambda name: DETECTORS[name][0],
            captions=[DETECTORS[name][1] for name in here],
        )
        if missing := [DETECTORS[name][0] for name in DETECTORS if name not in here]:
            st.caption(f"Not on this machine: {' and '.join(missing)}. This fetches them; then reload the page:")
            st.code(command("data detectors"), language=None)
        drawn = {name: st.toggle(f"Draw {name}", True) for name in ("boxes", "points", "confidence")}
        own = detector_of(open_landmarker(weights, detector, None)).threshold
        threshold = st.slider(
            "Threshold",
            *(0.05, 0.95, own, 0.05),
            key=f"threshold-{detector}",  # each detector starts from its own
            help="The least detector's score that counts as a face. Lower finds more faces, and more that are none.",
        )
    # The detector's own threshold: then what it doubts counts, too, where the network is sure of it.
    return detector, None if threshold == own else threshold, drawn


def images_in() -> list[Upload]:
    """The ways in: what was uploaded, the camera's shot, or the example. The camera is asked for only when chosen."""
    way = st.radio("Image from", [UPLOAD, CAMERA, EXAMPLE], horizontal=True, label_visibility="collapsed")
    if way == EXAMPLE:
        from skimage import data

        st.caption("The astronaut Eileen Collins (NASA, in the public domain), from scikit-image.")
        return [Upload(EXAMPLE, "astronaut.png", lambda: png(data.astronaut()))]
    if way == CAMERA:
        return camera()
    files = st.file_uploader(
        f"One or several images: {', '.join(SUFFIXES).upper()}; "
        f"up to {UPLOAD_MB} MB and {most_megapixels():g} megapixels each",
        type=SUFFIXES,
        accept_multiple_files=True,
    )
    return [Upload(file.file_id, file.name, file.getvalue) for file in files]


def camera() -> list[Upload]:
    """The camera's picture, then its shot: in the camera's place, which would show it a second time."""
    if shot := st.session_state.get("shot"):
        st.button("Take another photo", on_click=st.session_state.pop, args=["shot"], icon=":material/photo_camera:")
        return [shot]
    if taken := st.camera_input("Camera", label_visibility="collapsed"):
        data = taken.getvalue()
        st.session_state["shot"] = Upload(taken.file_id, "camera.jpg", lambda: data)
        st.rerun()
    return []


def choose(uploads: Sequence[Upload]) -> Upload:
    """The one of several images to look at."""
    number = st.selectbox(
        f"Which of the {len(uploads)} images to look at",
        range(len(uploads)),
        index=len(uploads) - 1,  # what came last
        format_func=lambda i: uploads[i].name,
    )
    return uploads[number]


def show(found: Found, drawn: dict[str, bool], landmarker: FaceLandmarker) -> None:
    """The result for one image: the image, the files, the faces one by one."""
    height, width = found.image.shape[:2]
    image = draw_faces(found.image, found.faces, **drawn)
    st.image(shrink(image, SHOWN_SIDE)[0], output_format="JPEG")
    st.markdown(
        f"**{counted(len(found.faces))}** in {plain(found.name)}, {width} × {height} px, in {found.milliseconds:.0f} ms"
    )
    if not found.faces:
        advise(detector_of(landmarker).name)
        return
    download(found, image)
    for number, face in enumerate(found.faces[:SHOWN_FACES], start=1):
        show_face(number, face, found, landmarker.still_size)
    if (rest := len(found.faces) - SHOWN_FACES) > 0:
        st.caption(f"{rest} more in the image and in the files; above are the {SHOWN_FACES} the detector is surest of.")


def advise(detector: str) -> None:
    """What to try where no face was found."""
    others = [DETECTORS[name][0] for name in detectors_here() if name != detector]
    st.warning(
        f"{DETECTORS[detector][0]} found no face. What may help:\n"
        "- a lower threshold"
        + (f", or another detector ({' or '.join(others)})" if others else "")
        + ", in the sidebar\n- a larger face, lit from the front, turned to the camera, nothing before it\n"
        "- an image that is the right way up",
        icon=":material/search_off:",
    )


def download(found: Found, image: np.ndarray) -> None:
    """The buttons: the annotated image, and the points as `flcourse detect` writes them."""
    name = stem(found.name)
    points = pts_files(found, name)
    as_png, as_json, as_pts = st.columns(3)
    with as_png:  # a function: only who clicks waits for a large image's PNG
        button("Image (PNG)", lambda: png(image), f"{name}_faces.png", "image/png")
    with as_json:
        button("Points (JSON)", json_text(found), f"{name}_faces.json", "application/json")
    with as_pts:
        if len(points) == 1:
            [(file, text)] = points.items()
            button("Points (.pts)", text, file, "text/plain")
        else:
            button("Points (.pts, zip)", zipped(points), f"{name}_pts.zip", "application/zip")


def button(label: str, data: str | bytes | Callable[[], bytes], file: str, mime: str) -> None:
    """A download button that leaves the page as it is."""
    st.download_button(label, data, file, mime, on_click="ignore", icon=":material/download:", width="stretch")


def pts_files(found: Found, name: str) -> dict[str, str]:
    """The faces' points as `.pts` texts by file name."""
    return {f"{name}_face{number}.pts": pts_text(face.points) for number, face in enumerate(found.faces, start=1)}


def download_all(uploads: Sequence[Upload], drawn: dict[str, bool], look: Look) -> None:
    """One button for all images: what the three buttons give for each, in one zip file."""

    def make() -> bytes:
        files: dict[str, str | bytes] = {}
        for upload, name in zip(uploads, unique_stems([PureWindowsPath(u.name) for u in uploads]), strict=True):
            try:
                found = find(look.landmarker, load(upload.data(), upload.name), upload.name)
            except CourseError as error:
                files[f"{name}_error.txt"] = f"{error}\n"
                continue
            files[f"{name}_faces.png"] = png(draw_faces(found.image, found.faces, **drawn))
            files[f"{name}_faces.json"] = json_text(found)
            files |= pts_files(found, name)
        return zipped(files)

    button(f"All {len(uploads)} images with their points (zip)", make, "flcourse.zip", "application/zip")


def show_face(number: int, face: FaceLandmarks, found: Found, size: int) -> None:
    """One face: what the network saw, its points closely, the scores."""
    with st.container(border=True):
        seen, near, figures = st.columns([3, 3, 2])
        seen.image(
            network_view(found.image, face, size),
            caption=f"What the network sees: {size} × {size} px, grey, black −1, white 1",
        )
        near.image(close_up(found.image, face, ENLARGED * size), caption=f"Face {number}, its 68 points")
        figures.metric("Confidence", face.confidence_text)
        figures.metric("Detector's score", f"{face.score:.2f}")
        figures.metric("Face box", f"{face.box.side:.0f} px")
        st.caption(f"What the points say: {in_words(face.points, found.image.shape[1::-1])}.")


if __name__ == "__main__":
    page(*sys.argv[1:2])
