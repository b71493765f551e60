"""Closed eyes made of open ones: lids meet, images and points move together, and all else stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import template

from flcourse.data.augment import Augment, blink
from flcourse.data.drawn_faces import draw_face
from flcourse.data.eyelids import shut_eyes
from flcourse.face.measure import eye_openness
from flcourse.points import apply

EYES = range(36, 48)
FACE = draw_face(5, 256, plain=True, yaw=0, pitch=0, roll=12)


def test_shut_lids_meet_and_half_shut_ones_come_halfway():
    before = eye_openness(FACE.points)
    for part in (0.5, 1.0):
        _, points = shut_eyes(FACE.image, FACE.points, (part, part))
        assert eye_openness(points) / before == pytest.approx([1 - part] * 2, abs=0.2)


def test_each_eye_closes_by_itself():
    image, points = shut_eyes(FACE.image, FACE.points, (0.0, 1.0))
    moved = np.abs(points - FACE.points).max(axis=1) > 0
    assert set(np.flatnonzero(moved)) == {43, 44, 46, 47}  # corners stay
    changed = np.flatnonzero((image != FACE.image).any(axis=(0, 2)))
    assert changed.min() > FACE.points[27, 0]  # the bridge of the nose


def test_open_eyes_stay_as_they_are_and_the_input_does():
    before = FACE.image.copy()
    image, points = shut_eyes(FACE.image, FACE.points, (0.0, 0.0))
    assert (image == before).all() and (points == FACE.points).all()
    shut_eyes(FACE.image, FACE.points, (1.0, 1.0))
    assert (FACE.image == before).all()


@pytest.mark.parametrize("lid", [37, 38, 40, 41, 43, 44, 46, 47])
def test_what_was_at_a_lid_is_where_its_point_went(lid):
    """A dot painted on a lid of an otherwise empty picture is found again at the moved point."""
    at = FACE.points * 2  # large eyes, so that a dot is small on them
    ys, xs = np.mgrid[:512, :512]
    dot = 255 * np.exp(-((xs - at[lid, 0]) ** 2 + (ys - at[lid, 1]) ** 2) / (2 * 1.5**2))
    moved, points = shut_eyes(dot.astype(np.uint8), at, (0.4, 0.4))
    weight = moved * (np.hypot(xs - points[lid, 0], ys - points[lid, 1]) < 12)
    found = np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()
    assert np.hypot(*(found - points[lid])) < 2
    assert np.hypot(*(points[lid] - at[lid])) > 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_any_face_at_any_place_can_be_closed(seed, right, left):
    rng = np.random.default_rng(seed)
    matrix = np.array([[1, 0, rng.uniform(-90, 150)], [0, 1, rng.uniform(-90, 150)]]) * rng.uniform(0.02, 1.5)
    points = apply(template() * 100, matrix) + rng.normal(0, rng.uniform(0, 8), (68, 2))
    image, moved = shut_eyes(np.zeros((96, 96, 3), np.uint8), points, (right, left))
    assert image.shape == (96, 96, 3) and np.isfinite(moved).all()
    rest = np.setdiff1d(np.arange(68), EYES)
    assert (moved[rest] == points[rest]).all()


def test_how_often_eyes_close():
    crop, points = FACE.image, FACE.points
    draws = [blink(Augment(shut_eyes=0.4), crop, points, np.random.default_rng(seed))[1] for seed in range(200)]
    open_ = eye_openness(points).mean()
    parts = np.array([eye_openness(drawn).mean() for drawn in draws]) / open_
    assert 0.3 < np.mean(parts < 0.99) < 0.5
    assert 0.1 < np.mean(parts < 0.15) < 0.3  # half of them all the way, but for winks
