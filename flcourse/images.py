"""Images in and out of files, the one warp that cuts a crop, OpenCV's fixed point: for training and for use alike.

An image is `(H, W, 3)` uint8, **RGB**; OpenCV's BGR lives only inside the functions that call it.
"""

import math
import os
import re
from io import BytesIO
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from flcourse.errors import CourseError
from flcourse.files import atomic_write, read_bytes
from flcourse.points import apply, compose, invert

FIXED = 4  # OpenCV draws at 1 / 2**FIXED of a pixel: the `shift` of its drawing functions
FIXED_LIMIT = 30_000  # px; its fixed-point coordinates overflow far outside an image

# What is read: format -> its first bytes, Pillow's reader of its header, and its files' suffixes. OpenCV decodes them.
_FORMATS = {
    "JPEG": (rb"\xff\xd8\xff", JpegImagePlugin.JpegImageFile, (".jpg", ".jpeg", ".jpe", ".jfif")),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile, (".png",)),
    "WebP": (rb"RIFF....WEBP", WebPImagePlugin.WebPImageFile, (".webp",)),
    "BMP": (rb"BM", BmpImagePlugin.BmpImageFile, (".bmp",)),
    "TIFF": (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", TiffImagePlugin.TiffImageFile, (".tif", ".tiff")),
    "AVIF": (rb"....ftyp(avif|avis|mif1|msf1)", AvifImagePlugin.AvifImageFile, (".avif",)),
    "GIF": (rb"GIF8[79]a", GifImagePlugin.GifImageFile, (".gif",)),
    "PPM": (rb"P[1-6]\s", PpmImagePlugin.PpmImageFile, (".ppm", ".pgm", ".pbm")),
}
IMAGE_SUFFIXES = tuple(suffix for *_, suffixes in _FORMATS.values() for suffix in suffixes)
_EXPECTED = ", ".join(_FORMATS)

# Of an image, in megapixels. Phones take up to 50, and decoding 64 takes up to 0.5 GB and some seconds; but a file of a
# kilobyte may declare a thousand, so the header is looked at first.
MEGAPIXELS = 64.0
_MOST_BYTES = 600_000_000  # of an image file: 64 megapixels with four channels of 16 bits, not compressed
_MOST_CHUNKS = 1_000_000  # of a PNG; they have a few kilobytes each
_MOST_SCANS = 16, 100  # of the largest JPEG, of any: progressive ones have about ten, and a few bytes make another


def decode_image(data: bytes | memoryview, name: str, megapixels: float | None = None) -> np.ndarray:
    """Decode an image of one of `_FORMATS` to `(H, W, 3)` uint8 RGB, upright by its EXIF orientation.

    `name` is what errors call the image. Raises `CourseError`, before anything is decoded, where `data` is no image or
    declares more than `megapixels` million pixels (default: `FLCOURSE_MEGAPIXELS`, or 64).
    """
    if not data:
        raise CourseError(f"{name}: the file is empty, expected an image (JPEG, PNG, WebP, ...)")
    data = bytes(data)  # the notebook's camera hands over memory, which is no bytes yet
    width, height = _size(data, name)
    most = most_megapixels(megapixels)
    if width * height > most * 1e6:
        size = f"{width} x {height} px, {width * height / 1e6:,.0f} megapixels"
        raise CourseError(f"{name}: {size}, expected at most {most:g}; make it smaller, or set FLCOURSE_MEGAPIXELS")
    scans = data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 1
    if scans > _MOST_SCANS[1] or scans * width * height > _MOST_SCANS[0] * most * 1e6:
        raise CourseError(f"{name}: {width} x {height} px in {scans:,} scans, expected about 10; save it again")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more pixels than OpenCV's own limit
        bgr = None
    if bgr is None:
        raise CourseError(f"{name}: not an image that can be read, expected {_EXPECTED}")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def image_format(data: bytes) -> str | None:
    """What an image's first bytes say it is, such as "JPEG"; None for what cannot be read."""
    return next((kind for kind, (magic, *_) in _FORMATS.items() if re.match(magic, data[:16], re.DOTALL)), None)


def _size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height that an image's header declares. Raises `CourseError` where there is no such header."""
    kind = image_format(data)
    if kind is None:
        raise CourseError(f"{name}: not an image that can be read, expected {_EXPECTED}")
    reader = _FORMATS[kind][1]
    try:
        # The plain reader, not `Image.open`, whose own limit would speak of "decompression bombs", and at another size.
        with reader(BytesIO(data)) as header:
            width, height = header.size
    except Exception as error:  # Pillow's readers raise whatever a damaged header makes them stumble over
        raise CourseError(f"{name}: not an image that can be read, its header is damaged or cut off") from error
    if width < 1 or height < 1:
        raise CourseError(f"{name}: {width} x {height} px, expected an image with pixels")
    if kind == "PNG" and not _whole_png(data):
        raise CourseError(f"{name}: not an image that can be read, it is damaged or cut off")
    return width, height


