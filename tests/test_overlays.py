"""Overlays: each draws where it should, on any image and any face, and remembers faces by their numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flcourse.data.drawing.shape import Expression
from flcourse.data.drawn_faces import draw_face
from flcourse.errors import CourseError
from flcourse.face.glasses import put_glasses
from flcourse.face.masks import put_tiger
from flcourse.face.measure import HEAD, align_face, head_pose
from flcourse.face.overlays import OVERLAYS, open_overlay
from flcourse.face.track import TrackedFace
from flcourse.points import PARTS, face_box

NAMES = list(OVERLAYS)
FRONT = {"yaw": 0, "pitch": 0, "roll": 0}


def tracked(points: np.ndarray, number: int = 1) -> TrackedFace:
    points = np.asarray(points, np.float32)
    return TrackedFace(points, 0.93, face_box(points), 0.9, number, points)


def flat_face(x: float, y: float, mm: float, turn: float = 0.0) -> np.ndarray:
    """The average head's points about (x, y), `mm` pixels to a millimetre."""
    cos, sin = np.cos(np.deg2rad(turn)) * mm, np.sin(np.deg2rad(turn)) * mm
    return HEAD[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + np.array([x, y])


def changed(image: np.ndarray, name: str, faces: list, times: tuple = (0.0,)) -> np.ndarray:
    """Where an overlay has drawn: (H, W) bool."""
    drawn, overlay = image.copy(), open_overlay(name)
    for time in times:
        drawn[...] = image
        assert overlay(drawn, faces, time) is None
    return (drawn != image).any(axis=-1)


def test_the_names_are_those_agreed():
    assert NAMES == ["points", "attention", "expression", "pose", "glasses", "mask", "aligned"]


def test_an_unknown_name_is_refused():
    with pytest.raises(CourseError, match=r"unknown overlay 'hat', expected one of points, attention, .*aligned"):
        open_overlay("hat")


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_on_a_face_and_nothing_without(name):
    image = np.full((240, 320, 3), 120, np.uint8)
    assert not changed(image, name, []).any()
    ink = changed(image, name, [tracked(flat_face(160, 110, 0.9))])
    assert ink.sum() > 200


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ground", [0, 255])
def test_it_is_seen_on_black_and_on_white(name, ground):
    image = np.full((240, 320, 3), ground, np.uint8)
    face = [tracked(flat_face(160, 110, 0.9))]
    drawn = image.copy()
    open_overlay(name)(drawn, face, 0.0)
    assert (np.abs(drawn.astype(int) - ground).max(axis=-1) > 100).sum() > (60 if name != "mask" else 1000)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.lists(
        st.tuples(
            st.floats(-300, 300), st.floats(-300, 300), st.floats(-3, 3), st.floats(-180, 180), st.integers(0, 9)
        ),
        max_size=4,
    ),
)
def test_any_faces_on_any_image(name, shape, places):
    rng = np.random.default_rng(len(places))
    faces = []
    for number, (x, y, size, turn, noise) in enumerate(places, start=1):
        mm = 10.0**size  # from a face of a tenth of a pixel to one of 100,000
        faces.append(tracked(flat_face(x, y, mm, turn) + noise * mm * rng.normal(size=(68, 2)), number))
    image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    overlay = open_overlay(name)
    for time in (0.0, 0.1, 50.0):
        overlay(image, faces, time)
    assert image.shape == (*shape, 3) and image.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("points", [np.full((68, 2), 20.0), np.full((68, 2), np.nan), np.full((68, 2), 1e9)])
def test_points_that_are_no_face(name, points):
    face = TrackedFace(points, 0.9, face_box(flat_face(20, 20, 0.2)), 0.9, 1, points)
    changed(np.zeros((60, 80, 3), np.uint8), name, [face], (0.0, 0.1))


@pytest.mark.parametrize("name", NAMES)
def test_a_view_of_an_image_is_drawn_on_too(name):
    faces = [tracked(flat_face(160, 110, 0.9))]
    whole = np.full((240, 320, 3), 90, np.uint8)
    view = np.full((240, 320, 3), 90, np.uint8)[:, ::-1]
    for image in (whole, view):
        open_overlay(name)(image, faces, 0.0)
    assert (whole == view).all()


