"""Reading, writing and warping images."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data, transform

from flcourse.data.digits import centre_digit
from flcourse.errors import CourseError
from flcourse.images import IMAGE_SUFFIXES, decode_image, read_image, to_input, warp, write_image
from flcourse.points import Box, crop_matrix, invert


@pytest.mark.parametrize("name", ["plain.png", "Grüße 顔 #1.png"])
def test_png_round_trip_also_under_odd_names(tmp_path, name):
    image = data.astronaut()[:50, :70]
    write_image(tmp_path / "a b" / name, image)
    assert (read_image(tmp_path / "a b" / name) == image).all()
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
    assert np.abs(read_image(tmp_path / "phone.jpg").astype(int) - upright).mean() < 5


def test_grey_transparent_and_palette_images_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P", "I;16"):
        Image.fromarray(data.astronaut()[:20, :30]).convert("L" if mode == "I;16" else mode).save(tmp_path / "p.png")
        assert read_image(tmp_path / "p.png").shape == (20, 30, 3)


def test_bad_images_are_named(tmp_path):
    with pytest.raises(CourseError, match=r"gone\.jpg: No such file"):
        read_image(tmp_path / "gone.jpg")
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(CourseError, match=r"text\.jpg: not an image"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(CourseError, match="empty"):
        decode_image(b"", "upload")


def test_warp_is_scikit_images_where_nothing_shrinks():
    image = data.astronaut()
    matrix = crop_matrix(Box.around((220, 110), 90), 112, rotation=25)
    ours = warp(image, matrix, 112)
    theirs = transform.warp(
        image, np.vstack([invert(matrix), (0, 0, 1)]), output_shape=(112, 112), order=1, mode="edge"
    )
    assert np.abs(ours - 255 * theirs)[2:-2, 2:-2].max() < 6  # OpenCV interpolates in 1/32 of a pixel


@pytest.mark.parametrize("side", [290, 420, 1000])
@pytest.mark.parametrize("centre", [(256, 256), (70.3, 430.7), (505, 20)])
def test_shrinking_warp_neither_shifts_nor_aliases(side, centre):
    """Against scikit-image on an image blurred beforehand, as anti-aliasing asks for."""
    image = data.astronaut()
    size, k = 100, int(side * 1.3 / 100)
    matrix = crop_matrix(Box.around(centre, side), size, rotation=-15)
    blurred = (
        cv2.blur(image, (k, k), borderType=cv2.BORDER_REPLICATE) if k % 2 else cv2.GaussianBlur(image, (0, 0), k / 3.4)
    )
    inverse = np.vstack([invert(matrix), (0, 0, 1)])
    theirs = 255 * transform.warp(blurred, inverse, output_shape=(size, size), order=1, mode="edge")
    inside = transform.warp(np.ones(image.shape[:2]), inverse, output_shape=(size, size), order=0, cval=0) == 1
    inside = (
        cv2.erode(inside.astype(np.uint8), np.ones((5, 5)), borderValue=0) == 1
    )  # beyond, blocks repeat, not pixels
    ours = warp(image, matrix, size).astype(float)
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


# --- centre_digit ---


def drawn(points, size=280, brush=22, scale=1.0, shift=(0, 0)):
    """A stroke through these points, light on dark, as a drawing pad gives it."""
    image = np.zeros((size, size), np.uint8)
    points = np.round((np.array(points) * scale + shift) * 16).astype(np.int32)
    cv2.polylines(image, [points], False, 255, round(brush * scale), cv2.LINE_AA, 4)
    return image


def extent(image):
    """First and last row, first and last column that are not empty."""
    return [int(i) for axis in (1, 0) for i in np.nonzero(image.max(axis=axis))[0][[0, -1]]]


def centre_of_mass(image):
    weights = image.astype(float) / image.sum(dtype=float)
    return np.array([(np.arange(28) * weights.sum(axis=axis)).sum() for axis in (0, 1)])  # x, y


def apart(a, b):
    """How far two digits differ: the part of their ink that is not common, where b may be moved by one pixel."""
    a, b = a.astype(float), b.astype(float)
    moved = [np.roll(b, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return min(np.abs(a - b).sum() / (a.sum() + b.sum()) for b in moved)


# Strokes of two to eight corners that are more than a dot, in the middle of the pad.
strokes = st.lists(st.tuples(*[st.integers(40, 200)] * 2), min_size=2, max_size=8).filter(
    lambda points: np.ptp(points, axis=0).max() >= 60
)


@given(strokes)
def test_digit_just_fits_and_its_mass_is_in_the_middle(points):
    digit = centre_digit(drawn(points))
    assert digit.shape == (28, 28) and digit.dtype == np.uint8
    top, bottom, left, right = extent(digit)
    assert max(bottom - top, right - left) + 1 == 20
    # The digit stays inside the image, so that very uneven mass comes as near to the middle as the rim allows.
    for low, high, mass in ((left, right, centre_of_mass(digit)[0]), (top, bottom, centre_of_mass(digit)[1])):
        assert abs(mass - 13.5) <= 0.55 or low <= 1 or high >= 26


@given(strokes, st.integers(-28, 60), st.integers(-28, 60))  # farther, and the pad cuts the stroke's soft rim off
def test_where_a_digit_was_drawn_does_not_matter(points, dx, dy):
    assert (centre_digit(drawn(points, shift=(dx, dy))) == centre_digit(drawn(points))).all()


@given(strokes, st.sampled_from([0.5, 1.5, 3.0]))
def test_how_large_a_digit_was_drawn_hardly_matters(points, scale):
    one, other = centre_digit(drawn(points)), centre_digit(drawn(points, size=900, scale=scale))
    assert apart(one, other) < 0.25  # a stroke is three pixels wide: one that rounds to four differs by a seventh


@given(strokes)
def test_a_digit_in_mnists_form_stays_as_it_is(points):
    once = centre_digit(drawn(points))
    assert apart(once, centre_digit(once)) < 0.01


def test_empty_digits_stay_empty():
    assert centre_digit(np.zeros((280, 280), np.uint8)).tolist() == np.zeros((28, 28)).tolist()


def test_dots_become_something_in_the_middle():
    dot = np.zeros((280, 280), np.uint8)
    dot[5, 270] = 255
    digit = centre_digit(dot)
    assert (digit == 255).sum() == 20 * 20 and extent(digit) == [4, 23, 4, 23]


def test_floats_and_greys_are_kept():
    image = drawn([(60, 60), (200, 200)])
    assert (centre_digit(image.astype(float)) == centre_digit(image)).all()
    half = centre_digit(image * 0.5)
    assert np.abs(half - centre_digit(image) * 0.5).max() <= 1


def test_real_digits_keep_their_shape():
    """scikit-learn's digits, 8 x 8, are enlarged: no darker, no lighter, nothing below black or above white."""
    from sklearn.datasets import load_digits

    for image in load_digits().images[:50]:
        image = image * (255 / 16)
        digit = centre_digit(image)
        rows, columns = (np.nonzero(image.max(axis=axis))[0] for axis in (1, 0))
        inked = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert digit.sum() / (20 / max(inked.shape)) ** 2 == pytest.approx(inked.sum(), rel=0.12)


