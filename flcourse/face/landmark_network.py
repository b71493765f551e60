"""The network that finds 68 points on crops: what it is, and one from an ONNX file, checked. No torch."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

import flcourse.weights
from flcourse.errors import CourseError
from flcourse.face.session import default_threads, open_session
from flcourse.metadata import SIDES, HeldOut, crop_sizes, least_confidence, parse_metadata
from flcourse.points import N_POINTS

if TYPE_CHECKING:
    import onnxruntime

DEFAULT_WEIGHTS = "xception"
MOST_THREADS = 256  # that can be asked for: no machine that this runs on has more CPUs, and each thread takes memory


def shipped_weights() -> dict[str, Path]:
    """The landmark networks that come with the package: name -> ONNX file."""
    folder = Path(flcourse.weights.__file__).parent
    return {path.stem: path for path in sorted(folder.glob("*.onnx")) if not path.stem.startswith("detector")}


class Network(Protocol):
    """What finds the points on crops."""

    name: str
    engine: str  # what runs it
    size: int  # of the crops, px
    still_size: int  # of still images' crops: larger where the network has learned to use more pixels, else the same
    accept: float  # the confidence from which an answer counts as a face
    # How far right of the middle between a crop's answer and its mirror image's the points are, in parts of the crop.
    label_shift: float

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Crops (N, 1, size, size) in [-1, 1] -> `points01` (N, 68, 2) and, if it has one, `confidence` (N,)."""
        ...


class OnnxNetwork:
    """A landmark network in ONNX Runtime.

    `weights` is a shipped name or an `.onnx` file that `flcourse export` wrote; `threads` limits ONNX Runtime's
    (default: one for each CPU that this process may use, at most four). Raises `CourseError` where the file is missing
    or damaged.

    `metadata` are what the training and the export noted in the file, {} where they noted nothing; `held_out` says how
    accurate the network was on faces held out of its training, None where nobody measured.

    Any number of threads may call one network at the same time. Pickled, copied and sent to other processes it is its
    file's place, and is opened again there.
    """

    engine = "onnxruntime"

    def __init__(self, weights: str | os.PathLike, threads: int | None = None) -> None:
        self.name = str(weights)
        if threads is not None and threads not in range(1, MOST_THREADS + 1):
            raise CourseError(f"threads={threads}: expected a whole number from 1 to {MOST_THREADS}, or None")
        self.threads = threads or default_threads()
        path = _find_weights(weights)
        self._again = self.name if self.name in shipped_weights() else str(path.absolute())
        self._session = open_session(path, self.threads)
        try:
            metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map.get("flcourse", "{}"), path)
            self.size, self.still_size = _check_network(self._session, metadata, path)
        except UnicodeDecodeError as error:
            raise CourseError(f"{path}: holds names that are no text; the file is damaged") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.metadata = metadata
        self.held_out = HeldOut.read(metadata)
        self.label_shift = metadata.get("label_shift", 0.0)
        # Without a confidence the detector's score is all there is.
        self.accept = least_confidence(metadata) if "confidence" in self._outputs else 0.0

    def __reduce__(self) -> tuple:
        return OnnxNetwork, (self._again, self.threads)

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """See `Network`. Raises `CourseError` where the answer is none: a damaged file, or one made to fool."""
        try:
            answers = self._session.run(None, {"crops": crops})
        except Exception as error:  # ONNX Runtime raises exceptions of several classes that it does not export
            raise CourseError(
                f"{self.name}: the network cannot be run on {len(crops)} crops; the file is damaged"
            ) from error
        output = {name: np.asarray(answer) for name, answer in zip(self._outputs, answers, strict=True)}
        n, points01 = len(crops), output["points01"]
        if points01.shape != (n, N_POINTS, 2) or not np.isfinite(points01).all():
            raise CourseError(f"{self.name}: gives points that are no numbers for {n} crops; the file is damaged")
        confidence = output.get("confidence", np.zeros(n))
        if confidence.shape != (n,) or not ((confidence >= 0) & (confidence <= 1)).all():
            raise CourseError(f"{self.name}: gives confidences that are not from 0 to 1; the file is damaged")
        return output


def _find_weights(weights: str | os.PathLike) -> Path:
    shipped = shipped_weights()
    if str(weights) in shipped:
        return shipped[str(weights)]
    path = Path(weights)
    if path.suffix != ".onnx":
        raise CourseError(
            f"{weights}: neither shipped weights ({', '.join(shipped)}) nor an .onnx file; "
            "`flcourse export` makes one of a checkpoint"
        )
    return path


def _check_network(session: "onnxruntime.InferenceSession", metadata: dict, path: Path) -> tuple[int, int]:
    """`size` and `still_size` of a landmark network. Raises `CourseError` where a session is not that of one."""
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    crops = inputs.get("crops", [])
    square = len(crops) == 4 and crops[1] == 1 and crops[2] == crops[3]
    types = {value.type for value in (*session.get_inputs(), *session.get_outputs())}
    if len(inputs) != 1 or not square or outputs.get("points01", [])[1:] != [N_POINTS, 2] or types != {"tensor(float)"}:
        raise CourseError(
            f"{path}: takes {json.dumps(inputs)} and gives {json.dumps(outputs)}, expected crops (N, 1, size, size) -> "
            f"points01 (N, {N_POINTS}, 2), as `flcourse export` writes them"
        )
    if isinstance(crops[2], int):
        if not SIDES[0] <= crops[2] <= SIDES[1]:
            raise CourseError(
                f"{path}: takes crops of {crops[2]} pixels, expected {SIDES[0]} to {SIDES[1]}; not loaded"
            )
        return crops[2], crops[2]
    recipe = metadata.get("recipe") or {}
    if "size" not in recipe:
        raise CourseError(f"{path}: takes crops of any size, expected a recipe.size in its metadata; not loaded")
    return crop_sizes(recipe)
