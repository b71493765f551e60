"""The figures: each against a second way to compute it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score
from toys import template

from flcourse import metrics
from flcourse.points import Box

errors_of_faces = arrays(float, st.integers(1, 50), elements=st.floats(0, 30))


def test_nme_of_a_known_shift():
    true = template()[None] * 100
    eyes = true[0, 45, 0] - true[0, 36, 0]
    assert metrics.nme(true + np.array([3, 4]), true) == pytest.approx([100 * 5 / eyes])


@given(st.floats(0.1, 10), st.floats(-180, 180))
def test_nme_does_not_change_with_scale_and_rotation(scale, degrees):
    rng = np.random.default_rng(0)
    true = template()[None] * 100
    predicted = true + rng.normal(0, 2, true.shape)
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert metrics.nme(predicted @ matrix, true @ matrix) == pytest.approx(metrics.nme(predicted, true))


@given(errors_of_faces, st.floats(1, 20))
def test_auc_is_the_area_under_the_error_curve(errors, limit):
    limits = np.linspace(0, limit, 20001)
    area = np.trapezoid(metrics.error_curve(errors, limits), limits) / limit
    assert metrics.auc(errors, limit) == pytest.approx(area, abs=1e-3)


@given(errors_of_faces, st.floats(0, 30))
def test_failure_rate_and_error_curve_share_all_faces(errors, limit):
    below = metrics.error_curve(errors, np.array([limit]))[0]
    assert metrics.failure_rate(errors, limit) + 100 * below == pytest.approx(100)


def test_within_radius_counts_at_the_originals_scale():
    box = Box.around((150, 150), 299 / 1.1)  # at 1.1 boxes to 299 px the scale is 1
    true = np.full((1, 68, 2), 150.0)
    predicted = true.copy()
    predicted[0, :17, 0] += 14.99
    predicted[0, 17:34, 0] += 15.01
    assert metrics.within_radius(predicted, true, [box]) == pytest.approx([75])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_accuracy_is_scikit_learns(pairs):
    predicted, true = np.array(pairs).T
    assert metrics.accuracy(predicted, true) == pytest.approx(100 * accuracy_score(true, predicted))


def test_summary_states_percent_and_areas():
    true = np.repeat(template()[None] * 100, 4, axis=0)
    eyes = metrics.eye_distance(true)[0]
    predicted = true + np.array([0, 0.07, 0.09, 0.11])[:, None, None] * (eyes, 0)
    figures = metrics.summary(predicted, true, [Box.around((0, 0), 100)] * 4)
    assert figures["nme"] == pytest.approx(6.75)
    assert figures["fr8"] == 50 and figures["fr10"] == 25
    assert figures["auc8"] == pytest.approx((1 + 1 / 8) / 4)