def _whole_png(data: bytes) -> bool:
    """Whether no chunk of a PNG says that it is longer than the file.

    OpenCV takes as much memory as a chunk says before it reads it: up to 4 GB for a file of half a kilobyte.
    """
    at = 8
    for _ in range(_MOST_CHUNKS):
        if at == len(data):
            return True  # without an end, which readers forgive
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data):
            return False
        if kind == b"IEND":
            return True
    return False


def most_megapixels(given: float | None = None) -> float:
    """How many million pixels an image may have: as given, or `FLCOURSE_MEGAPIXELS`, or 64. Raises `CourseError`."""
    text = os.environ.get("FLCOURSE_MEGAPIXELS") or str(MEGAPIXELS) if given is None else str(given)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        what = "FLCOURSE_MEGAPIXELS" if given is None else "megapixels"
        raise CourseError(f"{what}={text}: expected a positive number, the largest image to be read in megapixels")
    return value


def read_image(path: str | os.PathLike[str], megapixels: float | None = None) -> np.ndarray:
    """Read an image file to `(H, W, 3)` uint8 RGB, upright. Raises `CourseError` naming the file; see `decode_image`.

    The bytes are read by Python, because OpenCV's own reader fails on non-ASCII paths on Windows.
    """
    return decode_image(read_bytes(path, "an image", _MOST_BYTES), str(path), megapixels)


def encode_image(image: np.ndarray, suffix: str = ".png", name: str = "image") -> bytes:
    """An image, see `check_image`, as the bytes of a file; the suffix chooses the format.

    `name` is what errors call it. Raises `CourseError` where the format cannot be written, or not at this size.
    """
    image = check_image(image)
    to_bgr = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    bgr = cv2.cvtColor(image, to_bgr[image.shape[2]]) if image.ndim == 3 and image.shape[2] > 1 else image
    try:
        done, data = cv2.imencode(suffix, bgr)
    except cv2.error:  # a suffix it does not know; an image too large for the format
        done, data = False, np.empty(0)
    if not done:
        height, width = image.shape[:2]
        raise CourseError(f"{name}: OpenCV cannot write {width} x {height} px in this format, expected .png or .jpg")
    return data.tobytes()


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image, see `check_image`; the suffix chooses the format; the write is atomic.

    Grey images are written as such; opacity is kept where the format has it (PNG, WebP, TIFF). Raises `CourseError`
    where the format cannot be written, or not at this size.
    """
    path = Path(path)
    atomic_write(path, encode_image(image, path.suffix, str(path)), durable=False)


EXPECTED = "expected a uint8 array (H, W, 3) in RGB, (H, W) or (H, W, 1) in grey, or (H, W, 4) in RGBA"
_IN_BYTES = {  # what makes bytes of other numbers
    "b": "image.astype(np.uint8) * 255",
    "1": "(255 * image).round().astype(np.uint8)",  # floats in 0..1
    "f": "image.round().clip(0, 255).astype(np.uint8)",
    "i": "image.clip(0, 255).astype(np.uint8)",
    "u": "(image // 256).astype(np.uint8) for 16 bits a channel",
}


def check_image(image: object, name: str = "image") -> np.ndarray:
    """The image itself: a uint8 array (H, W, 3) in RGB, (H, W) or (H, W, 1) in grey, or (H, W, 4) in RGBA.

    The one check at the door, as other arrays give wrong points without a word. Raises `TypeError` for another kind of
    object or of numbers, `ValueError` for another shape; both say what came as `name`, and how to convert it.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{name}: {_not_an_array(image)}")
    image = cast(np.ndarray, image)  # of any shape and kind
    came = f"{name}: {image.dtype} {image.shape}, {EXPECTED}"
    if image.dtype.kind not in "biuf":
        raise TypeError(f"{came}; make an array of numbers of it")
    if image.ndim == 4:
        raise ValueError(f"{came}; give the images of a batch one by one")
    if not image.size:
        raise ValueError(f"{came}; it holds no pixels")
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4) and image.shape[0] in (1, 3, 4):
        raise ValueError(f"{came}; channels come last: np.moveaxis(image, 0, -1)")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(came)
    if image.dtype != np.uint8:
        unit = image.dtype.kind == "f" and 0 <= image.min() and image.max() <= 1
        raise TypeError(f"{came}; convert it with {_IN_BYTES['1' if unit else image.dtype.kind]}")
    return image


