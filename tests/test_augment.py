"""Augmentation: the dots of a warped image are found again at the moved points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from flcourse.data.augment import NO_AUGMENT, Augment, augment_crop, draw_matrix, window_matrix
from flcourse.images import warp
from flcourse.points import MIRROR, Box, apply, compose, crop_matrix, move_points

SIZE = 224
BOX = Box.around((200, 200), 160)
GRID = np.stack(np.meshgrid(np.linspace(135, 265, 9), np.linspace(150, 282, 8)), axis=-1).reshape(-1, 2)[:68]


def dotted_image() -> np.ndarray:
    """One Gaussian dot at each of 68 known points, none nearer than 16 px to the next."""
    ys, xs = np.mgrid[:420, :400]
    dots = sum(np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 1.5**2)) for x, y in GRID)
    return np.repeat((255 * dots.clip(0, 1)).round().astype(np.uint8)[..., None], 3, axis=2)


IMAGE = dotted_image()


def found_dot(grey: np.ndarray, x: float, y: float, reach: float) -> np.ndarray:
    """The centre of brightness within `reach` of (x, y)."""
    ys, xs = np.mgrid[: grey.shape[0], : grey.shape[1]]
    weight = grey * (np.hypot(xs - x, ys - y) < reach)
    return np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()


GEOMETRIC = {
    "nothing": NO_AUGMENT,
    "rotation": Augment(rotation=25),
    "scale": Augment(scale=0.2),
    "offset": Augment(offset=0.08),
    "random crop": Augment(random_crop=0.3),
    "mirror": Augment(mirror=1),
    "rotation and mirror": Augment(rotation=25, mirror=1),
    "scale, offset and random crop": Augment(scale=0.15, offset=0.05, random_crop=0.2),
    "all": Augment(rotation=30, scale=0.15, offset=0.05, random_crop=0.2, mirror=0.5),
}


@pytest.mark.parametrize("augment", GEOMETRIC.values(), ids=GEOMETRIC.keys())
@pytest.mark.parametrize("size", [SIZE, 90])  # 90: the image is shrunk on the way
def test_dots_are_found_under_the_moved_points(augment, size):
    checked = 0
    for seed in range(6):
        matrix = draw_matrix(augment, BOX, size, np.random.default_rng(seed))
        crop = warp(IMAGE, matrix, size)[..., 0].astype(float)
        moved = move_points(GRID, matrix)
        order = MIRROR if np.linalg.det(matrix[:, :2]) < 0 else np.arange(68)
        assert np.allclose(apply(GRID[order], matrix), moved)  # the mirrored points carry their twins' numbers
        reach = 7 * np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        for x, y in moved:
            if reach < min(x, y) and max(x, y) < size - 1 - reach:
                assert np.hypot(*(found_dot(crop, x, y, reach) - (x, y))) < 0.25
                checked += 1
    assert checked > 200


def test_drawing_leaves_other_draws_alone():
    """Switching one augmentation off must not change what the others do: explorers and ablations rely on it."""
    both, one = Augment(rotation=20, scale=0.2, offset=0.1, mirror=1), Augment(scale=0.2, offset=0.1, mirror=1)
    for seed in range(5):
        with_rotation, without = (draw_matrix(a, BOX, 100, np.random.default_rng(seed)) for a in (both, one))
        assert np.linalg.det(with_rotation[:, :2]) == pytest.approx(np.linalg.det(without[:, :2]))


@given(st.floats(0, 0.6), st.floats(0, 0.4), st.floats(0.4, 1), st.integers(10, 300))
def test_window_takes_its_corners_to_the_crops(x, y, part, size):
    window = window_matrix(x, y, part, size)
    corners = np.array([[x, y], [x + part, y + part]]) * size - 0.5
    assert np.allclose(apply(corners, window), [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-6)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_random_crops_stay_inside_the_crop(seed):
    drawn = draw_matrix(Augment(random_crop=0.4), BOX, 100, np.random.default_rng(seed))
    plain = crop_matrix(BOX, 100)
    to_plain = compose(plain, np.linalg.inv(np.vstack([drawn, (0, 0, 1)]))[:2])
    corners = apply(np.array([[-0.5, -0.5], [99.5, 99.5]]), to_plain)
    assert corners.min() > -0.5 - 1e-6 and corners.max() < 99.5 + 1e-6


def test_photometric_changes_do_what_they_say():
    crop = data.astronaut()[50:162, 170:282]

    def mean_change(**strength: float) -> float:
        changed = [augment_crop(Augment(**strength), crop, np.random.default_rng(s)).astype(float) for s in range(20)]
        assert all(c.shape == crop.shape for c in changed)
        return float(np.mean([np.abs(c - crop).mean() for c in changed]))

    assert augment_crop(NO_AUGMENT, crop, np.random.default_rng(0)) is crop
    for name in ("brightness", "contrast", "saturation"):
        assert 1 < mean_change(**{name: 0.3}) < 40
    assert mean_change(hue=0.1) > 1 and mean_change(noise=10) > 1 and mean_change(occlusion=1) > 1
    assert mean_change(brightness=0.05) < mean_change(brightness=0.5)
    sharp, blurred = (
        np.abs(np.diff(c.astype(float), axis=1)).mean()
        for c in (crop, augment_crop(Augment(blur=1), crop, np.random.default_rng(1)))
    )
    assert blurred < sharp


def test_little_light_leaves_a_half_to_a_twelfth():
    crop = data.astronaut()[50:162, 170:282]
    for seed in range(10):
        left = augment_crop(Augment(dark=1), crop, np.random.default_rng(seed)).mean() / crop.mean()
        assert 0.07 < left < 0.52
    usual = augment_crop(Augment(brightness=0.3), crop, np.random.default_rng(1))
    assert (augment_crop(Augment(brightness=0.3, dark=1e-9), crop, np.random.default_rng(1)) == usual).all()


def test_the_input_is_not_changed():
    crop = data.astronaut()[50:162, 170:282].copy()
    before = crop.copy()
    strong = Augment(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1, blur=1, noise=9, occlusion=1)
    augment_crop(strong, crop, np.random.default_rng(0))
    assert (crop == before).all()


def test_noise_makes_crops_no_darker():
    """Cut off instead of rounded, every pixel would lose half a grey level."""
    crop = np.full((200, 200, 3), 128, np.uint8)
    means = [augment_crop(Augment(noise=9), crop, np.random.default_rng(seed)).mean() for seed in range(8)]
    assert np.mean(means) == pytest.approx(128, abs=0.05)
