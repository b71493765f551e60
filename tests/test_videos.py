"""Videos of known motion: the matrices are the truth, the same seed gives the same frames."""

import numpy as np
import pytest
from skimage import data

from flcourse.data import videos
from flcourse.data.videos import ASTRONAUT_FACE, Frame, Pose, astronaut_points, film, pose_matrix
from flcourse.images import warp
from flcourse.points import apply, compose, invert

SMALL = (160, 120)


@pytest.mark.parametrize("make", [videos.still, videos.panning, videos.moving, videos.leaving, videos.crossing])
def test_frames_are_rgb_images_in_time_and_the_same_again(make):
    first, again = (list(make(5, noise=2, seed=3, size=SMALL)) for _ in range(2))
    other = list(make(5, noise=2, seed=4, size=SMALL))
    for number, (frame, same, differs) in enumerate(zip(first, again, other, strict=True)):
        assert frame.image.shape == (120, 160, 3) and frame.image.dtype == np.uint8
        assert frame.time == pytest.approx(number / 30)
        assert all(matrix.shape == (2, 3) for matrix in frame.matrices)
        assert (frame.image == same.image).all() and (frame.image != differs.image).any()


def test_a_pose_puts_the_face_where_it_says():
    pose = Pose(x=0.25, y=0.5, side=0.4, angle=90)
    matrix = pose_matrix(pose, (640, 480))
    centre = np.array(ASTRONAUT_FACE.centre)
    assert apply(centre, matrix) == pytest.approx((0.25 * 640 - 0.5, 0.5 * 480 - 0.5))
    # Counter-clockwise as seen: what was to her right goes up, by as much as a side of the face is in the frame.
    right = apply(centre + np.array([ASTRONAUT_FACE.side, 0]), matrix) - apply(centre, matrix)
    assert right == pytest.approx((0, -0.4 * 480), abs=1e-9)
    mirrored = pose_matrix(Pose(mirror=True), (640, 480))
    assert np.linalg.det(mirrored[:, :2]) < 0 < np.linalg.det(matrix[:, :2])


def test_the_matrices_are_true():
    """Undone by their matrices, the frames show the photograph's face again."""
    to_crop = np.array([[1, 0, -180], [0, 1, -80]], float)  # 96 x 96 px about the face
    wanted = warp(data.astronaut(), to_crop, 96).astype(float)
    frames = [*videos.moving(30, noise=0), *videos.crossing(10, front=0.4)]
    for frame in frames[::7]:
        matrix = frame.matrices[-1]  # of the face in front
        got = warp(frame.image, compose(to_crop, invert(matrix)), 96)
        assert np.abs(got - wanted).mean() < 14  # blurred now and then; another place by 3 px would be 20
    point = np.array([200.0, 100.0])
    assert astronaut_points(apply(point, frames[9].matrices[0]), frames[9].matrices[0]) == pytest.approx(point)


def test_noise_is_as_strong_as_asked_and_new_in_every_frame():
    plain, *noisy = next(videos.still(1, size=SMALL)), *videos.still(2, noise=4, size=SMALL)
    first, second = (frame.image.astype(float) - plain.image for frame in noisy)
    grey = (plain.image > 20) & (plain.image < 235)  # not clipped
    assert first[grey].std() == pytest.approx(4, abs=0.15)
    assert np.corrcoef(first[grey], second[grey])[0, 1] == pytest.approx(0, abs=0.03)


def middles(frames: list[Frame], face: int = 0) -> np.ndarray:
    return np.array([apply(np.array(ASTRONAUT_FACE.centre), frame.matrices[face]) for frame in frames])


def test_the_motions_are_those_promised():
    pan = middles(list(videos.panning(31, size=SMALL)))[:, 0]
    half_an_eye_distance = 0.5 * videos.EYE_DISTANCE * Pose.side * 120
    assert np.ptp(pan) / 2 == pytest.approx(half_an_eye_distance, rel=0.01)
    assert pan[30] == pytest.approx(pan[0]) and pan[8] > pan[0] > pan[23]
    gone = middles(list(videos.leaving(120, size=SMALL)))[:, 0]
    assert gone[0] == gone[-1] == pytest.approx(79.5) and (gone[37:66] > 160 + Pose.side * 120).all()
    crossing = list(videos.crossing(60, size=SMALL))
    behind, front = middles(crossing, 0)[:, 0], middles(crossing, 1)[:, 0]
    assert behind[0] < front[0] and behind[-1] > front[-1]


def test_no_face_is_a_wall():
    (frame,) = film(lambda time: [], 1, size=SMALL)
    assert frame.matrices == [] and np.ptp(frame.image.astype(int), axis=1).max() == 0
