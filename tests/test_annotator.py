"""The annotator without a browser: marks go in as the browser would send them, faces come out of the XML."""

import numpy as np
import pytest
import traitlets
from toys import template, toy_set

from flcourse.data.drawn_faces import draw_face
from flcourse.data.imglab import read_imglab
from flcourse.errors import CourseError
from flcourse.face.landmarker import FaceLandmarks
from flcourse.images import read_image
from flcourse.points import N_POINTS, PARTS, Box, face_box
from flcourse.show.annotator import WHERE, Annotator, proposal, scheme

POINTS = template() * 70 + (61.37, 48.81)  # fractions of a pixel, as clicks on an enlarged image give
IMAGE = np.random.default_rng(0).integers(0, 256, size=(110, 130, 3), dtype=np.uint8)


def click(annotator, points):
    """Set marks and current as one message of the browser's."""
    marks = [None if np.isnan(point).any() else list(point) for point in np.asarray(points, float)]
    annotator.set_state({"marks": marks, "current": 0})


def some(n):
    """The points with all but the first n missing."""
    return np.where(np.arange(N_POINTS)[:, None] < n, POINTS, np.nan)


def test_starts_with_nothing():
    annotator = Annotator(IMAGE)
    assert annotator.points.shape == (68, 2) and np.isnan(annotator.points).all()
    assert not annotator.done and annotator.current == 0
    assert (annotator.width, annotator.height) == (130, 110)
    assert annotator.jpeg.startswith(b"\xff\xd8") and annotator.history == []


def test_clicks_become_points():
    annotator = Annotator(IMAGE)
    click(annotator, some(12))
    assert annotator.points[:12] == pytest.approx(POINTS[:12]) and np.isnan(annotator.points[12:]).all()
    click(annotator, POINTS)
    assert annotator.done and annotator.points.dtype == np.float64
    assert annotator.points == pytest.approx(POINTS, abs=1e-9)


def test_starts_from_a_proposal():
    whole, part = Annotator(IMAGE, POINTS.astype(np.float32)), Annotator(IMAGE, some(31))
    assert whole.done and whole.points == pytest.approx(POINTS, abs=1e-4) and whole.current == 0
    assert not part.done and part.current == 31
    part.points = POINTS
    assert part.done and part.current == 0 and part.history == []
    part.points = None
    assert np.isnan(part.points).all()
    assert whole.done  # annotators are independent


def test_box_is_the_face_box_that_all_else_uses():
    assert Annotator(IMAGE, POINTS).box == face_box(POINTS)
    off = []
    for seed in range(30):  # drawn with boxes as the iBUG file's, scatter included
        drawn = draw_face(seed, 64, plain=True)
        box = Annotator(drawn.image, drawn.points).box
        off.append([*(np.subtract(box.centre, drawn.box.centre) / drawn.box.side), box.side / drawn.box.side - 1])
    x, y, larger = np.abs(np.mean(off, axis=0))
    assert max(x, y) < 0.02 and larger < 0.06


def test_face_is_what_training_reads(tmp_path):
    face = Annotator(IMAGE, POINTS).face(tmp_path / "me.png")
    assert face.path == tmp_path / "me.png" and face.file == "me.png"
    assert face.points.dtype == np.float32 and face.points == pytest.approx(POINTS, abs=1e-4)
    assert Annotator(IMAGE, POINTS).face(tmp_path / "me.png", "a/me.png").file == "a/me.png"


def test_saved_and_read_back(tmp_path):
    annotator = Annotator(IMAGE)
    click(annotator, POINTS)
    [face] = annotator.save(tmp_path / "new" / "mine.xml")
    assert face.points == pytest.approx(POINTS, abs=0.01)
    assert tuple(face.box) == pytest.approx(tuple(annotator.box), abs=0.01)
    assert face.file == "mine_0000.png" and (read_image(face.path) == IMAGE).all()
    [again] = read_imglab(tmp_path / "new" / "mine.xml")
    assert (again.points == face.points).all()


def test_saved_again_it_replaces_its_face(tmp_path):
    xml, annotator = tmp_path / "mine.xml", Annotator(IMAGE, POINTS)
    annotator.save(xml)
    annotator.points = POINTS + 1.5
    [face] = annotator.save(xml)
    assert face.points == pytest.approx(POINTS + 1.5, abs=0.01) and face.file == "mine_0000.png"
    assert len(Annotator(IMAGE, POINTS).save(xml)) == 2  # another annotator's face is added


def test_a_face_that_is_there_just_so_is_not_doubled(tmp_path):
    """A notebook that is run again."""
    for _ in range(2):
        faces = Annotator(IMAGE, POINTS + 0.123).save(tmp_path / "mine.xml", "me.png")
    assert len(faces) == 1 and len(Annotator(IMAGE, POINTS + 1).save(tmp_path / "mine.xml", "me.png")) == 2


def test_a_notebook_run_again_in_a_new_kernel_goes_on_from_what_was_corrected(tmp_path):
    xml = tmp_path / "mine.xml"
    assert not Annotator(IMAGE, POINTS).resume(xml, "me.png")  # nothing saved yet
    corrected = Annotator(IMAGE, POINTS + 1.5)
    corrected.save(xml, "me.png")
    again = Annotator(IMAGE, POINTS)  # the proposal
    assert again.resume(xml, "me.png") and again.points == pytest.approx(POINTS + 1.5, abs=0.01)
    assert len(again.save(xml, "me.png")) == 1
    again.points = POINTS + 3
    [face] = again.save(xml, "me.png")
    assert face.points == pytest.approx(POINTS + 3, abs=0.01)
    other = Annotator(255 - IMAGE, POINTS)  # another image of that name is not taken for this one
    assert not other.resume(xml, "me.png") and not other.resume(xml, "you.png")
    assert other.points == pytest.approx(POINTS)


