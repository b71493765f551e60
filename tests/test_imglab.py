"""The imglab parser, the splits and the dataset."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toys import template, toy_face, toy_set

from flcourse.data import imglab
from flcourse.data.augment import Augment
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import Face, read_imglab, split_faces, write_imglab
from flcourse.errors import CourseError
from flcourse.images import write_image
from flcourse.points import Box, from01

PARTS_XML = "".join(f"<part name='{i:02d}' x='{10 + i}' y='{20 + i}'/>" for i in range(68))
BOX_XML = f"<box top='5' left='6' width='70' height='80'>{PARTS_XML}</box>"


def dataset_xml(images: str) -> str:
    return f"<?xml version='1.0' encoding='ISO-8859-1'?>\n<dataset><images>{images}</images></dataset>"


def read(tmp_path, images: str) -> list[Face]:
    (tmp_path / "labels.xml").write_text(dataset_xml(images), encoding="latin-1")
    return read_imglab(tmp_path / "labels.xml")


def test_reads_the_official_archives_form(tmp_path):
    """Whole coordinates, no width or height of the image, a style sheet, and dlib's attribute order."""
    text = dataset_xml(f"<image file='helen/trainset/1_1.jpg'>{BOX_XML}</image>").replace(
        "\n", "\n<?xml-stylesheet type='text/xsl' href='image_metadata_stylesheet.xsl'?>\n"
    )
    (tmp_path / "labels.xml").write_text(text)
    (face,) = read_imglab(tmp_path / "labels.xml")
    assert face.box == Box(6, 5, 70, 80)
    assert face.path == tmp_path / "helen/trainset/1_1.jpg"
    assert face.points.dtype == np.float32 and (face.points[67] == (77, 87)).all()


def test_reads_decimals_shuffled_parts_and_several_boxes(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 300, (2, 68, 2)).round(2)  # outside the box, and left of the image
    boxes = ""
    for face in points:
        order = rng.permutation(68)
        parts = "".join(f"<part name='{i:02d}' x='{face[i, 0]}' y='{face[i, 1]}'/>" for i in order)
        boxes += f"<box left='1.5' top='2.5' width='100.25' height='99.75'>{parts}</box>"
    faces = read(tmp_path, f"<image file='a\\b.png' width='400' height='300'>{boxes}</image>")
    assert [f.file for f in faces] == ["a/b.png"] * 2
    assert np.allclose([f.points for f in faces], points)
    assert faces[0].box == Box(1.5, 2.5, 100.25, 99.75)


@given(st.lists(st.tuples(st.sampled_from(["a.png", "b & c's.png", "ü/顔.png"]), st.integers(0, 99)), min_size=1))
def test_written_xml_reads_back(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("xml")
    faces = [
        Face(folder / n, n, Box(s, s / 4, 50 + s, 60.25), (template() * (s + 1)).astype(np.float32)) for n, s in names
    ]
    write_imglab(folder / "x.xml", faces)
    back = read_imglab(folder / "x.xml")
    key = lambda f: (f.file, f.box)  # noqa: E731
    for one, two in zip(sorted(faces, key=key), sorted(back, key=key), strict=True):
        assert (one.file, one.path, one.box) == (two.file, two.path, two.box)
        assert np.allclose(one.points, two.points, atol=0.006)


BOMB = """<?xml version='1.0'?><!DOCTYPE dataset [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<dataset><name>&b;</name></dataset>"""
IMAGE = "<image file='x.png'>{}</image>"
BAD = {
    "truncated": (dataset_xml(IMAGE.format(BOX_XML))[:-300], "not whole XML"),
    "no bytes": ("", "not whole XML"),
    "no face": (dataset_xml(""), "no face in it"),
    "entity bomb": (BOMB, "DTD or entities"),
    "other XML": ("<svg/>", "root element <svg>"),
    "no file": (dataset_xml(f"<image>{BOX_XML}</image>"), "image 1 .no file attribute."),
    "67 points": (
        dataset_xml(IMAGE.format(BOX_XML.replace("<part name='30' x='40' y='50'/>", ""))),
        r"image 1 \(x.png\): 67 points, expected 68",
    ),
    "a part twice": (dataset_xml(IMAGE.format(BOX_XML.replace("name='30'", "name='31'"))), "part 30 is missing"),
    "a strange part": (dataset_xml(IMAGE.format(BOX_XML.replace("name='30'", "name='eye'"))), "part name 'eye'"),
    "box of size 0": (dataset_xml(IMAGE.format(BOX_XML.replace("'70'", "'0'"))), r"box of 0 x 80 pixels"),
    "box without width": (
        dataset_xml(IMAGE.format(BOX_XML.replace("width='70'", ""))),
        "width=None, expected a number",
    ),
    "an encoding of thousands of digits": (f"<?xml version='1.0' encoding='UTF-{'9' * 5000}'?><dataset/>", "encoding"),
    "no number": (dataset_xml(IMAGE.format(BOX_XML.replace("x='40'", "x='nan'"))), "x='nan', expected a number"),
}


@pytest.mark.parametrize("text, message", BAD.values(), ids=BAD.keys())
def test_bad_xml_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "labels.xml").write_text(text)
    with pytest.raises(CourseError, match=message) as caught:
        read_imglab(tmp_path / "labels.xml")
    assert "labels.xml" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_missing_xml(tmp_path):
    with pytest.raises(CourseError, match=r"gone\.xml: No such file"):
        read_imglab(tmp_path / "gone.xml")