def _not_an_array(image: object) -> str:
    """What came instead of an array, what is expected, and how to convert it."""
    kind = type(image)
    what, how = f"{kind.__module__}.{kind.__qualname__}", "convert it with np.asarray(...)"
    if image is None:
        what, how = "None", "cv2.imread gives None where it cannot read: flcourse.read_image(path) says why"
    elif isinstance(image, str | os.PathLike):
        what, how = f"{image!r}, a path", "read it with flcourse.read_image(path)"
    elif isinstance(image, bytes | bytearray | memoryview):
        what, how = f"encoded {kind.__name__}", "decode them with flcourse.images.decode_image(data, name)"
    elif what.startswith("PIL."):
        how = 'convert it with np.asarray(image.convert("RGB"))'
    elif what == "torch.Tensor":
        shape, dtype = tuple(getattr(image, "shape", ())), str(getattr(image, "dtype", ""))
        what += f" of {dtype} {shape}"
        in_bytes = "(255 * image).round().byte()" if "float" in dtype else "image"
        last = "" if len(shape) != 3 or shape[2] in (1, 3, 4) else ".permute(1, 2, 0)"
        how = f"convert it with {in_bytes}{last}.cpu().numpy()" + (", if it is in 0..1" if "float" in dtype else "")
    elif isinstance(image, list | tuple):
        how = "convert it with np.asarray(image, np.uint8)"
    return f"{what}, {EXPECTED}; {how}"


def as_rgb(image: object, name: str = "image") -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB: itself, or from grey, or without its opacity; checked by `check_image`."""
    checked = check_image(image, name)
    if checked.ndim == 3 and checked.shape[2] == 3:
        return checked
    return cv2.cvtColor(checked, cv2.COLOR_RGBA2RGB if checked.shape[2:] == (4,) else cv2.COLOR_GRAY2RGB)


_WARP_SIDE = 32_766  # px: OpenCV's warpAffine refuses images with a longer side


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Resample `image` by a (2, 3) matrix from image to output pixels into a `size` x `size` uint8 image.

    One `cv2.warpAffine`, bilinear, the image's edge pixels repeated outside (black corners hurt training). Bilinear
    sampling looks at 2 x 2 pixels only and would alias where the output is coarser than half the image; there the
    needed region is first averaged over k x k blocks, a step whose exact map is multiplied into the same matrix.
    """
    step = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # image pixels for each output pixel
    if step >= 2 or max(image.shape[:2]) > _WARP_SIDE:
        corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
        needed = apply(corners, invert(matrix))
        k = min(max(1, int(step)), max(image.shape[:2]))  # a block larger than the image is the image
        # A margin, so that bilinear sampling at the rim still finds true neighbours.
        image, to_image = shrink_region(image, needed.min(axis=0) - 2 * k, needed.max(axis=0) + 2 * k, k)
        matrix = compose(matrix, to_image)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def shrink(image: np.ndarray, longest: int) -> tuple[np.ndarray, float, float]:
    """An image with its longer side at most `longest` px, and the factors (x, y) that bring its pixels back.

    An image that is small enough is returned itself.
    """
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    small = max(1, round(width * factor)), max(1, round(height * factor))
    if factor < 1:
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return image, width / small[0], height / small[1]


def shrink_region(image: np.ndarray, low: np.ndarray, high: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the part of `image` from point `low` to point `high` and average it over blocks of k x k pixels.

    Returns the small image and the (2, 3) matrix from its pixels to those of `image`. What lies outside the
    image is left out; a rim narrower than a block is filled by repeating the edge.
    """
    height, width = image.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(low), 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip(np.ceil(high) + 1, (left + 1, top + 1), (width, height)))
    region = image[top:bottom, left:right]
    pad_y, pad_x = -region.shape[0] % k, -region.shape[1] % k
    if pad_y or pad_x:
        region = cv2.copyMakeBorder(region, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    small = cv2.resize(region, (region.shape[1] // k, region.shape[0] // k), interpolation=cv2.INTER_AREA)
    middle = (k - 1) / 2  # a block's centre, from its first pixel's
    return small, np.array([[k, 0, left + middle], [0, k, top + middle]], float)


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Points (..., 2), pixels, in the fixed-point numbers that OpenCV draws at with `shift=FIXED`: int32, clipped."""
    return np.rint(np.clip(points, -FIXED_LIMIT, FIXED_LIMIT) * 2**FIXED).astype(np.int32)


def to_input(crop: np.ndarray) -> np.ndarray:
    """An RGB or grey uint8 crop to what the networks take: grey float32 in [-1, 1], shape (1, H, W)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if crop.ndim == 3 else crop
    return (grey.astype(np.float32) / 127.5 - 1)[None]  # (1, H, W)