@pytest.mark.parametrize("name", ["a\x01.png", "a\nb.png", "\x0b.png", "\ud800.png", "..\\a.png", "../a.png"])
def test_a_name_that_no_reader_takes_leaves_what_is_there(tmp_path, name):
    xml = tmp_path / "in" / "mine.xml"
    Annotator(IMAGE, POINTS).save(xml)
    before = xml.read_bytes()
    with pytest.raises(CourseError):
        Annotator(IMAGE[::-1], POINTS).save(xml, name)
    assert xml.read_bytes() == before and len(read_imglab(xml)) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "mine.xml", "mine_0000.png"]


def test_saving_adds_to_what_is_there(tmp_path):
    xml = toy_set(tmp_path, 3)
    before = read_imglab(xml)
    faces = Annotator(IMAGE, POINTS).save(xml)
    assert [face.file for face in faces] == [*(face.file for face in before), "labels_0000.png"]
    for old, new in zip(before, faces, strict=False):
        assert new.points == pytest.approx(old.points, abs=0.005) and new.path.exists()
    # Two faces of one image, by two annotators.
    faces = Annotator(IMAGE, POINTS - 2).save(xml, "labels_0000.png")
    assert len(faces) == 5 and [face.file for face in faces[-2:]] == 2 * ["labels_0000.png"]


def test_another_image_is_not_overwritten(tmp_path):
    Annotator(IMAGE, POINTS).save(tmp_path / "mine.xml", "me.png")
    with pytest.raises(CourseError, match=r"me\.png: is there already and is another image"):
        Annotator(255 - IMAGE, POINTS).save(tmp_path / "mine.xml", "me.png")
    with pytest.raises(CourseError, match=r"me\.jpg: expected a name that ends in \.png"):
        Annotator(IMAGE, POINTS).save(tmp_path / "mine.xml", "me.jpg")
    assert len(read_imglab(tmp_path / "mine.xml")) == 1


def test_no_imglab_file_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.xml").write_text("<html/>")
    with pytest.raises(CourseError, match=r"mine\.xml"):
        Annotator(IMAGE, POINTS).save(tmp_path / "mine.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.xml"]
    assert (tmp_path / "mine.xml").read_text() == "<html/>"


def test_missing_points_are_refused(tmp_path):
    annotator = Annotator(IMAGE, some(40))
    said = r"40 of 68 points are set; the first that is missing is 40 \(eye, left in the image\): click"
    for refused in (
        lambda: annotator.box,
        lambda: annotator.face(tmp_path / "me.png"),
        lambda: annotator.save(tmp_path / "mine.xml"),
    ):
        with pytest.raises(CourseError, match=said):
            refused()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("image", [IMAGE[..., 0], IMAGE.astype(float), IMAGE[:0], np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_image_is_named(image):
    with pytest.raises(ValueError, match=r"image: .*expected uint8 \(H, W, 3\), RGB"):
        Annotator(image)


@pytest.mark.parametrize("points", [POINTS[:67], POINTS.T, np.full((68, 2), np.inf)])
def test_wrong_points_are_named(points):
    with pytest.raises(ValueError, match=r"points: .*expected \(68, 2\)"):
        Annotator(IMAGE, points)
    annotator = Annotator(IMAGE, POINTS)
    with pytest.raises(ValueError, match=r"expected \(68, 2\)"):
        annotator.points = points
    with pytest.raises(traitlets.TraitError, match="marks"):
        annotator.marks = [list(point) for point in points]
    assert annotator.points == pytest.approx(POINTS)


def test_image_is_a_copy():
    image = IMAGE.copy()
    annotator = Annotator(image)
    image[:] = 0
    assert (annotator.image == IMAGE).all()


def test_scheme_is_a_face():
    drawn = scheme()
    points = np.array(drawn["points"])
    assert points.shape == (68, 2) and points.min() > 0
    assert points[:, 0].max() < 100 and points[:, 1].max() < drawn["height"]
    assert set(WHERE) == set(PARTS)
    assert sorted(i for part in drawn["parts"] for i in part["indices"]) == list(range(68))
    assert points[8, 1] == points[:, 1].max() and points[36, 0] < points[45, 0]  # upright, not mirrored
    # Every point can be told from its neighbours, and chosen: 1.5 parts of 100 are 3.6 pixels of the screen.
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) + 100 * np.eye(68)
    assert apart.min() > 1.5


# --- where to begin ---


def test_the_largest_of_several_faces_is_proposed_and_an_average_one_where_there_is_none():
    image = np.zeros((120, 200, 3), np.uint8)
    faces = [
        FaceLandmarks((template() * side + 20).astype(np.float32), 0.9, Box(20, 20, side, side), 1.0)
        for side in (30, 60, 40)
    ]
    assert np.array_equal(proposal(image, faces), faces[1].points)
    average = proposal(image, [])
    assert average.shape == (68, 2)
    low, high = average.min(axis=0), average.max(axis=0)
    assert np.allclose((low + high) / 2, (99.5, 59.5)) and (high - low).max() == pytest.approx(72)
    assert average[36, 0] < average[45, 0] and average[8, 1] > average[27, 1]  # upright
    assert Annotator(image, points=average).done
