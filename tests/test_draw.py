"""Drawing: in the right place, at the right size, for any face."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import template

from flcourse.face.draw import PART_COLOURS, draw_faces
from flcourse.face.landmarker import FaceLandmarks
from flcourse.points import PARTS, Box


def face(centre: tuple, side: float, confidence: float = 0.97) -> FaceLandmarks:
    points = (template() * side + centre).astype(np.float32)
    return FaceLandmarks(points, confidence, Box.around(centre, side), 0.9)


def test_points_are_drawn_where_they_are_in_their_parts_colours():
    image = np.full((400, 400, 3), 60, np.uint8)
    before = image.copy()
    drawn = draw_faces(image, [face((200, 200), 250)])
    assert (image == before).all() and drawn is not image
    points = face((200, 200), 250).points.round().astype(int)
    for name, part in PARTS.items():
        if name != "inner_lips":  # which lie on the outer lips' line here and there, in the same colour
            for x, y in points[list(part)]:
                assert np.abs(drawn[y, x].astype(int) - PART_COLOURS[name]).max() < 60
    assert drawn[75:77, 100].min(axis=1).max() > 200  # the box's top edge
    assert (drawn[380:] == 60).all()


def test_each_part_can_be_left_out():
    image = np.zeros((200, 200, 3), np.uint8)
    faces = [face((100, 100), 90)]
    nothing = draw_faces(image, faces, boxes=False, points=False, confidence=False)
    assert (nothing == image).all()
    inks = [
        (draw_faces(image, faces, **{**dict.fromkeys(("boxes", "points", "confidence"), False), name: True}) > 0).sum()
        for name in ("boxes", "points", "confidence")
    ]
    assert min(inks) > 50


def test_ink_grows_with_the_face():
    def ink(side: float) -> int:
        changed = draw_faces(
            np.full((900, 900, 3), 7, np.uint8), [face((450, 450), side)], boxes=False, confidence=False
        )
        return int((changed != 7).any(axis=2).sum())

    assert 2.5 < ink(600) / ink(300) < 5  # dots and lines grow both ways, like the face
    assert 10 < ink(12) < 12 * 12 * 3


@pytest.mark.parametrize("centre", [(10, 10), (390, 10), (10, 290), (390, 290), (200, 3)])
def test_labels_stay_inside(centre):
    image = np.full((300, 400, 3), 128, np.uint8)
    drawn = draw_faces(image, [face(centre, 60)], boxes=False, points=False)
    written = (drawn == 255).all(axis=2).sum() + (drawn == 0).all(axis=2).sum()
    inside = draw_faces(image, [face((200, 150), 60)], boxes=False, points=False)
    assert written == (inside == 255).all(axis=2).sum() + (inside == 0).all(axis=2).sum()


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
    st.floats(0.5, 1e5),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_any_face_on_any_image_is_drawn_without_a_crash(centre, side, shape):
    image = np.zeros((*shape, 3), np.uint8)
    assert draw_faces(image, [face(centre, side)]).shape == image.shape
