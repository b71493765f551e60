"""Faces followed through videos of known motion, with the shipped network and OpenCV's own detector."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_landmarker import network_bytes
from toys import template

from flcourse.data import videos
from flcourse.data.videos import ASTRONAUT_FACE, Pose, film
from flcourse.face.detections import Detection
from flcourse.face.landmarker import FaceLandmarker
from flcourse.face.smooth import FaceSmoother, OneEuro
from flcourse.face.track import FaceTracker, TrackedFace
from flcourse.points import Box, BoxMap, apply, face_box

SMALL = (320, 240)


@pytest.fixture(scope="module")
def landmarker():
    return FaceLandmarker(threads=1)


def follow(landmarker: FaceLandmarker, frames: list, **options) -> list[list[TrackedFace]]:
    with FaceTracker(landmarker, **options) as tracker:
        return [tracker(frame.image, frame.time) for frame in frames]


def only(faces: list[list[TrackedFace]], name: str = "points") -> np.ndarray:
    """The points (frames, 68, 2) of the one face in each frame."""
    return np.array([getattr(face, name) for (face,) in faces])


def eye_distance(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[..., 45, :] - points[..., 36, :], axis=-1)


def jitter(points: np.ndarray) -> float:
    """Mean motion from frame to frame, in percent of the eye distance."""
    return float(100 * np.linalg.norm(np.diff(points, axis=0), axis=2).mean() / eye_distance(points).mean())


def test_a_still_face_stands_still(landmarker):
    faces = follow(landmarker, list(videos.still(30, noise=4)))
    smooth, raw = jitter(only(faces)[8:]), jitter(only(faces, "raw")[8:])
    assert smooth <= 0.1 and smooth < 0.4 * raw
    assert {face.number for (face,) in faces} == {1}
    unsmoothed = follow(landmarker, list(videos.still(5, noise=4)), smooth=False)
    assert (only(unsmoothed) == only(unsmoothed, "raw")).all()


def test_a_panning_face_is_followed_without_lag(landmarker):
    frames = list(videos.panning(38, noise=4, size=SMALL))
    x = only(follow(landmarker, frames)).mean(axis=1)[:, 0]
    truth = np.array([apply(np.array(ASTRONAUT_FACE.centre), frame.matrices[0])[0] for frame in frames])
    number = np.arange(len(frames))
    delays = np.arange(-1, 4, 0.05)  # frames
    left = [np.std((x - np.interp(number - delay, number, truth))[8:]) for delay in delays]
    assert abs(delays[np.argmin(left)]) <= 0.5 and min(left) < 0.5  # px


def test_the_moving_astronaut_is_never_lost_and_the_same_again(landmarker):
    frames = list(videos.moving(40, size=SMALL))
    faces = follow(landmarker, frames)
    points, truth = only(faces), np.array([frame.matrices[0] for frame in frames])
    # The points of the first frame, on her skin, moved by the known motion.
    wanted = np.array([apply(videos.astronaut_points(points[0], truth[0]), matrix) for matrix in truth])
    error = np.linalg.norm(points - wanted, axis=2).mean(axis=1) / eye_distance(wanted)
    assert error.max() < 0.06 and {face.number for (face,) in faces} == {1}
    assert (only(follow(landmarker, frames)) == points).all()  # whatever the thread's luck was


def test_slow_cameras_do_not_lose_a_face(landmarker):
    faces = follow(landmarker, list(videos.moving(60, size=SMALL))[::5])  # 6 frames/s
    assert {face.number for (face,) in faces} == {1}


def test_a_face_that_leaves_is_let_go_and_found_again(landmarker):
    frames = list(videos.leaving(85, size=SMALL))
    numbers = [[face.number for face in faces] for faces in follow(landmarker, frames)]
    assert numbers[:20] == [[1]] * 20
    assert numbers[37:66] == [[]] * 29  # wholly outside: nothing is made up
    whole = next(
        i for i in range(66, 85) if frames[i].matrices[0][0] @ (*ASTRONAUT_FACE.centre, 1) < 320 - 0.5 * 0.33 * 240
    )
    assert all(numbers[whole + 4 :]) and numbers[-1] == [1]  # at most 4 frames late, with its old number


def test_a_face_away_for_long_gets_a_new_number(landmarker):
    def poses(time):
        return [Pose(x=0.5 if time < 0.2 or time > 2.4 else 3.0)]

    faces = follow(landmarker, list(film(poses, 85, size=SMALL))[::6])
    assert [face.number for face in faces[0]] == [1] and [face.number for face in faces[-1]] == [2]


@pytest.mark.parametrize("behind, front", [(0.26, 0.36), (0.34, 0.34)])
def test_faces_that_cross_keep_their_numbers(landmarker, behind, front):
    frames = list(videos.crossing(48, behind=behind, front=front, size=SMALL))
    seen = []
    for frame, faces in zip(frames, follow(landmarker, frames), strict=True):
        centres = [apply(np.array(ASTRONAUT_FACE.centre), matrix) for matrix in frame.matrices]
        # 0 is the face behind, 1 the one in front.
        owners = [int(np.argmin([np.linalg.norm(f.raw.mean(0) - c) for c in centres])) for f in faces]
        if len({*owners}) == len(owners):
            seen.append({owner: face.number for owner, face in zip(owners, faces, strict=True)})
    assert len(seen) >= len(frames) - 2  # for a frame or two the hidden face's points may be on the other one's cheek
    assert len(seen[0]) == len(seen[-1]) == 2 and seen[0] == seen[-1]
    assert all(numbers.get(1, seen[0][1]) == seen[0][1] for numbers in seen)


# --- with a network and a detector of known answers ---


class FakeDetector:
    """Finds what its list holds, in parts of the image's height; can be held up."""

    name, box_map = "fake", BoxMap(scale=1, dx=0, dy=0)

    def __init__(self):
        self.faces, self.calls, self.go = [], 0, threading.Event()
        self.go.set()

    def __call__(self, image):
        self.calls += 1
        self.go.wait()
        height = image.shape[0]
        return [Detection(box._replace(**{k: v * height for k, v in box._asdict().items()}), 0.9) for box in self.faces]