def named(file: str) -> Face:
    return Face(None, file, Box(0, 0, 9, 9), np.zeros((68, 2)))


def test_photos_tie_twins_and_neighbours_together():
    together = [
        ["afw/134212_1.jpg", "afw/134212_2.jpg", "afw/134212_2_mirror.jpg"],
        ["helen/trainset/99_1.jpg", "helen/trainset/99_1_mirror.jpg", "helen/trainset/99_2.jpg"],
        ["lfpw/trainset/image_0001.png", "lfpw/trainset/image_0001_mirror.png"],
        ["lfpw/trainset/image_0002.png"],
        ["lfpw/testset/image_0001.png"],
        ["afw/5_1.jpg"],
        ["ibug/image_003_1.jpg"],
    ]
    photos = [{named(file).photo for file in group} for group in together]
    assert all(len(p) == 1 for p in photos)
    assert len(set.union(*photos)) == len(together)


@given(st.lists(st.integers(0, 60), min_size=2, unique=True), st.floats(0.01, 0.9), st.integers(0, 5))
def test_split_keeps_photos_whole_whatever_the_order(numbers, fraction, seed):
    faces = [named(f"afw/{n}_{k}.jpg") for n in numbers for k in range(1 + n % 3)]
    train, val = split_faces(faces, fraction, seed)
    assert train and val and len(train) + len(val) == len(faces)
    assert not {f.photo for f in train} & {f.photo for f in val}
    again = split_faces(faces[::-1], fraction, seed)
    assert {f.file for f in again[1]} == {f.file for f in val}


def test_split_fraction_and_growth():
    few, many = [[named(f"lfpw/{n}.png") for n in range(count)] for count in (500, 2000)]
    val_few, val_many = split_faces(few, 0.1)[1], split_faces(many, 0.1)[1]
    assert 0.07 < len(val_many) / 2000 < 0.13
    assert {f.file for f in val_few} <= {f.file for f in val_many}
    with pytest.raises(CourseError, match="1 photograph to split"):
        split_faces(few[:1], 0.1)


@pytest.fixture
def faces(tmp_path):
    return read_imglab(toy_set(tmp_path, 6))


def test_items_are_what_networks_take(faces):
    crop, points01 = FaceDataset(faces, 48)[2]
    assert crop.shape == (1, 48, 48) and crop.dtype == torch.float32 and crop.abs().max() <= 1
    assert points01.shape == (68, 2) and points01.dtype == torch.float32
    # The box is 1 / 1.3 of the crop, and the toys' boxes are tight around their points.
    assert np.ptp(points01.numpy(), axis=0).max() == pytest.approx(1 / 1.3, abs=0.02)


