"""Labelled images: what a batch holds; augmentation is exact, new in each epoch and the same on resuming."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from flcourse.data.image_dataset import ImageDataset, moved

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (20, 28, 28), np.uint8)
COLOUR = DRAW.integers(0, 256, (20, 32, 32, 3), np.uint8)
LABELS = np.arange(20) % 10


@pytest.mark.parametrize("images, shape", [(GREY, (1, 28, 28)), (COLOUR, (3, 32, 32))])
def test_images_become_channels_first_in_minus_one_to_one(images, shape):
    inputs, labels = next(iter(DataLoader(ImageDataset(images, LABELS), batch_size=20)))
    assert inputs.shape == (20, *shape) and inputs.dtype == torch.float32 and labels.dtype == torch.int64
    back = ((inputs + 1) * 127.5).permute(0, 2, 3, 1).round().numpy().astype(np.uint8)
    assert (back.reshape(images.shape) == images).all() and (labels.numpy() == LABELS).all()


def test_a_batch_is_its_examples_one_by_one():
    dataset = ImageDataset(COLOUR, LABELS, shift=3, flip=True)
    for index, (image, label) in zip([7, 0, 13], dataset.__getitems__([7, 0, 13]), strict=True):
        assert torch.equal(image, dataset[index][0]) and label == dataset[index][1]


@given(st.integers(-9, 9), st.integers(-9, 9), st.booleans())
def test_moving_is_padding_with_the_edge_and_cropping(dx, dy, flip):
    image = COLOUR[0]
    mirrored = image[:, ::-1] if flip else image
    padded = np.pad(mirrored, ((9, 9), (9, 9), (0, 0)), mode="edge")
    expected = padded[9 - dy : 9 - dy + 32, 9 - dx : 9 - dx + 32]
    given_ = moved(torch.from_numpy(image)[None], torch.tensor([[dx, dy]]), torch.tensor([flip]))
    assert (given_[0].numpy() == expected).all()


def test_augmentation_differs_by_epoch_and_returns_with_it():
    dataset = ImageDataset(COLOUR, LABELS, shift=4, flip=True)
    first = torch.stack([x for x, _ in dataset])
    second = torch.stack([dataset[1, i][0] for i in range(len(dataset))])
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.stack([x for x, _ in dataset]))
    mixed = [dataset.__getitems__([(0, 3), (1, 3), 4])[k][0] for k in range(3)]
    assert torch.equal(torch.stack(mixed), torch.stack([first[3], second[3], first[4]]))
    other = ImageDataset(COLOUR, LABELS, shift=4, flip=True, seed=1)
    assert not torch.equal(first, torch.stack([x for x, _ in other]))


def test_images_and_labels_must_match():
    with pytest.raises(ValueError, match="20 images and 19 labels"):
        ImageDataset(GREY, LABELS[1:])
