"""The drawn images that stand in for CIFAR-10: repeatable, various, and a task on which convolutions pay."""

import numpy as np
import torch
from torch import nn

from flcourse.data.shapes import CLASSES, draw_shapes


def test_shapes_and_types():
    images, labels = draw_shapes(40, seed=0)
    assert images.shape == (40, 32, 32, 3) and images.dtype == np.uint8
    assert labels.shape == (40,) and labels.dtype == np.int64
    assert len(CLASSES) == len(set(CLASSES)) == 10
    assert set(labels) <= set(range(10))
    nothing, none = draw_shapes(0, seed=0)
    assert nothing.shape == (0, 32, 32, 3) and none.shape == (0,)


def test_an_image_depends_on_seed_and_index_only():
    images, labels = draw_shapes(40, seed=0)
    first, first_labels = draw_shapes(10, seed=0)
    assert np.array_equal(first, images[:10]) and np.array_equal(first_labels, labels[:10])
    other, _ = draw_shapes(40, seed=1)
    assert not (other == images).all(axis=(1, 2, 3)).any()
    assert len(np.unique(images.reshape(40, -1), axis=0)) == 40


def test_classes_are_alike_but_in_shape():
    images, labels = draw_shapes(1500, seed=2)
    counts = np.bincount(labels, minlength=10)
    assert counts.min() > 100
    colours = np.stack([images[labels == c].mean(axis=(0, 1, 2)) for c in range(10)])
    assert np.ptp(colours, axis=0).max() < 25  # of 255: colour and brightness say nothing about the class
    assert images.mean(axis=(1, 2)).std(axis=0).min() > 25  # though they differ from image to image
    assert ((images == 0) | (images == 255)).mean() < 0.1  # few pixels are over- or underexposed


def accuracy(net: nn.Module, train: tuple, test: tuple, epochs: int) -> float:
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(train[0])).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(train[0][batch]), train[1][batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return (net.eval()(test[0]).argmax(dim=1) == test[1]).float().mean().item()


def test_a_small_cnn_clearly_beats_an_mlp():
    def as_tensors(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = draw_shapes(n, seed)
        return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1, torch.tensor(labels)

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        return [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]  # pooled first: less to compute

    train, test = as_tensors(2000, 0), as_tensors(500, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cnn = nn.Sequential(*block(3, 8), *block(8, 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * 16, 10))
        with_cnn = accuracy(cnn, train, test, epochs=5)
        mlp = nn.Sequential(nn.Flatten(), nn.Linear(3072, 96), nn.ReLU(), nn.Linear(96, 10))
        with_mlp = accuracy(mlp, train, test, epochs=5)
    assert with_mlp > 0.15  # pixels alone say something: chance is 0.1
    assert with_cnn > 0.5
    assert with_cnn > with_mlp + 0.2