def test_items_depend_on_seed_epoch_and_index_alone(faces):
    strong = Augment(rotation=20, scale=0.2, offset=0.1, mirror=0.5, brightness=0.5, blur=1, noise=9, occlusion=1)
    one, two = FaceDataset(faces, 32, strong, seed=3), FaceDataset(faces, 32, strong, seed=3)
    for index in (5, 0, 5, 2):  # in any order, any number of times
        assert torch.equal(one[index][0], two[index][0])
    assert torch.equal(one[2][1], two[0, 2][1])
    assert not torch.equal(one[2][1], two[1, 2][1])
    assert not torch.equal(one[2][1], FaceDataset(faces, 32, strong, seed=4)[2][1])


def test_every_second_epoch_has_the_second_size(faces):
    both = FaceDataset(faces, 32, seed=3, second_size=48)
    assert [both[epoch, 2][0].shape[1] for epoch in range(4)] == [32, 48, 32, 48]
    assert torch.allclose(both[1, 2][1], both[2][1])  # in parts of the crop the points stay where they are


def test_images_far_larger_than_the_crop_are_shrunk_without_shift(tmp_path):
    """The region in memory is averaged down; dots drawn on a large image must stay under their points."""
    import cv2

    face = toy_face(tmp_path, 0, np.random.default_rng(0))
    big = np.full((1600, 1600, 3), 255, np.uint8)
    points = (template() * 700 + 800).round()
    for x, y in points.astype(int):
        cv2.circle(big, (int(x), int(y)), 24, (0, 0, 0), -1)
    write_image(tmp_path / "big.png", big)
    dataset = FaceDataset(
        [replace(face, path=tmp_path / "big.png", points=points, box=Box.around((800, 800), 800))], 96
    )
    assert dataset._regions[0][0].nbytes < 75 * 96**2
    crop, points01 = dataset[0]
    for x, y in from01(points01.numpy(), 96)[[0, 8, 16]]:  # the jaw's ends and the chin stand alone
        ys, xs = np.mgrid[:96, :96]
        near = (np.hypot(xs - x, ys - y) < 4) * (1 - crop[0].numpy())
        assert np.allclose([(near * xs).sum() / near.sum(), (near * ys).sum() / near.sum()], [x, y], atol=0.25)


def test_a_missing_image_is_named(faces):
    faces[3].path.unlink()
    with pytest.raises(CourseError, match=r"image_0003\.png: No such file"):
        FaceDataset(faces, 32)


# --- what strangers send ---


PART_30 = "<part name='30' x='40' y='50'/>"


def face_xml(part30: str = PART_30, **changes: str) -> str:
    """A box with one face, with another part 30, or another value of the box's attributes."""
    box = {"top": "5", "left": "6", "width": "70", "height": "80", "ignore": "0"} | changes
    attributes = " ".join(f"{name}='{value}'" for name, value in box.items())
    return f"<box {attributes}>{PARTS_XML.replace(PART_30, part30)}</box>"


def part30(name: str = "30", x: str = "40", y: str = "50") -> dict[str, str]:
    return {"part30": f"<part name='{name}' x='{x}' y='{y}'/>"}


HUGE = "9" * 5_000
NO_NUMBERS = ["1e15", "-1e15", "1e-300", "1e999", HUGE, "٦٧", "1_0", "0x10", "inf", "-Infinity", "NaN", "1,5", "", "-"]
NO_PARTS = ["٦٧", "1_0", "³", "068", HUGE, "", "-1", "99"]
REFUSED = {
    **{f"x={text[:9]}": (face_xml(**part30(x=text)), "<part> has x=") for text in NO_NUMBERS},
    **{f"left={text[:9]}": (face_xml(left=text), "<box> has left=") for text in NO_NUMBERS},
    **{f"part {text[:9]}": (face_xml(**part30(name=text)), "part name ") for text in NO_PARTS},
    **{f"width {text}": (face_xml(width=text), "expected at least 1 x 1") for text in ("0.5", "-3", "0", "1e-9")},
    "eye corners in one place": (
        face_xml().replace("<part name='45' x='55' y='65'/>", "<part name='45' x='46.05' y='56.05'/>"),
        "parts 36 and 45, the outer eye corners, are in one place",
    ),
}


