"""What is no image, and what is no box, is refused at every door, with what came, what is expected and what to do."""

from collections import UserList
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from test_landmarker import Everything, network_bytes

from flcourse.errors import CourseError
from flcourse.face.draw import draw_faces
from flcourse.face.landmarker import FaceLandmarker, FaceLandmarks
from flcourse.face.track import FaceTracker
from flcourse.images import as_rgb, check_image, read_image, warp, write_image
from flcourse.points import Box, crop_matrix

BOX = Box.around((222, 118), 90)
RGB = data.astronaut()
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
UNIT = RGB / 255

NO_IMAGES = {  # what comes -> the error, and what it says
    "None": (None, TypeError, "image: None, .*cv2.imread gives None.*flcourse.read_image"),
    "a path": ("astronaut.png", TypeError, "'astronaut.png', a path, .*flcourse.read_image"),
    "a Path": (Path("a.png"), TypeError, "a path, .*flcourse.read_image"),
    "bytes": (b"\xff\xd8\xff", TypeError, "encoded bytes, .*decode_image"),
    "Pillow": (Image.fromarray(RGB), TypeError, r'PIL.Image.Image, .*np.asarray\(image.convert\("RGB"\)\)'),
    "a list": (RGB[:2].tolist(), TypeError, r"builtins.list, .*np.asarray\(image, np.uint8\)"),
    "a number": (7, TypeError, "builtins.int, expected a uint8 array"),
    "another sequence": (UserList([1]), TypeError, "collections.UserList, expected"),
    "torch, floats": (
        torch.from_numpy(UNIT).permute(2, 0, 1),
        TypeError,
        r"torch.Tensor of torch.float64 \(3, 512, 512\), .*\(255 \* image\).round\(\).byte\(\).permute\(1, 2, 0\)",
    ),
    "torch, bytes": (torch.from_numpy(RGB), TypeError, r"torch.uint8 \(512, 512, 3\), .*with image.cpu\(\)"),
    "16 bits": (RGB.astype(np.uint16) * 257, TypeError, r"uint16 \(512, 512, 3\), .*image // 256"),
    "floats in 0..1": (UNIT.astype(np.float32), TypeError, r"float32 .*\(255 \* image\).round\(\).astype\(np.uint8\)"),
    "half floats": (UNIT.astype(np.float16), TypeError, r"float16 .*\(255 \* image\)"),
    "floats in 0..255": (RGB.astype(float), TypeError, r"float64 .*image.round\(\).clip\(0, 255\)"),
    "NaN": (np.full((9, 9, 3), np.nan), TypeError, "float64 "),
    "floats in -1..1": (UNIT * 2 - 1, TypeError, r"float64 .*image.round\(\).clip"),
    "int64": (RGB.astype(np.int64), TypeError, r"int64 .*image.clip\(0, 255\).astype\(np.uint8\)"),
    "int8": (np.zeros((9, 9, 3), np.int8), TypeError, "int8 "),
    "truth values": (GREY > 99, TypeError, r"bool \(512, 512\), .*image.astype\(np.uint8\) \* 255"),
    "complex": (np.zeros((9, 9), complex), TypeError, "complex128"),
    "objects": (np.array([[None] * 9] * 9), TypeError, "object"),
    "text": (np.array([["a"] * 9] * 9), TypeError, "<U1"),
    "channels first": (np.moveaxis(RGB, 2, 0), ValueError, r"uint8 \(3, 512, 512\), .*np.moveaxis\(image, 0, -1\)"),
    "one channel first": (GREY[None], ValueError, r"\(1, 512, 512\), .*np.moveaxis"),
    "channels first, floats": (np.moveaxis(UNIT, 2, 0), ValueError, r"\(3, 512, 512\), .*channels come last"),
    "a batch": (RGB[None], ValueError, r"\(1, 512, 512, 3\), .*one by one"),
    "two channels": (RGB[..., :2], ValueError, r"uint8 \(512, 512, 2\), expected"),
    "many channels": (np.zeros((9, 9, 31), np.uint8), ValueError, r"\(9, 9, 31\)"),
    "a row": (RGB[0, :, 0], ValueError, r"uint8 \(512,\), expected"),
    "one number": (np.uint8(3) * np.ones((), np.uint8), (TypeError, ValueError), "expected a uint8 array"),
    "no rows": (RGB[:0], ValueError, r"\(0, 512, 3\), .*no pixels"),
    "no columns": (GREY[:, :0], ValueError, r"\(512, 0\), .*no pixels"),
    "no channels": (RGB[..., :0], ValueError, "no pixels"),
}
IMAGES = {  # what passes
    "RGB": RGB,
    "grey": GREY,
    "grey, three-dimensional": GREY[..., None],
    "RGBA": np.dstack([RGB, np.full_like(GREY, 200)]),
    "a view": np.ascontiguousarray(RGB[:, ::-1])[:, ::-1],
    "rows in Fortran's order": np.asfortranarray(RGB),
    "read-only": np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape),
    "a subclass": RGB.view(np.ma.MaskedArray),
}


