"""Reading, writing and warping pictures."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data, transform

from flcourse.errors import CourseError
from flcourse.pictures import decode_picture, read_picture, to_input, warp, write_picture
from flcourse.points import Box, crop_matrix, invert


@pytest.mark.parametrize("name", ["plain.png", "Grüße 顔 #1.png"])
def test_png_round_trip_also_under_odd_names(tmp_path, name):
    picture = data.astronaut()[:50, :70]
    write_picture(tmp_path / "a b" / name, picture)
    assert (read_picture(tmp_path / "a b" / name) == picture).all()
    assert [p.name for p in (tmp_path / "a b").iterdir()] == [name]  # no temporary file is left


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    upright = data.astronaut()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    assert np.abs(read_picture(tmp_path / "phone.jpg").astype(int) - upright).mean() < 5


def test_grey_transparent_and_palette_pictures_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P", "I;16"):
        Image.fromarray(data.astronaut()[:20, :30]).convert("L" if mode == "I;16" else mode).save(tmp_path / "p.png")
        assert read_picture(tmp_path / "p.png").shape == (20, 30, 3)


def test_bad_pictures_are_named(tmp_path):
    with pytest.raises(CourseError, match=r"gone\.jpg: No such file"):
        read_picture(tmp_path / "gone.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(CourseError, match=r"text\.jpg: not a picture"):
        read_picture(tmp_path / "text.jpg")
    with pytest.raises(CourseError, match="empty"):
        decode_picture(b"", "upload")


def test_warp_is_scikit_images_where_nothing_shrinks():
    picture = data.astronaut()
    matrix = crop_matrix(Box.around((220, 110), 90), 112, rotation=25)
    ours = warp(picture, matrix, 112)
    theirs = transform.warp(
        picture, np.vstack([invert(matrix), (0, 0, 1)]), output_shape=(112, 112), order=1, mode="edge"
    )
    assert np.abs(ours - 255 * theirs)[2:-2, 2:-2].max() < 6  # OpenCV interpolates in 1/32 of a pixel


@pytest.mark.parametrize("side", [290, 420, 1000])
@pytest.mark.parametrize("centre", [(256, 256), (70.3, 430.7), (505, 20)])
def test_shrinking_warp_neither_shifts_nor_aliases(side, centre):
    """Against scikit-image on a picture blurred beforehand, as anti-aliasing asks for."""
    picture = data.astronaut()
    size, k = 100, int(side * 1.3 / 100)
    matrix = crop_matrix(Box.around(centre, side), size, rotation=-15)
    blurred = (
        cv2.blur(picture, (k, k), borderType=cv2.BORDER_REPLICATE)
        if k % 2
        else cv2.GaussianBlur(picture, (0, 0), k / 3.4)
    )
    inverse = np.vstack([invert(matrix), (0, 0, 1)])
    theirs = 255 * transform.warp(blurred, inverse, output_shape=(size, size), order=1, mode="edge")
    inside = transform.warp(np.ones(picture.shape[:2]), inverse, output_shape=(size, size), order=0, cval=0) == 1
    inside = (
        cv2.erode(inside.astype(np.uint8), np.ones((5, 5)), borderValue=0) == 1
    )  # beyond, blocks repeat, not pixels
    ours = warp(picture, matrix, size).astype(float)
    unmoved = np.abs(ours - theirs)[inside].mean()
    assert unmoved < 10
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):  # moving by one pixel either way only makes it worse
        assert np.abs(np.roll(ours, shift, (0, 1)) - theirs)[inside].mean() > 1.2 * unmoved


def test_input_is_grey_between_minus_one_and_one():
    white, black = to_input(np.full((4, 4, 3), 255, np.uint8)), to_input(np.zeros((4, 4, 3), np.uint8))
    assert white.shape == (1, 4, 4) and white.dtype == np.float32
    assert (white == 1).all() and (black == -1).all()
    red = to_input(np.full((1, 1, 3), (255, 0, 0), np.uint8))
    assert red.item() == pytest.approx(2 * 0.299 - 1, abs=0.01)