def toy_landmarker(path, calibrated: bool = True) -> FaceLandmarker:
    """A landmarker that sees a face wherever it looks, the surer the brighter the crop."""
    # The face box about its points is the box that the crop, 1.3 times as large and a tenth lower, was taken about.
    box = face_box(1000 * template())
    points01 = (1000 * template() - box.centre) / box.side / 1.3 + (0.5, 0.5 - 0.1 / 1.3)
    path.write_bytes(network_bytes(points01.astype(np.float32), calibrated=calibrated))
    return FaceLandmarker(path, detector=FakeDetector(), threads=1)


@pytest.fixture
def toy(tmp_path):
    return toy_landmarker(tmp_path / "toy.onnx")


def frame(grey: int, size: int = 240) -> np.ndarray:
    return np.full((size, size, 3), grey, np.uint8)


HERE = Box(0.35, 0.35, 0.3, 0.3)


def test_a_track_ends_when_the_network_no_longer_believes_in_it(toy):
    toy.detector.faces = [HERE]
    with FaceTracker(toy) as tracker:
        (face,) = tracker(frame(250), 0)
        assert face.number == 1 and face.score == 0.9 and face.points.dtype == face.raw.dtype == np.float32
        toy.detector.faces = []
        assert tracker(frame(25), 0.03) == []
        toy.detector.faces = [HERE]
        assert [face.number for face in tracker(frame(250), 0.2)] == [1]  # found again at once
        tracker.reset()
        assert [face.number for face in tracker(frame(250), 0)] == [1]
        assert [face.number for face in tracker(frame(250), 60.0)] == [1]  # a gap in time alone loses nothing