@pytest.fixture(scope="module")
def landmarker(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    path.write_bytes(network_bytes(calibrated=False))
    return FaceLandmarker(path, detector=Everything(), threads=1)


@pytest.fixture(scope="module")
def doors(landmarker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")

    def track(image):
        with FaceTracker(landmarker) as tracker:
            return tracker(image, 0.0)

    return {
        "landmarker": landmarker,
        "at": lambda image: landmarker.at(image, [BOX]),
        "at, without boxes": lambda image: landmarker.at(image, []),
        "tracker": track,
        "draw_faces": lambda image: draw_faces(image, []),
        "write_image": lambda image: write_image(folder / "a.png", image),
    }


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_refused_at_every_door(doors, kind):
    image, error, message = NO_IMAGES[kind]
    for door in doors.values():
        with pytest.raises(error, match=message.replace("image: ", "")) as caught:
            door(image)
        told = str(caught.value)
        assert "\n" not in told and "expected a uint8 array (H, W, 3) in RGB" in told


@pytest.mark.parametrize("kind", IMAGES)
def test_every_form_of_image_gives_the_same(doors, kind):
    image, wanted = IMAGES[kind], RGB if "grey" not in kind else cv2.cvtColor(GREY, cv2.COLOR_GRAY2RGB)
    before = np.array(image)
    assert check_image(image) is image and np.array_equal(as_rgb(image), wanted)
    for name in ("landmarker", "at", "tracker"):
        (found,), (right,) = doors[name](image), doors[name](wanted)
        assert np.array_equal(found.points, right.points) and found.score == right.score
    drawn = doors["draw_faces"](image)
    assert np.array_equal(drawn, wanted) and drawn.flags.writeable and not np.shares_memory(drawn, image)
    assert np.array_equal(np.array(image), before)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_every_form_of_image_can_be_written(tmp_path, kind, suffix):
    image = IMAGES[kind]
    write_image(tmp_path / f"a{suffix}", image)
    off = np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - as_rgb(image)).mean()
    assert off == 0 if suffix in (".png", ".bmp") else off < 5


def test_opacity_is_written_where_the_format_has_it(tmp_path):
    write_image(tmp_path / "a.png", IMAGES["RGBA"])
    with Image.open(tmp_path / "a.png") as written:
        assert np.array_equal(np.asarray(written), IMAGES["RGBA"])


@pytest.mark.parametrize("name, width", [("a.xyz", 20), ("a", 20), ("a.jpg", 70_000)])
def test_what_cannot_be_written_is_one_clear_line(tmp_path, name, width):
    with pytest.raises(CourseError, match=f"cannot write {width} x 10 px in this format, expected .png or .jpg"):
        write_image(tmp_path / name, np.zeros((10, width, 3), np.uint8))


# --- boxes ---

NAN, INF = float("nan"), float("inf")
NO_BOXES = {
    "NaN": (Box(NAN, 0, 9, 9), ValueError, "finite"),
    "a NaN side": (Box(0, 0, NAN, 9), ValueError, "finite"),
    "infinite": (Box(0, 0, INF, INF), ValueError, "finite"),
    "infinitely far": (Box(-INF, 0, 9, 9), ValueError, "finite"),
    "no width": (Box(9, 9, 0, 9), ValueError, "width and height from 1"),
    "no size": (Box(9, 9, 0, 0), ValueError, "width and height from 1"),
    "less than a pixel": (Box(9, 9, 0.5, 9), ValueError, "width and height from 1"),
    "negative": (Box(9, 9, -9, -9), ValueError, "width and height from 1"),
    "a billion px": (Box.around((222, 118), 1e9), ValueError, "up to 1,000,000"),
    "a billion px away": (Box.around((1e9, 118), 90), ValueError, "up to 1,000,000"),
    "1e300": (Box(1e300, 1e300, 1e300, 1e300), ValueError, "up to 1,000,000"),
    "None": (None, TypeError, "box 1: None, expected a flcourse.points.Box: left, top, width, height"),
    "three numbers": ((1, 2, 3), TypeError, r"box 1: \(1, 2, 3\), expected"),
    "text": ("face", TypeError, "box 1: 'face', expected"),
    "a number": (9, TypeError, "box 1: 9, expected"),
}


@pytest.mark.parametrize("kind", NO_BOXES)
@pytest.mark.parametrize("tta", [1, 4])
def test_what_is_no_box_is_refused(landmarker, kind, tta):
    box, error, message = NO_BOXES[kind]
    with pytest.raises(error, match=message) as caught:
        landmarker.at(RGB, [BOX, box], tta=tta)
    assert str(caught.value).startswith("box 1: ") and "\n" not in str(caught.value)


def test_four_numbers_are_a_box(landmarker):
    (wanted,) = landmarker.at(RGB, [BOX])
    for boxes in ([tuple(BOX)], [list(BOX)], np.array([BOX]), [np.array(BOX, np.float64)], (box for box in [BOX])):
        (found,) = landmarker.at(RGB, boxes)
        assert found.box == BOX and np.array_equal(found.points, wanted.points)
    with pytest.raises(ValueError, match="2 scores, expected 1, one for each box"):
        landmarker.at(RGB, [BOX], [0.5, 0.5])


@pytest.mark.parametrize("side", [1, 3e4, 1e6])
@pytest.mark.parametrize("shape", [(1, 1), (480, 640), (3, 3000)])
def test_the_largest_and_smallest_boxes_cost_nothing(landmarker, side, shape):
    (face,) = landmarker.at(np.full((*shape, 3), 255, np.uint8), [Box.around((0, 0), side)])
    assert np.isfinite(face.points).all()


def test_a_detectors_unsound_boxes_are_no_faces(landmarker):
    class Odd(Everything):
        def __call__(self, image):
            (good,) = super().__call__(image)
            return [
                good._replace(box=box) for box in (Box(NAN, 0, 9, 9), good.box, Box(0, 0, 1e9, 1e9), Box(0, 0, 0, 0))
            ]

    odd = FaceLandmarker(landmarker.network, detector=Odd(), tta=1)
    assert len(odd(np.full_like(RGB, 255))) == 1
    with FaceTracker(odd) as tracker:
        assert len(tracker(np.full_like(RGB, 255), 0.0)) == 1


@pytest.mark.parametrize("time", [NAN, INF, -INF])
def test_a_frame_has_a_time(landmarker, time):
    with FaceTracker(landmarker) as tracker, pytest.raises(ValueError, match="expected a finite time"):
        tracker(RGB, time)


# --- images that are too large for one of OpenCV's functions ---


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("side", [40, 90, 300])
def test_images_wider_than_opencvs_warp_allows(turned, side):
    """The crop is the same as of the image's part about the face."""
    place, size = 39_000, 112
    wide = np.zeros((200, 40_000, 3), np.uint8)
    wide[:, place : place + 400] = RGB[20:220, 100:500]
    part, box = wide[:, place - 300 : place + 700], Box.around((place + 122, 98), side)
    matrices = crop_matrix(box, size), crop_matrix(Box.around((300 + 122, 98), side), size)
    if turned:
        wide, part = wide.transpose(1, 0, 2), part.transpose(1, 0, 2)
        matrices = [matrix[:, [1, 0, 2]] for matrix in matrices]
    crop, wanted = warp(wide, matrices[0], size), warp(part, matrices[1], size)
    assert crop.std() > 20 and np.abs(crop.astype(int) - wanted).mean() < 0.5


def test_a_face_in_a_very_wide_image_is_found_where_it_is():
    wide = np.zeros((300, 40_000, 3), np.uint8)
    wide[:, 39_000:39_400] = RGB[:300, 50:450]
    landmarker = FaceLandmarker(detector=None, threads=1)
    ((face,), (wanted,)) = (
        landmarker.at(image, [Box.around((left + 172, 118), 90)])
        for image, left in ((wide, 39_000), (RGB[:300, 50:450], 0))
    )
    assert isinstance(face, FaceLandmarks)
    assert np.abs(face.points - wanted.points - (39_000, 0)).max() < 0.5
