"""One landmarker for all: threads, trackers and processes get what one caller after the other would get."""

import copy
import dataclasses
import importlib
import multiprocessing
import os
import pickle
import pkgutil
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from threading import Barrier

import cv2
import numpy as np
import pytest
from skimage import data
from test_detect import have
from test_landmarker import network_bytes

import flcourse
import flcourse.face
from flcourse.data import videos
from flcourse.errors import CourseError
from flcourse.face import opencv_detectors
from flcourse.face.behaviour import AttentionMeter, Blinks, ExpressionMeter
from flcourse.face.detect import DETECTORS, open_detector
from flcourse.face.detections import Detector
from flcourse.face.landmark_network import Network
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.face.opencv_detectors import Lent
from flcourse.face.smooth import FaceSmoother, OneEuro
from flcourse.face.track import FaceTracker
from flcourse.files import cpu_count

THREADS, IMAGES = 4, 40


@pytest.fixture(params=DETECTORS, scope="module")
def detector(request) -> Detector:
    if not have(request.param):
        pytest.skip(f"{request.param}: its model files are not in data/models (flcourse data detectors)")
    return open_detector(request.param)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """The astronaut's head in 40 sizes and places, so that whoever gets another's answer is found out."""
    head = data.astronaut()[:240, 100:340]
    made = []
    for number in range(IMAGES):
        side = 140 + 37 * number % 110
        small = cv2.resize(head, (side, side + number % 7), interpolation=cv2.INTER_AREA)
        made.append(np.roll(small, (3 * number % 11, 5 * number % 23), axis=(0, 1)))
    return made


def together(threads: int, work) -> list:
    """What `work(number)` gives in as many threads, begun at one moment."""
    begin = Barrier(threads)

    def run(number: int):
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def same(found: list[FaceLandmarks], wanted: list[FaceLandmarks]) -> bool:
    return len(found) == len(wanted) and all(
        np.array_equal(one.points, other.points) and (one.confidence, one.score) == (other.confidence, other.score)
        for one, other in zip(found, wanted, strict=True)
    )


def test_threads_that_share_a_detector_get_the_serial_answers(detector, images):
    wanted = [detector(image) for image in images]
    assert sum(map(bool, wanted)) > IMAGES / 2

    def work(number: int) -> dict:
        order = np.random.default_rng(number).permutation(IMAGES)
        return {i: detector(images[i]) for i in order}

    for found in together(THREADS, work):
        assert [found[i] for i in range(IMAGES)] == wanted


def test_threads_that_share_a_landmarker_get_the_serial_answers(detector, images):
    landmarker = FaceLandmarker(detector=detector, tta=2)
    wanted = [landmarker(image) for image in images[:10]]
    assert any(wanted)
    for found in together(THREADS, lambda _: [landmarker(image) for image in images[:10]]):
        assert all(map(same, found, wanted))


def follow(landmarker: FaceLandmarker, video: list) -> list:
    with FaceTracker(landmarker) as tracker:
        return [tracker(frame.image, frame.time) for frame in video]


@pytest.fixture(scope="module")
def two_videos() -> list[list]:
    size = (320, 240)
    return [list(videos.moving(24, size=size)), list(videos.panning(24, noise=4, size=size))]


def test_two_trackers_on_one_landmarker_do_not_disturb_each_other(detector, two_videos):
    landmarker = FaceLandmarker(detector=detector)
    wanted = [follow(landmarker, video) for video in two_videos]
    assert all(len(faces) == 1 for video in wanted for faces in video)
    for found, alone in zip(together(2, lambda i: follow(landmarker, two_videos[i])), wanted, strict=True):
        assert all(map(same, found, alone))


def test_a_tracker_and_still_images_on_one_landmarker_do_not_disturb_each_other(detector, images, two_videos):
    landmarker = FaceLandmarker(detector=detector)
    works = [
        lambda: follow(landmarker, two_videos[0]),
        lambda: [landmarker(image) for image in images[:12]],
    ]
    wanted = [work() for work in works]
    for found, alone in zip(together(2, lambda i: works[i]()), wanted, strict=True):
        assert all(map(same, found, alone))


@pytest.fixture
def busy():
    """Other programs that want all CPUs, twice over."""
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(2 * cpu_count())]
    yield
    for other in others:
        other.kill()
        other.wait()


