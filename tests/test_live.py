"""The live loop, which the window, the notebook and the bench share: what belongs to one video begins anew together."""

import numpy as np
import pytest
from stand_ins import Finder, Marks

from flcourse.errors import CourseError
from flcourse.face.live import LiveLoop

FRAME = np.zeros((120, 160, 3), np.uint8)
FRAME[:, :40] = 200  # its left is light


def test_the_frame_is_the_callers_and_the_drawing_a_copy():
    loop, frame = LiveLoop(Finder(), ["points"]), FRAME.copy()
    image = loop(frame, 0.0)
    assert (frame == FRAME).all() and (image != FRAME).any() and loop.image is image
    assert loop.faces[0].confidence == 0.9


def test_tracker_and_overlay_begin_anew_with_the_mirror():
    finder, marks = Finder(), Marks()
    loop = LiveLoop(finder, ["one"], marks)
    for at, mirror in enumerate([False, False, True, True, True, False]):
        loop.mirror = mirror
        loop(FRAME, at / 30)
        assert (loop.frame == (FRAME[:, ::-1] if mirror else FRAME)).all() and loop.frame.flags.c_contiguous
    assert finder.resets == 2 and len(marks.opened) == 3
    assert loop.image[0, 0, 0] == 20  # the third overlay's first frame
    loop.reset()
    loop.mirror = True  # at the beginning it turns nothing that was seen
    loop(FRAME, 0.0)
    assert finder.resets == 3 and len(marks.opened) == 4


def test_overlays_are_chosen_by_name():
    marks = Marks()
    loop = LiveLoop(Finder(), ["one", "two"], marks)
    for name in ("one", "two", "one"):
        loop.choose(name)
        loop(FRAME, 0.0)
    assert marks.opened == ["one", "two", "one"] and loop.name == "one"
    with pytest.raises(CourseError, match="overlay 'three': expected one of one, two"):
        loop.choose("three")
    with pytest.raises(CourseError, match="overlays: none is named"):
        LiveLoop(Finder(), [])
    assert LiveLoop(Finder(), "pose").overlays == ["pose"]


def test_closed_it_looks_no_more():
    finder = Finder()
    loop = LiveLoop(finder, ["points"])
    loop.close()
    assert loop(FRAME, 0.0) is None and not finder.asked and loop.image is None


def test_functions_need_no_reset():
    loop = LiveLoop(lambda frame, at: [], ["points"])
    loop.reset()
    assert (loop(FRAME, 0.0) == FRAME).all()
