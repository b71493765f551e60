"""Labelled images as a torch Dataset, with the augmentation that small photographs are trained with."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from flcourse.data.epoch_dataset import EpochDataset, Key, split_key


class ImageDataset(EpochDataset):
    """Pairs of (image, label) for `loop.fit`: float32 (C, H, W) in [-1, 1] and int64.

    `images` are (N, H, W) grey or (N, H, W, 3) RGB uint8, `labels` (N,) integers. With `shift` each image is moved
    by up to so many pixels in both directions, its edge repeated (a "random crop with padding"); with `flip` every
    second one is mirrored. Both are drawn from (seed, epoch, index), so that a training can be resumed exactly.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, shift: int = 0, flip: bool = False, seed: int = 0
    ) -> None:
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images and {len(labels)} labels, expected as many")
        self.images = torch.from_numpy(np.ascontiguousarray(images)).reshape(*images.shape[:3], -1)
        self.labels = torch.from_numpy(np.asarray(labels, np.int64))
        self.shift, self.flip, self.seed = shift, flip, seed

    def __len__(self) -> int:
        return len(self.labels)

    def item(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([(epoch, index)])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[Tensor, Tensor]]:
        """A whole batch at once, which a DataLoader asks for where it can: many times faster than one by one."""
        epochs, indices = np.array([split_key(key) for key in keys]).T
        images = self.images[indices]
        if self.shift or self.flip:
            shifts, flips = np.empty((len(keys), 2), int), np.empty(len(keys), bool)
            for epoch in np.unique(epochs):  # in training it is one
                chosen = epochs == epoch
                all_shifts, all_flips = _draw(self.seed, int(epoch), len(self), self.shift)
                shifts[chosen], flips[chosen] = all_shifts[indices[chosen]], all_flips[indices[chosen]]
            images = moved(images, torch.from_numpy(shifts), torch.from_numpy(flips & self.flip))
        inputs = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # (n, C, H, W)
        return list(zip(inputs, self.labels[indices], strict=True))


@lru_cache(maxsize=2)  # drawn at once for all images, and asked for in every batch
def _draw(seed: int, epoch: int, n: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """An epoch's shifts (n, 2), each within +- `shift` pixels, and which of the n images are mirrored."""
    rng = np.random.default_rng((seed, epoch))
    return rng.integers(-shift, shift + 1, (n, 2)), rng.random(n) < 0.5


def moved(images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Mirror (N, H, W, C) images where `flips` (N,) says so, then move each by `shifts` (N, 2), x then y, in pixels.

    What comes in from outside repeats the edge.
    """
    n, height, width = images.shape[:3]
    columns = (torch.arange(width) - shifts[:, :1]).clamp(0, width - 1)  # (N, W): from where each column comes
    rows = (torch.arange(height) - shifts[:, 1:]).clamp(0, height - 1)  # (N, H)
    columns = torch.where(flips[:, None], width - 1 - columns, columns)
    return images[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