def test_two_at_once_twice_in_a_row_on_a_busy_machine(images, two_videos, busy):
    """Whatever the order in which threads get their turns; and what was used once is as good as new."""
    landmarker = FaceLandmarker(tta=1)
    trackers = [FaceTracker(landmarker) for _ in two_videos]

    def work(number: int) -> list:
        if number == len(trackers):
            return [landmarker(image) for image in images[:4]]
        trackers[number].reset()
        return [trackers[number](frame.image, frame.time) for frame in two_videos[number][:12]]

    wanted = [work(number) for number in range(3)]
    assert all(map(any, wanted))
    for _ in range(2):
        for found, alone in zip(together(3, work), wanted, strict=True):
            assert all(map(same, found, alone))
    for tracker in trackers:
        tracker.close()


def answers(landmarker: FaceLandmarker) -> np.ndarray:
    return np.array([face.points for face in landmarker(data.astronaut())])


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_of_a_landmarker_give_the_same(detector, again):
    landmarker = FaceLandmarker(detector=detector, threads=1, tta=2)
    other = again(landmarker)
    assert np.array_equal(answers(other), answers(landmarker)) and len(answers(other)) == 1
    assert (other.network.threads, other.tta, other.detector.threshold) == (1, 2, detector.threshold)


def test_a_pickled_landmarker_is_small_and_finds_its_file_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "netz 顔.onnx").write_bytes(network_bytes())
    kept = pickle.dumps(FaceLandmarker("netz 顔.onnx"))
    assert len(kept) < 2000
    monkeypatch.chdir(os.sep)
    assert pickle.loads(kept).size == 64
    (tmp_path / "netz 顔.onnx").unlink()
    with pytest.raises(CourseError, match="No such file"):
        pickle.loads(kept)


@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_other_processes_give_the_same(way):
    if way not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {way} on this system")
    landmarker = FaceLandmarker(tta=1)
    wanted = answers(landmarker)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(way)) as pool:
        for found in pool.map(answers, [landmarker] * 2, timeout=120):
            assert np.array_equal(found, wanted)


def test_lent_objects_are_as_many_as_are_in_use_and_none_is_used_after_an_error(monkeypatch):
    monkeypatch.setattr(opencv_detectors, "cpu_count", lambda: 3)
    made = []

    def make() -> list:
        made.append([])
        return made[-1]

    lent, begin = Lent(make), Barrier(3)
    for _ in range(5):
        with lent():
            pass
    assert len(made) == 1

    def use(_: int) -> None:
        with lent():
            begin.wait(timeout=30)  # all three hold one

    together(3, use)
    assert len(made) == 3
    together(6, lambda _: [lent().__enter__ for _ in range(20)])
    with pytest.raises(ZeroDivisionError), lent() as broken:
        raise ZeroDivisionError
    for _ in range(4):  # the turn was given back, too
        with lent() as one, lent() as two, lent() as three:
            assert all(native is not broken for native in (one, two, three))


def stateful() -> list[type]:
    """Every public class of `flcourse.face` but values: named tuples, frozen records, protocols of networks."""
    found = []
    for module in pkgutil.iter_modules(flcourse.face.__path__, "flcourse.face."):
        for name, value in vars(importlib.import_module(module.name)).items():
            own = isinstance(value, type) and value.__module__ == module.name and not name.startswith("_")
            frozen = dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen
            if own and not frozen and not issubclass(value, tuple) and value is not Network:
                found.append(value)
    return found


def test_public_classes_say_what_threads_and_processes_may_do():
    door = [value for name in flcourse.__all__ if isinstance(value := getattr(flcourse, name), type)]
    assert len(stateful()) > 10
    for which in {*door, *stateful()}:
        text = " ".join(which.__doc__.lower().split())
        assert "thread" in text and re.search("process|pickled", text), which


@pytest.mark.parametrize(
    "make", [lambda: OneEuro(1.0, 0.1, 1.0), FaceSmoother, Blinks, AttentionMeter, ExpressionMeter]
)
def test_what_watches_a_face_can_be_pickled_with_what_it_saw(make):
    watching = make()
    again = pickle.loads(pickle.dumps(watching))
    assert type(again) is type(watching) and vars(again).keys() == vars(watching).keys()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_threads_follow_the_cpus_that_this_process_may_use():
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "import cv2; from flcourse.face.landmark_network import OnnxNetwork; from flcourse.files import cpu_count\n"
        "print(cpu_count(), OnnxNetwork('xception').threads, cv2.getNumThreads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