@pytest.mark.parametrize(("box", "message"), REFUSED.values(), ids=REFUSED)
def test_numbers_have_bounds(tmp_path, box, message):
    (tmp_path / "labels.xml").write_text(
        f"<dataset><images><image file='x.png'>{box}</image></images></dataset>", "utf-8"
    )
    with pytest.raises(CourseError, match=message) as caught:
        read_imglab(tmp_path / "labels.xml")
    told = str(caught.value)
    assert "image 1 (x.png)" in told and "\n" not in told and len(told) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["40", " 40 ", "+40.", "4e1", "40.000", "400e-1", ".4E2", "-3.5"])
def test_numbers_in_all_plain_forms(tmp_path, text):
    (face,) = read(tmp_path, IMAGE.format(face_xml(**part30(x=text))))
    assert face.points[30, 0] == np.float32(text)


NAMES = ["/etc/passwd", "../up.png", "a/../../up.png", "..\\up.png", "C:/x.png", "c:x.png", "\\\\server\\share\\x.png"]
NAMES += ["a&#10;b.png", "a&#9;b.png", "\u202egnp.exe", "x\u0085.png", "n" * 2_000, "/dev/zero", "//x", "a/.."]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_folder_or_hide_something(tmp_path, name):
    text = f"<dataset><images><image file='{name}'>{BOX_XML}</image></images></dataset>"
    (tmp_path / "labels.xml").write_text(text, "utf-8")
    with pytest.raises(CourseError, match=r"not safe, it leaves|control characters|2,000 characters") as caught:
        read_imglab(tmp_path / "labels.xml")
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_never_opened(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    (face,) = read(tmp_path, IMAGE.format(BOX_XML))
    expected = "x.png: Is a directory" if kind == "folder" else "x.png: a device or a pipe, expected an image"
    with pytest.raises(CourseError, match=expected):
        FaceDataset([face], 32)
    with pytest.raises(CourseError, match=expected.replace("an image", "an imglab XML file")):
        read_imglab(path)


def test_boxes_to_be_ignored_are_left_out_and_counted(tmp_path, capsys):
    bare = "<box top='1' left='1' width='9' height='9' ignore='1'/>"
    faces = read(tmp_path, IMAGE.format(bare + face_xml(ignore="1") + face_xml(left="8", ignore="0") + bare))
    assert [face.box.left for face in faces] == [8]
    assert capsys.readouterr().err == f"{tmp_path / 'labels.xml'}: 3 boxes with ignore='1' left out\n"
    with pytest.raises(CourseError, match="no face in it"):
        read(tmp_path, IMAGE.format(bare))


def test_points_far_outside_the_image_are_named(tmp_path):
    far = face_xml(**part30(x="500"))
    with pytest.raises(
        CourseError, match=r"image 1 \(x.png\): point 30 at \(500, 50\) is far outside the image of 90 x 90"
    ):
        read(tmp_path, f"<image file='x.png' width='90' height='90'>{far}</image>")
    assert read(tmp_path, f"<image file='x.png' width='90' height='90'>{face_xml(**part30(x='150'))}</image>")
    (face,) = read(tmp_path, IMAGE.format(far))  # how large the image is shows when it is read
    write_image(tmp_path / "x.png", np.zeros((90, 90, 3), np.uint8))
    with pytest.raises(CourseError, match=r"x.png: point 30 at \(500, 50\) is far outside the image of 90 x 90 px"):
        FaceDataset([face], 32)


def test_sizes_have_limits(tmp_path, monkeypatch):
    with open(tmp_path / "labels.xml", "wb") as file:
        file.truncate(imglab.MOST_BYTES + 1)
    with pytest.raises(CourseError, match=r"labels.xml: 100 MB, expected an imglab XML file of at most 100 MB"):
        read_imglab(tmp_path / "labels.xml")
    monkeypatch.setattr(imglab, "_MOST_ELEMENTS", 1000)
    with pytest.raises(CourseError, match="over 1,000 elements"):
        read(tmp_path, "<a/>" * 1000)
    with pytest.raises(CourseError, match="over 1,000 elements"):
        read(tmp_path, "<a>" * 1000 + "</a>" * 1000)


def test_a_tag_of_megabytes_takes_no_time(tmp_path):
    """Older expats look at a tag from its start again with every piece of it."""
    start = time.monotonic()
    with pytest.raises(CourseError, match=r"a name of 20,000,000 characters, expected at most 1,000") as caught:
        read(tmp_path, f"<image file='{'n' * 20_000_000}'/>")
    assert time.monotonic() - start < 5 and len(str(caught.value)) < 2_000


# --- what a writer writes, its reader reads ---


def a_face(file: str, box: Box | None = None, points: np.ndarray | None = None) -> Face:
    return Face(Path(file), file, box or Box(5, 5, 30, 30), template() * 30 + 20 if points is None else points)


@settings(deadline=None)  # disks have their own pace
@given(st.floats(-900_000, 900_000), st.floats(-900_000, 900_000), st.floats(1, 900_000), st.floats(1, 900_000))
def test_a_hundredth_of_a_pixel_is_kept_at_any_coordinate(tmp_path_factory, left, top, width, height):
    xml = tmp_path_factory.mktemp("xml") / "x.xml"
    write_imglab(xml, [a_face("x.png", Box(left, top, width, height))])
    assert np.allclose(read_imglab(xml)[0].box, (left, top, width, height), rtol=0, atol=0.006)


@settings(deadline=None)  # disks have their own pace
@given(st.text(max_size=40), st.text(max_size=10), st.integers(0, 6))
@example("a\\b.png", "faces & <more>", 0)
@example("a\x01.png", "\ud800", 0)
@example("\ud800.png", "", 0)
@example("\uffff.png", "\uffff", 0)
@example("' \" &amp; <x>.png", "]]>", 0)
def test_whatever_is_written_is_read_or_nothing_is_replaced(tmp_path_factory, file, name, odd):
    xml = tmp_path_factory.mktemp("xml") / "x.xml"
    write_imglab(xml, [a_face("good.png")])
    before = xml.read_bytes()
    values = (None, np.nan, np.inf, 1e15, -1e7, 1e-300, 0.005)
    points = template() * 30 + 20
    if values[odd] is not None:
        points[7, 0] = values[odd]
    try:
        write_imglab(xml, [a_face("good.png"), a_face(file, points=points)], name)
    except CourseError as error:
        assert str(xml) in str(error) and "\n" not in str(error)
        assert xml.read_bytes() == before
    else:
        assert [face.file for face in read_imglab(xml)] == (["good.png", file] if file != "good.png" else [file] * 2)
    assert os.listdir(xml.parent) == ["x.xml"]


UNREADABLE = [[], [a_face("x.png", Box(0, 0, 0.4, 9))], [a_face("x.png", points=np.zeros((67, 2)))]]


@pytest.mark.parametrize("faces", UNREADABLE)
def test_what_could_not_be_read_is_not_written(tmp_path, faces):
    write_imglab(tmp_path / "x.xml", [a_face("good.png")])
    with pytest.raises(CourseError, match=r"x\.xml"):
        write_imglab(tmp_path / "x.xml", faces)
    assert read_imglab(tmp_path / "x.xml")[0].file == "good.png"


def test_boxes_to_be_ignored_are_not_lost_by_writing(tmp_path):
    read(tmp_path, IMAGE.format(face_xml(ignore="1") + face_xml()))
    before = (tmp_path / "labels.xml").read_bytes()
    with pytest.raises(CourseError, match="1 boxes with ignore='1' in it would be lost; write to another file"):
        write_imglab(tmp_path / "labels.xml", read_imglab(tmp_path / "labels.xml"))
    assert (tmp_path / "labels.xml").read_bytes() == before
