"""The detectors' model files: what they are, where they are found or fetched from, and whether they are whole."""

import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flcourse.download import download
from flcourse.errors import CourseError, command
from flcourse.files import download_folder, find_file, offline


@dataclass(frozen=True)
class ModelFile:
    """A file of `<data folder>/models`: its checksums (sha256 or sha1, any is right), size in bytes and addresses.

    Without checksums its parser decides; without addresses it is used where found, and never fetched.
    """

    name: str
    sums: tuple[str, ...] = ()
    size: int | None = None
    urls: tuple[str, ...] = ()


_ZOO = "models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
YUNET = ModelFile(
    "face_detection_yunet_2023mar.onnx",
    ("8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",),
    232_589,
    (
        # The zoo keeps its models in Git LFS, which raw.githubusercontent.com does not serve. Both are OpenCV's.
        f"https://media.githubusercontent.com/media/opencv/opencv_zoo/47534e27c9851bb1128ccc0102f1145e27f23f98/{_ZOO}",
        "https://huggingface.co/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx",
    ),
)
_GITHUB = "https://raw.githubusercontent.com/opencv"
SSD_WEIGHTS = ModelFile(
    "res10_300x300_ssd_iter_140000.caffemodel",
    ("15aa726b4d46d9f023526d85537db81cbc8dd566",),
    10_666_211,
    (f"{_GITHUB}/opencv_3rdparty/dnn_samples_face_detector_20170830/res10_300x300_ssd_iter_140000.caffemodel",),
)
SSD_NET = ModelFile(
    "deploy.prototxt",
    ("f62621cac923d6f37bd669298c428bb7ee72233b5f8c3389bb893e35ebbcf795",),
    28_092,
    (f"{_GITHUB}/opencv/4.0.1/samples/dnn/face_detector/deploy.prototxt",),
)
# Two versions of the 8-bit weights are about: OpenCV's own, and the one this course was made with.
SSD8_WEIGHTS = ModelFile(
    "opencv_face_detector_uint8.pb",
    ("4f2fdf6f231d759d7bbdb94353c5a68690f3d2ae", "d7282240a6ce9bd6cb55a79618aa9bf7bf996461"),
)
SSD8_NET = ModelFile("opencv_face_detector.pbtxt")

# File name -> when it could not be had, s, and why: no second wait for a network that was dead a moment ago, and a new
# try soon after, for kernels live for days.
_failed: dict[str, tuple[float, str]] = {}
AGAIN = 30.0  # s


def model_path(file: ModelFile) -> Path:
    """Where a model file is, fetched if need be. Raises `CourseError`."""
    found = find_file(f"models/{file.name}")
    if found is not None:
        return found
    when, why = _failed.get(file.name, (-math.inf, ""))
    if time.monotonic() - when < AGAIN and not offline():
        raise CourseError(why)
    try:
        return _fetch(file)
    except CourseError as error:
        _failed[file.name] = time.monotonic(), str(error)
        raise


def _fetch(file: ModelFile) -> Path:
    target = download_folder() / "models" / file.name
    checksum: dict[str, Any] = {_algorithm(file.sums[0]): file.sums[0]}
    return download(file.urls, target, size=file.size, **checksum)


def read_model(file: ModelFile) -> np.ndarray:
    """The bytes of a model file, (N,) uint8. Raises `CourseError` naming a file that cannot be had or is damaged."""
    path = model_path(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror or error}, expected a face detector's file") from error
    sums = [hashlib.new(_algorithm(known), data, usedforsecurity=False).hexdigest() for known in file.sums]
    if not sums or any(found == known for found, known in zip(sums, file.sums, strict=True)):
        return np.frombuffer(data, np.uint8)
    raise CourseError(
        f"{path}: damaged or another file, its checksum is not that of {file.name}; "
        f"remove it and run {command('data detectors')}"
    )


def _algorithm(checksum: str) -> str:
    return "sha1" if len(checksum) == 40 else "sha256"


def fetch_detectors() -> list[Path]:
    """Fetch the files of YuNet and the SSD (11 MB in all) that are not in a data folder yet; the paths of all.

    A damaged copy in the download folder is replaced. Raises `CourseError` where a file cannot be had.
    """
    _failed.clear()
    paths = []
    for file in (YUNET, SSD_NET, SSD_WEIGHTS):
        found = find_file(f"models/{file.name}")
        if found is None or found.parent == download_folder() / "models":
            _fetch(file)  # which does nothing where the file is there and right
        read_model(file)
        paths.append(model_path(file))
    return paths