def test_detection_runs_twice_a_second_and_not_oftener_while_all_is_well(toy):
    toy.detector.faces = [HERE]
    with FaceTracker(toy) as tracker:
        for number in range(67):  # to 2.2 s, when the detection of 2 s has been waited for
            assert len(tracker(frame(250), number / 30)) == 1
        assert toy.detector.calls == 5  # at 0, 0.5, 1, 1.5 and 2 s
        toy.detector.faces = []
        tracker.reset()
        for number in range(31):
            assert tracker(frame(250), number / 30) == []
        assert 5 + 9 <= toy.detector.calls <= 5 + 11  # ten times a second while there is nobody


def test_an_unsure_track_that_detection_misses_ends(toy):
    toy.detector.faces = [HERE]
    with FaceTracker(toy) as tracker:
        for number in range(10):
            tracker(frame(250), number / 30)
        toy.detector.faces = []
        held = [bool(tracker(frame(105), number / 30)) for number in range(10, 60)]  # 0.41
    assert held[0] and not held[-1] and sorted(held, reverse=True) == held


def test_what_the_network_takes_for_no_face_is_never_shown(toy):
    toy.detector.faces = [HERE]
    with FaceTracker(toy) as tracker:
        assert not any(tracker(frame(45), number / 30) for number in range(40))  # a confidence of 0.18


def test_without_a_confidence_the_detectors_word_decides(tmp_path):
    """A network that was never calibrated believes in everything: what ends a track is that nobody detects it."""
    landmarker = toy_landmarker(tmp_path / "plain.onnx", calibrated=False)
    landmarker.detector.faces = [HERE]
    with FaceTracker(landmarker) as tracker:
        faces = [face for number in range(40) for face in tracker(frame(0), number / 30)]
        assert len(faces) == 40 and all((face.confidence, face.score) == (None, 0.9) for face in faces)
        landmarker.detector.faces = []
        held = [bool(tracker(frame(0), number / 30)) for number in range(40, 240)]
    assert held[0] and not held[-1] and sorted(held, reverse=True) == held


def test_two_detections_are_two_faces_by_number_and_a_double_is_one(toy):
    left, right = HERE._replace(left=0.1), HERE._replace(left=0.6)
    toy.detector.faces = [right, left, left._replace(left=0.12)]
    with FaceTracker(toy) as tracker:
        faces = tracker(frame(250), 0)
    assert [face.number for face in faces] == [1, 2]
    assert sorted(round(face.box.centre[0] / 240, 1) for face in faces) == pytest.approx([0.2, 0.7], abs=0.11)


def test_drawing_is_not_held_up_by_a_slow_detector(toy):
    toy.detector.faces = [HERE]
    toy.detector.go.clear()  # a detection that does not end
    with FaceTracker(toy, live=True) as tracker:
        image = frame(250)
        assert tracker(image, 0) == [] and tracker(image, 10) == []
        toy.detector.go.set()
        deadline = time.monotonic() + 60
        while not (faces := tracker(image, 10 + time.monotonic())) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [face.number for face in faces] == [1]
        toy.detector.go.clear()
        for number in range(30):  # half a second and more: a detection is under way, and the face is followed
            assert len(tracker(image, 1e7 + number / 30)) == 1
        toy.detector.go.set()


def test_what_fails_in_the_thread_reaches_the_caller(toy):
    def broken(image):
        raise RuntimeError("no memory")

    toy.detector = broken
    with FaceTracker(toy) as tracker, pytest.raises(RuntimeError, match="no memory"):
        tracker(frame(250), 0)


def test_a_detection_that_failed_once_does_not_end_the_video(toy):
    class Flaky(FakeDetector):
        def __call__(self, image):
            found = super().__call__(image)
            if self.calls == 2:
                raise RuntimeError("no memory")
            return found

    toy.detector = Flaky()
    toy.detector.faces = [HERE]
    seen = []
    with FaceTracker(toy) as tracker:
        for number in range(40):
            try:
                seen.append(len(tracker(frame(250), number / 30)))
            except RuntimeError:
                seen.append("no memory")
    assert seen.count("no memory") == 1 and seen.count(1) == 39 and toy.detector.calls > 2


