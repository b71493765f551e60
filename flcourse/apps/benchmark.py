"""How fast detectors, engines, the live loop and training are here, measured in one run."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

import flcourse.weights
from flcourse.apps.bench import PARTS
from flcourse.data.drawn_faces import write_drawn_faces
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import read_imglab
from flcourse.data.videos import moving
from flcourse.errors import CourseError, command
from flcourse.face.detect import open_detector
from flcourse.face.landmark_network import DEFAULT_WEIGHTS, OnnxNetwork
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.live import LiveLoop
from flcourse.face.track import FaceTracker, TrackedFace
from flcourse.files import cpu_count, work_folder
from flcourse.training.checkpoints import load_network
from flcourse.training.devices import choose_device
from flcourse.training.export import Exported, drawn_crops, export_onnx, quantize_onnx
from flcourse.training.loop import fit
from flcourse.training.recipes import RECIPES
from flcourse.training.xception import Xception

FRAME = (640, 480)
FRAMES = 60  # of the live loop's video
BATCHES = 6  # timed of a training, after one that warms up
ROUNDS = 5  # every row of a part is run in turn so many times, so that all share whatever else the machine does


def not_here() -> str:
    """What a row says of a detector whose files are missing."""
    return f"not here: {command('data detectors')} fetches it"


def bench(
    parts: Sequence[str] = PARTS,
    weights: Path | None = None,
    *,
    seconds: float = 2.0,
    compiled: bool = True,
    progress: bool = True,
) -> dict:
    """Measure `parts` (of `PARTS`), about `seconds` for each row: `{"machine": {...}, "rows": [...]}`.

    A row has `part`, `name`, `median_ms`, `quartiles_ms` (25 and 75 %), `runs`, `ratio` (of the median to that of its
    part's first row) and what else is of interest; a row that cannot be measured has `missing`, which says why.
    Raises `CourseError` for unknown parts and bad weights.
    """
    if unknown := set(parts) - set(PARTS):
        raise CourseError(f"unknown part {', '.join(sorted(unknown))}, expected {', '.join(PARTS)}")
    weights = weights or Path(flcourse.weights.__file__).parent / f"{DEFAULT_WEIGHTS}.safetensors"
    network, metadata = load_network(weights)
    rows = []
    with work_folder("flcourse") as folder:
        full = folder / "full.onnx"
        export_onnx(network, metadata, full)
        measure = {
            "detectors": partial(detectors, seconds),
            "engines": partial(engines, network, metadata, full, seconds, compiled),
            "live": partial(live, full, seconds),
            "training": partial(training, Path(folder)),
        }
        for part in tqdm([p for p in PARTS if p in parts], unit="part", disable=not progress):
            found = measure[part]()
            first = next((row["median_ms"] for row in found if "median_ms" in row), None)
            for row in found:
                if "median_ms" in row:
                    row["ratio"] = round(row["median_ms"] / first, 3)
                rows.append({"part": part} | row)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "opencv": cv2.__version__,
    }
    return {"machine": machine, "weights": weights.name, "rows": rows}


def table(result: dict) -> str:
    """The measurements of `bench` as people read them."""
    machine = result["machine"]
    lines = [
        f"{machine['cores']} cores ({machine['processor']}), torch {machine['torch']}, "
        f"ONNX Runtime {machine['onnxruntime']}, OpenCV {machine['opencv']}; network: {result['weights']}",
        "",
        f"{'part':<10} {'what':<38} {'median ms':>9} {'25 to 75 %':>17} {'a second':>9} {'ratio':>6}",
    ]
    for row in result["rows"]:
        start = f"{row['part']:<10} {row['name']:<38}"
        if "missing" in row:
            lines.append(f"{start} {row['missing']}")
            continue
        low, high = row["quartiles_ms"]
        line = f"{start} {row['median_ms']:9.2f} {low:8.2f} {high:8.2f} {row['per_second']:9.1f} {row['ratio']:6.2f}"
        if "waiting" in row:
            line += f"   {row['waiting']:.0%} of it waiting for data"
        lines.append(line)
    return "\n".join(lines)


def in_turn(named: dict[str, Callable[[], object]], seconds: float) -> list[dict]:
    """Time functions, each for about `seconds`, in `ROUNDS` rounds of all of them."""
    times: dict[str, list[float]] = {name: [] for name in named}
    for run in named.values():
        run()  # warm
    for _ in range(ROUNDS):
        for name, run in named.items():
            end = time.perf_counter() + seconds / ROUNDS
            while True:
                start = time.perf_counter()
                run()
                stop = time.perf_counter()
                times[name].append(1e3 * (stop - start))
                if stop > end:
                    break
    return [entry(name, values) for name, values in times.items()]


def entry(name: str, milliseconds: Sequence[float] | np.ndarray, things: int = 1) -> dict:
    """What is reported of repeated runs; `things` are done in each, for `per_second`."""
    low, median, high = np.percentile(milliseconds, (25, 50, 75)).tolist()
    return {
        "name": name,
        "median_ms": round(median, 3),
        "quartiles_ms": [round(low, 3), round(high, 3)],
        "per_second": round(1e3 * things / median, 2),
        "runs": len(milliseconds),
    }


def video() -> list[np.ndarray]:
    """The astronaut, moving: `FRAMES` images of `FRAME`."""
    return [frame.image for frame in moving(FRAMES, size=FRAME)]


def detectors(seconds: float) -> list[dict]:
    """Each detector on an image with one face."""
    image = video()[0]
    found, missing = {}, []
    for name in ("course", "yunet", "ssd", "haar"):
        try:
            found[f"{name}, {FRAME[0]} x {FRAME[1]}"] = partial(open_detector(name), image)
        except CourseError:
            missing.append({"name": name, "missing": not_here()})
    return in_turn(found, seconds) + missing


def engines(network: Xception, metadata: dict, full: Path, seconds: float, compiled: bool) -> list[dict]:
    """One crop through the network, one thread, by everything that can run it."""
    crops = drawn_crops(metadata["recipe"]["size"])
    small = full.with_name("int8.onnx")
    quantize_onnx(full, crops, small)
    one = crops[:1]
    tensor = torch.from_numpy(one)
    last = tensor.contiguous(memory_format=torch.channels_last)
    exported = Exported(network, metadata)
    runs = {
        "ONNX Runtime": partial(OnnxNetwork(full, threads=1), one),
        "ONNX Runtime, int8": partial(OnnxNetwork(small, threads=1), one),
        "PyTorch": partial(exported, tensor),
    }
    if still := metadata["recipe"].get("still_size"):
        runs[f"ONNX Runtime, {still} px"] = partial(OnnxNetwork(full, threads=1), drawn_crops(still, faces=1))
    missing = []
    with one_thread(), torch.inference_mode():
        rows = in_turn(runs, seconds)
        exported.to(memory_format=torch.channels_last)
        runs = {"PyTorch, channels last": partial(exported, last)}
        if compiled:
            runs["PyTorch, compiled"] = partial(torch.compile(exported), last)
        try:
            rows += in_turn(runs, seconds)
        except Exception as error:  # the compiler's own: of many classes, e.g. where there is no C++ compiler
            reason = str(error).strip().splitlines()[0][:80]
            missing.append({"name": "PyTorch, compiled", "missing": f"does not compile here: {reason}"})
            del runs["PyTorch, compiled"]
            rows += in_turn(runs, seconds)
    for found in rows:
        found["name"] += ", 1 thread"
    most = OnnxNetwork(full)
    if cpu_count() > 1:
        rows += in_turn({f"ONNX Runtime, {most.threads} threads": partial(most, one)}, seconds)
    return rows + missing


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def live(full: Path, seconds: float) -> list[dict]:
    """The whole loop on a video: detection in its thread, crop, network, smoothing, and drawing."""
    rows = []
    for name in ("course", "yunet"):
        try:
            landmarker = FaceLandmarker(full, detector=name)
        except CourseError:
            rows.append({"name": f"tracking, {name}", "missing": not_here()})
            continue
        # The whole video's time, detections included, is what frames a second means: so the mean, not the median.
        for text, times in zip(("tracking", "tracking and drawing"), follow(landmarker, seconds), strict=True):
            rows.append(entry(f"{text}, {name}", times) | {"per_second": round(1e3 / float(np.mean(times)), 2)})
    return rows


def follow(landmarker: FaceLandmarker, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of each frame of a video through the live loop: of the tracker alone, and of all of it."""
    tracked: list[float] = []
    whole: list[float] = []
    with FaceTracker(landmarker) as tracker:

        def find(frame: np.ndarray, at: float) -> list[TrackedFace]:
            start = time.perf_counter()
            faces = tracker(frame, at)
            tracked.append(1e3 * (time.perf_counter() - start))
            return faces

        loop, frames = LiveLoop(find), video()
        end = time.perf_counter() + seconds
        while not whole or time.perf_counter() < end:
            tracker.reset()
            for number, frame in enumerate(frames):
                start = time.perf_counter()
                loop(frame, number / 30)
                whole.append(1e3 * (time.perf_counter() - start))
    return tracked, whole


class _Timed(Dataset):
    """A dataset that adds up how long its items took."""

    def __init__(self, dataset: FaceDataset) -> None:
        self.dataset, self.seconds = dataset, 0.0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = time.perf_counter()
        item = self.dataset[index]
        self.seconds += time.perf_counter() - start
        return item


def training(folder: Path) -> list[dict]:
    """A batch of the course recipe on drawn faces, and which part of its time goes into making the crops."""
    recipe = RECIPES["course"]
    size = recipe.config.batch_size
    faces = read_imglab(write_drawn_faces(folder, (BATCHES + 1) * size, progress=False))
    dataset = _Timed(FaceDataset(faces, recipe.size, recipe.augment))
    ends: list[float] = []
    waited: list[float] = []

    def on_batch(loss: float) -> None:
        ends.append(time.perf_counter())
        waited.append(dataset.seconds)

    with choose_device() as device:
        fit(
            recipe.network(),
            recipe.task(),
            dataset,
            dataset,
            recipe.config,
            device=device,
            stop=lambda: len(ends) > BATCHES,
            on_batch=on_batch,
            progress=False,
        )
        name = f"course recipe, batch of {size}, {device.device.type}" + (", bfloat16" if device.bfloat16 else "")
    waiting = (waited[-1] - waited[0]) / (ends[-1] - ends[0])  # the first batch only warms up
    return [entry(name, 1e3 * np.diff(ends), size) | {"waiting": round(waiting, 3)}]
