"""The 68-point scheme and the geometry: permutation, boxes, crops, matrices."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import template

from flcourse.points import (
    MIRROR,
    N_POINTS,
    PARTS,
    Box,
    BoxMap,
    apply,
    compose,
    crop_matrix,
    from01,
    invert,
    move_points,
    tight_box,
    to01,
)

coordinates = st.floats(-500, 500)
sides = st.floats(5, 1000)
matrices = st.builds(
    crop_matrix,
    st.builds(Box.around, st.tuples(coordinates, coordinates), sides),
    st.integers(8, 400),
    rotation=st.floats(-180, 180),
    scale=st.floats(0.3, 3),
    offset=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    mirror=st.booleans(),
)


def test_parts_cover_every_point_once():
    assert sorted(i for part in PARTS.values() for i in part) == list(range(N_POINTS))


def test_mirror_undoes_itself_and_swaps_whole_parts():
    assert (MIRROR[MIRROR] == np.arange(N_POINTS)).all()
    for right, left in (("right_brow", "left_brow"), ("right_eye", "left_eye")):
        assert set(MIRROR[list(PARTS[right])]) == set(PARTS[left])
    for own in ("jaw", "nose_bridge", "nose_base", "outer_lips", "inner_lips"):
        assert set(MIRROR[list(PARTS[own])]) == set(PARTS[own])


def test_mirror_leaves_a_symmetric_face_as_it_is():
    flipped = (template() * (-1, 1))[MIRROR]
    # The toy's brows and eyes are arcs, symmetric as sets and in their order.
    assert np.allclose(flipped, template(), atol=1e-9)


@given(st.tuples(coordinates, coordinates), sides)
def test_box_around_is_the_inverse_of_centre_and_side(centre, side):
    box = Box.around(centre, side)
    assert np.allclose(box.centre, centre)
    assert box.side == pytest.approx(side)


def test_box_counts_pixels():
    # Pixels 10 to 19 have their middle between the centres of pixels 14 and 15.
    assert Box(10, 10, 10, 10).centre == (14.5, 14.5)
    assert tight_box(np.array([[3.0, 4.0], [7.0, 5.0]])) == Box(3, 4, 5, 2)


def test_crop_matrix_takes_the_square_to_the_crops_edges():
    box, size = Box.around((50, 40), 100), 64
    corners = np.array([[50 - 65, 50 - 65], [50 + 65, 50 + 65]], float)  # 1.3 boxes wide, 0.1 lower: y = 40 + 10
    assert np.allclose(apply(corners, crop_matrix(box, size)), [[-0.5, -0.5], [63.5, 63.5]])


def test_rotation_is_counter_clockwise_as_seen():
    right_of_centre = np.array([[60.0, 50.0]])
    moved = apply(right_of_centre, crop_matrix(Box.around((50, 40), 100), 130, rotation=90))
    assert moved[0, 1] < 64 and moved[0, 0] == pytest.approx(64.5)  # it is now above the middle


@given(matrices, matrices)
def test_compose_and_invert(first, second):
    points = template() * 100
    both = apply(apply(points, first), second)
    assert np.allclose(apply(points, compose(second, first)), both, atol=1e-6 * max(1, abs(both).max()))
    assert np.allclose(apply(apply(points, first), invert(first)), points, atol=1e-6)


@given(matrices)
def test_moving_there_and_back_restores_order_and_place(matrix):
    points = template() * 100
    assert np.allclose(move_points(move_points(points, matrix), invert(matrix)), points, atol=1e-6)


def test_mirroring_keeps_the_right_eye_on_the_left_of_the_image():
    points = template() * 50 + 50
    moved = move_points(points, crop_matrix(Box.around((50, 50), 60), 100, mirror=True))
    assert moved[36, 0] < moved[45, 0] and moved[0, 0] < moved[16, 0]


@given(st.integers(1, 1000))
def test_normalised_points_are_edges_at_0_and_1(size):
    edges = np.array([[-0.5, size - 0.5]])
    assert np.allclose(to01(edges, size), [[0, 1]])
    assert np.allclose(from01(to01(edges, size), size), edges)


def test_matrix_convention_is_opencvs():
    # A single bright pixel lands where the matrix says, integers at pixel centres.
    image = np.zeros((50, 50), np.uint8)
    image[20, 30] = 255
    matrix = crop_matrix(Box.around((30.5, 20.5), 20), 26, offset=(0.1, -0.2))  # 26 = 1.3 boxes: scale 1
    x, y = apply(np.array([30.0, 20.0]), matrix)
    crop = cv2.warpAffine(image, matrix, (26, 26))
    assert crop[round(y), round(x)] == 255 and crop.sum() == 255


def test_box_map_moves_and_scales():
    mapped = BoxMap(scale=1.2, dx=0.1, dy=-0.05)(Box.around((100, 100), 50))
    assert np.allclose(mapped.centre, (105, 97.5)) and mapped.side == pytest.approx(60)