def test_wrong_use_is_refused(toy):
    with FaceTracker(toy) as tracker:
        tracker(frame(250), 1.0)
        tracker(frame(250), 1.0)  # a coarse clock
        with pytest.raises(ValueError, match=r"backwards, from 1.0 to 0.5 s"):
            tracker(frame(250), 0.5)
    toy.detector = None
    with pytest.raises(ValueError, match="without a detector"):
        FaceTracker(toy)


# --- smoothing ---


def test_one_euro_at_rest_is_a_low_pass_and_in_motion_lets_go():
    slow = OneEuro(least=1.0, beta=0.0, speed_cutoff=1.0)
    values = [slow(value, 1 / 30) for value in [0.0] + [1.0] * 30]
    share = 1 / (1 + 30 / (2 * np.pi))  # alpha of the paper's equation 1 with tau = 1 / (2 pi cutoff)
    assert np.allclose(values, 1 - (1 - share) ** np.arange(31))
    quick = OneEuro(least=1.0, beta=10.0, speed_cutoff=1.0)
    follows = [quick(value, 1 / 30) for value in [0.0] + [1.0] * 30]
    assert follows[1] > 3 * values[1] and follows[5] > 0.9 > values[5]


@settings(max_examples=30)
@given(
    st.floats(0.05, 50), st.floats(-3, 3), st.tuples(st.floats(-500, 500), st.floats(-500, 500)), st.integers(0, 2**32)
)
def test_smoothing_is_the_same_for_near_and_far_faces(size, angle, place, seed):
    """Faces scaled, turned and moved are smoothed like the face itself: in its own scale, no direction preferred."""
    rng = np.random.default_rng(seed)
    frames = 100 * template() + rng.normal(0, 1, (12, 68, 2)) + np.cumsum(rng.normal(0, 3, (12, 1, 2)), axis=0)
    matrix = size * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    plain, moved = FaceSmoother(), FaceSmoother()
    for points in frames:
        wanted = plain(points, 1 / 30) @ matrix.T + place
        assert np.abs(moved(points @ matrix.T + place, 1 / 30) - wanted).max() < 1e-3 * max(1, size)


def test_motion_passes_and_trembling_does_not():
    rng = np.random.default_rng(0)
    still = 100 * template() + rng.normal(0, 0.07, (60, 68, 2))  # 0.2 % of the eye distance of 62 a frame
    smoother = FaceSmoother()
    smooth = np.array([smoother(points, 1 / 30) for points in still])
    assert jitter(smooth[10:]) < 0.35 * jitter(still[10:])
    # A face that nears, turns and pans quickly, without noise, is where it is.
    smoother = FaceSmoother()
    for number in range(60):
        t = number / 30
        angle, factor = 0.4 * np.sin(3 * t), np.exp(0.4 * np.sin(4 * t))
        turn = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = 100 * template() @ turn.T + (60 * np.sin(2 * np.pi * t), 0)
        assert np.linalg.norm(smoother(points, 1 / 30) - points, axis=1).mean() < 4  # 6 % of the eye distance


def test_a_blink_is_not_smoothed_away():
    open_eyes = 100 * template()
    smoother = FaceSmoother()
    heights = []
    for closed in [0] * 20 + [0.6, 1, 0.6] + [0] * 5:  # a tenth of a second
        points = open_eyes.copy()
        for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
            points[upper] += closed * (points[lower] - points[upper])
        smooth = smoother(points, 1 / 30)
        heights.append(np.linalg.norm(smooth[37] - smooth[41]))
    assert min(heights) < 0.3 * heights[0] and np.argmin(heights) <= 22  # at most a frame late