@pytest.mark.parametrize("name", NAMES)
def test_twenty_faces_at_once(name):
    faces = [tracked(flat_face(40 + 60 * (k % 5), 30 + 60 * (k // 5), 0.25), k + 1) for k in range(20)]
    assert changed(np.full((260, 340, 3), 128, np.uint8), name, faces).any()


def test_the_points_overlay_shows_the_number():
    image = np.full((240, 320, 3), 120, np.uint8)
    drawn = [image.copy(), image.copy()]
    for number, ground in enumerate(drawn, start=1):
        open_overlay("points")(ground, [tracked(flat_face(160, 110, 0.9), number)], 0.0)
    differ = np.argwhere((drawn[0] != drawn[1]).any(axis=-1))
    assert 0 < len(differ) < 200 and np.ptp(differ, axis=0).max() < 20  # a digit, in one place


# --- attention and expression remember ---


def test_a_warning_is_shown_when_eyes_stay_closed():
    awake = draw_face(3, 240, expression=Expression(), plain=True, **FRONT)
    asleep = draw_face(3, 240, expression=Expression(eyes_closed=1), plain=True, **FRONT)
    overlay, image = open_overlay("attention"), np.zeros((240, 240, 3), np.uint8)
    for t in np.arange(0, 5, 0.1):
        overlay(np.zeros_like(image), [tracked(awake.points)], float(t))
    calm = image.copy()
    overlay(calm, [tracked(awake.points)], 5.0)
    for t in np.arange(5.1, 6.6, 0.1):
        image[...] = 0
        overlay(image, [tracked(asleep.points)], float(t))
    vermilion = (np.abs(image.astype(int) - (213, 94, 0)).max(axis=-1) < 30).sum(axis=1)
    assert vermilion[:8].max() > 200  # a banner across the top
    assert (np.abs(calm.astype(int) - (213, 94, 0)).max(axis=-1) < 30).sum() == 0


def test_each_face_has_a_memory_of_its_own():
    overlay, ground = open_overlay("expression"), np.zeros((120, 200, 3), np.uint8)
    calm = draw_face(11, 100, expression=Expression(smile=-0.5), plain=True, **FRONT).points
    smile = draw_face(11, 100, expression=Expression(smile=0.3), plain=True, **FRONT).points
    for t in np.arange(0, 8, 0.1):
        overlay(ground.copy(), [tracked(calm, 1)], float(t))
    known, new = ground.copy(), ground.copy()
    overlay(known, [tracked(smile, 1)], 8.0)
    overlay(new, [tracked(smile, 2)], 8.0)
    assert (known != new).any()  # against its own calm face it smiles more
    later = ground.copy()
    overlay(later, [tracked(smile, 1)], 100.0)  # forgotten by then
    assert (later == new).all()


# --- disguises ---


def test_glasses_cover_the_eyes_wherever_the_head_is_turned():
    for pose in (FRONT, {"yaw": 30, "pitch": 0, "roll": 0}, {"yaw": -25, "pitch": 10, "roll": 30}):
        face = draw_face(5, 200, expression=Expression(), plain=True, **pose)
        image = np.full((200, 200, 3), 255, np.uint8)
        put_glasses(image, face.points)
        for part in ("right_eye", "left_eye"):
            x, y = face.points[list(PARTS[part])].mean(axis=0).round().astype(int)
            assert image[y, x].max() < 160
        for index in (8, 30, 57):  # chin, tip of the nose, lower lip
            x, y = face.points[index].round().astype(int)
            assert (image[y, x] == 255).all()


def test_the_arm_is_seen_on_the_side_that_is_turned_to_the_viewer():
    def dark(yaw: float) -> tuple[int, int]:
        face = draw_face(5, 240, expression=Expression(), plain=True, yaw=yaw, pitch=0, roll=0)
        image = np.full((240, 240, 3), 255, np.uint8)
        put_glasses(image, face.points)
        columns = np.flatnonzero((image.min(axis=-1) < 100).any(axis=0))
        right, left = face.points[36, 0], face.points[45, 0]
        return right - columns.min(), columns.max() - left

    for yaw in (-28, 28):
        right, left = dark(yaw)
        assert (right > 1.8 * left) == (yaw > 0) and (left > 1.8 * right) == (yaw < 0)


def test_the_tiger_leaves_eyes_and_open_mouth_free():
    face = draw_face(5, 320, expression=Expression(mouth_open=0.8), plain=True, **FRONT)
    image = np.full((320, 320, 3), 128, np.uint8)
    put_tiger(image, face.points)
    for part in ("right_eye", "left_eye", "inner_lips"):
        x, y = face.points[list(PARTS[part])].mean(axis=0).round().astype(int)
        assert np.abs(image[y, x].astype(int) - 128).max() <= 2
    x, y = (0.5 * face.points[2] + 0.5 * face.points[31]).round().astype(int)  # a cheek
    assert np.abs(image[y, x].astype(int) - 128).max() > 60
    outside = np.ones((320, 320), bool)
    low, high = face.points.min(axis=0).astype(int) - 4, face.points.max(axis=0).astype(int) + 4
    outside[max(0, low[1] - 60) : high[1], low[0] : high[0]] = False  # 60 px: the forehead
    assert (image[outside] == 128).all()


def test_the_tiger_takes_the_skins_light():
    points = flat_face(160, 130, 1.2)
    lit = np.full((320, 320, 3), 190, np.uint8)
    lit[:, 160:] = 70  # half of the face in the shade
    put_tiger(lit, points)
    bright, dark = (lit[y, x].astype(float).mean() for x, y in ((110, 150), (210, 150)))
    assert bright > 1.3 * dark


def test_the_paint_stays_on_its_points_when_the_face_moves():
    one, two = (np.full((260, 420, 3), 128, np.uint8) for _ in range(2))
    put_tiger(one, flat_face(130, 100, 0.9))
    put_tiger(two, flat_face(250, 120, 0.9))
    moved = np.roll(one, (20, 120), axis=(0, 1))
    assert np.abs(moved.astype(int) - two)[30:, 130:].mean() < 4  # perspective moves the forehead a little


# --- pose and alignment ---


def test_the_axes_begin_at_the_nose():
    points = draw_face(3, 240, expression=Expression(), plain=True, **FRONT).points
    pose = head_pose(points, (240, 240))
    ink = changed(np.full((240, 240, 3), 128, np.uint8), "pose", [tracked(points)])
    for place in pose.axes(70.0)[:3]:
        x, y = place.round().astype(int)
        assert ink[y - 1 : y + 2, x - 1 : x + 2].any()


def test_the_inset_is_the_aligned_face():
    face = draw_face(3, 240, expression=Expression(), plain=True, **FRONT)
    image = np.full((480, 640, 3), 100, np.uint8)
    image[:240, :240] = face.image
    before = image.copy()
    open_overlay("aligned")(image, [tracked(face.points)], 0.0)
    inset = image[-126:-6, -126:-6]
    same = (inset == align_face(before, face.points.astype(np.float32), 120)).all(axis=-1)
    assert same[30:].all() and same.mean() > 0.95  # but for the number in its corner