# --- what strangers send ---


def png_that_says(width: int, height: int) -> bytes:
    """A small PNG whose header declares another size."""
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def empty_image(kind: str, side: int, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, kind, **options)
    return file.getvalue()


def jpeg_that_says(width: int, height: int) -> bytes:
    data = bytearray(empty_image("JPEG", 8))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


HUGE = {
    "PNG": png_that_says(30_000, 30_000),
    "PNG, narrow": png_that_says(100_000_000, 1),
    "PNG, the largest": png_that_says(2**31 - 1, 2**31 - 1),
    "JPEG": jpeg_that_says(65_500, 65_500),
    "TIFF": empty_image("TIFF", 9_000, compression="tiff_lzw"),
    "BMP": b"BM" + struct.pack("<IIIIiiHH", 100, 0, 54, 40, 40_000, -40_000, 1, 24) + bytes(70),
    "GIF": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(3) + b",\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;",
    "PPM": b"P6 50000 50000 255\n" + bytes(100),
}


@pytest.mark.parametrize("kind", HUGE)
def test_an_image_that_would_fill_the_memory_is_not_decoded(kind, monkeypatch):
    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append(1))
    with pytest.raises(CourseError, match=r"upload: \d+ x \d+ px, [\d,]+ megapixels, expected at most 64; make"):
        decode_image(HUGE[kind], "upload")
    assert not decoded


