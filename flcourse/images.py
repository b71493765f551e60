"""Images in and out of files, the one warp that cuts a crop, OpenCV's fixed point: for training and for use alike.

An image is `(H, W, 3)` uint8, **RGB**; OpenCV's BGR lives only inside the functions that call it.
"""

import os
from pathlib import Path

import cv2
import numpy as np

from flcourse.errors import CourseError
from flcourse.files import atomic_write
from flcourse.points import apply, compose, invert

FIXED = 4  # OpenCV draws at 1 / 2**FIXED of a pixel: the `shift` of its drawing functions
FIXED_LIMIT = 30_000  # px; its fixed-point coordinates overflow far outside an image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a JPEG, PNG, WebP, BMP or TIFF to `(H, W, 3)` uint8 RGB, turned upright by its EXIF orientation.

    `name` is what errors call the image. Raises `CourseError` where `data` is not an image.
    """
    if not data:
        raise CourseError(f"{name}: the file is empty, expected an image (JPEG, PNG, WebP, ...)")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more pixels than OpenCV's limit
        bgr = None
    if bgr is None:
        raise CourseError(f"{name}: not an image that can be read, expected JPEG, PNG, WebP, BMP or TIFF")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image file to `(H, W, 3)` uint8 RGB, upright. Raises `CourseError` naming the file.

    The bytes are read by Python, because OpenCV's own reader fails on non-ASCII paths on Windows.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror or error}, expected an image") from error
    return decode_image(data, str(path))


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write an `(H, W, 3)` RGB or `(H, W)` grey uint8 image; the suffix chooses the format; the write is atomic."""
    path = Path(path)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, data = cv2.imencode(path.suffix, bgr)
    if not done:
        raise CourseError(f"{path}: OpenCV cannot write this format, expected .png or .jpg")
    atomic_write(path, data.tobytes())


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Resample `image` by a (2, 3) matrix from image to output pixels into a `size` x `size` uint8 image.

    One `cv2.warpAffine`, bilinear, the image's edge pixels repeated outside (black corners hurt training). Bilinear
    sampling looks at 2 x 2 pixels only and would alias where the output is coarser than half the image; there the
    needed region is first averaged over k x k blocks, a step whose exact map is multiplied into the same matrix.
    """
    step = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # image pixels for each output pixel
    if step >= 2:
        corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
        needed = apply(corners, invert(matrix))
        k = int(step)
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


MNIST_SIZE, MNIST_DIGIT = 28, 20  # pixels: the side of MNIST's images, and of the square that holds the digit in them


def centre_digit(image: np.ndarray) -> np.ndarray:
    """Bring a handwritten digit, light on dark, to MNIST's form: (H, W) uint8 or float in [0, 255] -> (28, 28) uint8.

    The digit is scaled, keeping its shape, so that it just fits into 20 x 20 pixels, and placed so that its centre of
    mass is the image's centre (Y. LeCun, C. Cortes, C. Burges, "The MNIST database"). An empty image stays empty.
    """
    image = np.asarray(image, np.float32)
    rows, columns = np.nonzero(image.max(axis=1) > 0)[0], np.nonzero(image.max(axis=0) > 0)[0]
    if not len(rows):
        return np.zeros((MNIST_SIZE, MNIST_SIZE), np.uint8)
    digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = MNIST_DIGIT / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    # Averaging over areas is right for shrinking; growing wants interpolation, or pixels become blocks.
    digit = cv2.resize(digit, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    digit = digit.clip(0, 255)
    y, x = (np.average(np.arange(n), weights=digit.sum(axis=1 - i)) for i, n in enumerate(digit.shape))
    middle = (MNIST_SIZE - 1) / 2
    top = int(np.clip(round(middle - y), 0, MNIST_SIZE - height))
    left = int(np.clip(round(middle - x), 0, MNIST_SIZE - width))
    centred = np.zeros((MNIST_SIZE, MNIST_SIZE), np.uint8)
    centred[top : top + height, left : left + width] = digit.round()
    return centred
