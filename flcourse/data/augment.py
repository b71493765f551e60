"""Landmark-aware augmentation: one random matrix that moves image and points together, then changes of the pixels.

The geometric part only draws numbers and multiplies them into the crop's matrix (`draw_matrix`); `images.warp` then
resamples once. The photometric part (`augment_crop`) works on the RGB crop, before it becomes grey. torchvision does
the colours and the blur; its `KeyPoints` are not used for geometry, because they follow another pixel convention.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from flcourse.data.eyelids import shut_eyes
from flcourse.points import Box, compose, crop_matrix


@dataclass(frozen=True)
class Augment:
    """How strongly each augmentation varies. Zeros change nothing; probabilities are in [0, 1]."""

    rotation: float = 0.0  # degrees, standard deviation
    scale: float = 0.0  # standard deviation of the log of the scale
    offset: float = 0.0  # standard deviation of the crop's shift in x and in y, parts of the box's side
    random_crop: float = 0.0  # a window of at least 1 - random_crop of the crop's side, anywhere inside the crop
    mirror: float = 0.0  # probability
    brightness: float = 0.0  # factor in 1 +- this; likewise contrast and saturation
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # shift in +- this part of the colour circle
    blur: float = 0.0  # probability of a Gaussian blur with sigma up to `BLUR_SIGMA`
    noise: float = 0.0  # greatest standard deviation of Gaussian noise, grey levels of 255
    occlusion: float = 0.0  # probability of one patch of one colour in front of the face
    shut_eyes: float = 0.0  # probability that the eyes are closed, half of the times all the way, else in part
    dark: float = 0.0  # probability of little light: half of it to a twelfth, in whole grey levels, with noise


NO_AUGMENT = Augment()

BLUR_SIGMA = 0.02  # of the crop's side: 2.2 px at 112 px, about a webcam's motion blur
OCCLUSION_SIDE = (0.15, 0.5)  # of the crop's side: from a hand's edge to half a face
DARKEST, DIM = 1 / 12, 1 / 2  # of the light
DARK_NOISE = (0.5, 2.5)  # standard deviation, grey levels: a sensor's, which little light does not drown
HALF_SHUT = (0.3, 0.95)  # from where a lid is seen to have come down, to nearly closed
WINK = 0.15  # of the closed pairs of eyes: one of the two is more open
LIMIT = 2.5  # standard deviations; farther draws would leave the face outside the crop


def draw_matrix(augment: Augment, box: Box, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random (2, 3) matrix from image pixels to a `size` x `size` crop about `box`; see `points.crop_matrix`."""

    def normal(deviation: float) -> float:
        return deviation * float(np.clip(rng.standard_normal(), -LIMIT, LIMIT))

    # Every number is drawn always, so that switching one augmentation off leaves the others' draws as they were.
    rotation, log_scale = normal(augment.rotation), normal(augment.scale)
    offset = normal(augment.offset), normal(augment.offset)
    mirror = bool(rng.random() < augment.mirror)
    part = 1 - augment.random_crop * rng.random()
    window_x, window_y = rng.uniform(0, 1 - part, size=2)
    matrix = crop_matrix(box, size, rotation=rotation, scale=np.exp(log_scale), offset=offset, mirror=mirror)
    return compose(window_matrix(window_x, window_y, part, size), matrix)


def window_matrix(x: float, y: float, part: float, size: int) -> np.ndarray:
    """The (2, 3) matrix that enlarges the window at corner (x, y) with side `part`, in parts of a crop, to the crop."""
    # On edges counted from 0, u' = (u - x size) / part; integers at pixel centres lie half a pixel before.
    shift = [(0.5 - start * size) / part - 0.5 for start in (x, y)]
    return np.array([[1 / part, 0, shift[0]], [0, 1 / part, shift[1]]])


def blink(
    augment: Augment, crop: np.ndarray, points: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Close the eyes of a crop (size, size, 3) with its points (68, 2), at random; see `eyelids.shut_eyes`."""
    if rng.random() >= augment.shut_eyes:
        return crop, points
    closed = np.full(2, 1.0 if rng.random() < 0.5 else rng.uniform(*HALF_SHUT))
    if rng.random() < WINK:
        closed[rng.integers(2)] *= rng.random()
    return shut_eyes(crop, points, tuple(closed.tolist()))


def augment_crop(augment: Augment, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the colours of an RGB uint8 crop (size, size, 3), blur it, add noise and an occluding patch."""
    if augment == NO_AUGMENT:
        return crop
    import torch  # here, because importing torchvision takes seconds, and evaluation augments nothing
    from torchvision.transforms.v2 import functional as F

    image = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)  # (3, size, size)
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, size=4)
    if augment.brightness:
        image = F.adjust_brightness(image, 1 + brightness * augment.brightness)
    if augment.contrast:
        image = F.adjust_contrast(image, 1 + contrast * augment.contrast)
    if augment.saturation:
        image = F.adjust_saturation(image, 1 + saturation * augment.saturation)
    if augment.hue:
        image = F.adjust_hue(image, hue * augment.hue)
    sigma = max(0.1, BLUR_SIGMA * len(crop) * rng.random())
    if rng.random() < augment.blur:
        width = 2 * int(np.ceil(2 * sigma)) + 1  # the kernel reaches two sigma, and must be odd
        image = F.gaussian_blur(image, [width, width], [sigma, sigma])
    crop = image.permute(1, 2, 0).contiguous().numpy()
    if augment.dark and rng.random() < augment.dark:
        light = np.exp(rng.uniform(np.log(DARKEST), np.log(DIM)))
        noise = rng.normal(0, rng.uniform(*DARK_NOISE), size=(*crop.shape[:2], 1))
        crop = (crop * light + noise).round().clip(0, 255).astype(np.uint8)
    if augment.noise:
        noise = rng.normal(0, augment.noise * rng.random(), size=(*crop.shape[:2], 1))  # grey, as sensors' mostly is
        crop = (crop + noise).round().clip(0, 255).astype(np.uint8)
    if rng.random() < augment.occlusion:
        crop = _occlude(crop, rng)
    return crop


def _occlude(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a random rotated rectangle with a random colour."""
    size = len(crop)
    sides = rng.uniform(*OCCLUSION_SIDE, size=2) * size
    corners = cv2.boxPoints((rng.uniform(0, size, size=2).tolist(), sides.tolist(), rng.uniform(0, 180)))
    return cv2.fillConvexPoly(crop.copy(), corners.round().astype(np.int32), rng.integers(0, 256, size=3).tolist())