@pytest.mark.parametrize("length", [2**32 - 1, 2**31 - 1, 2**30, 5_000])
@pytest.mark.parametrize("chunk", [b"IDAT", b"IEND", b"IHDR"])
def test_a_png_chunk_longer_than_its_file_takes_no_memory(monkeypatch, chunk, length):
    """OpenCV took 4.2 GB for one of 447 bytes."""
    data = bytearray(empty_image("PNG", 40))
    at = data.index(chunk) - 4
    data[at : at + 4] = struct.pack(">I", length)
    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append(1))
    with pytest.raises(CourseError, match=r"upload: not an image that can be read, it.* is damaged or cut off"):
        decode_image(bytes(data), "upload")
    assert not decoded


def test_pngs_are_read_with_many_chunks_or_without_an_end():
    data = empty_image("PNG", 40)
    chunk = struct.pack(">I", 2) + b"tEXt" + b"a\0" + struct.pack(">I", zlib.crc32(b"tEXta\0"))
    at = data.index(b"IDAT") - 4
    assert decode_image(data[:at] + chunk * 300 + data[at:], "upload").shape == (40, 40, 3)
    end = data.index(b"IEND") - 4
    with pytest.raises(CourseError, match="damaged or cut off"):
        decode_image(data[: end + 8], "upload")


def test_the_limit_can_be_set(monkeypatch):
    image = empty_image("PNG", 200)
    with pytest.raises(CourseError, match=r"200 x 200 px, 0 megapixels, expected at most 0.03"):
        decode_image(image, "upload", megapixels=0.03)
    monkeypatch.setenv("FLCOURSE_MEGAPIXELS", "0.03")
    with pytest.raises(CourseError, match=r"or set FLCOURSE_MEGAPIXELS"):
        decode_image(image, "upload")
    assert decode_image(memoryview(image), "upload", megapixels=1).shape == (200, 200, 3)
    monkeypatch.setenv("FLCOURSE_MEGAPIXELS", "0.04")
    assert decode_image(image, "upload").shape == (200, 200, 3)


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "0", "-64", "64 MP"])
def test_a_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv("FLCOURSE_MEGAPIXELS", text)
    with pytest.raises(CourseError, match=f"FLCOURSE_MEGAPIXELS={text}: expected a positive number"):
        decode_image(empty_image("PNG", 8), "upload")


def test_a_jpeg_of_a_thousand_scans_is_refused():
    """Each scan takes a few bytes of the file, and goes over all pixels."""
    data = empty_image("JPEG", 64, progressive=True)
    assert decode_image(data, "upload").shape == (64, 64, 3)
    start = data.rindex(b"\xff\xda")
    with pytest.raises(CourseError, match=r"64 x 64 px in [\d,]+ scans, expected about 10"):
        decode_image(data[:-2] + data[start:-2] * 1000 + data[-2:], "upload")


HEADLESS = [b"x", b"\xff\xd8\xff", b"BM", b"GIF89a", b"RIFF1234WEBP", b"II*\0", b"P6 ", png_that_says(0, 9)]


@pytest.mark.parametrize("data", HEADLESS)
def test_headers_that_are_none(data):
    with pytest.raises(CourseError, match=r"upload: not an image that can be read|expected an image with pixels"):
        decode_image(data, "upload")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_suffix_in_the_list_is_read(tmp_path, suffix):
    kind = {".jpe": "JPEG", ".jfif": "JPEG", ".pgm": "PPM", ".pbm": "PPM"}.get(suffix)
    Image.fromarray(data.astronaut()[:40, :50]).save(tmp_path / f"x{suffix}", kind)
    assert np.abs(read_image(tmp_path / f"x{suffix}").astype(int) - data.astronaut()[:40, :50]).mean() < 20


def test_a_file_without_end_is_not_read(tmp_path):
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(10**10)
    with pytest.raises(CourseError, match=r"x\.png: 10,000 MB, expected an image of at most 600 MB"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("shape", [(40, 40_000), (40_000, 40)])
def test_panoramas_wider_than_opencv_warps(shape):
    image = np.zeros((*shape, 3), np.uint8)
    at = shape[1] - 21, shape[0] - 21
    image[at[1], at[0]] = 255
    crop = warp(image, crop_matrix(Box.around(at, 24), 32), 32)
    assert crop.max() > 100 and crop[:, :, 0].sum() == crop.sum() / 3
