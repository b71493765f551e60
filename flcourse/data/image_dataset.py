"""Labelled images as a torch Dataset, with the augmentation that small photographs are trained with."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class ImageDataset(Dataset):
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
        self.epoch = 0

    @property
    def epoch(self) -> int:
        """Which epoch's augmentation is drawn; `loop.fit` sets it."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, n = epoch, len(self.labels)
        draw = np.random.default_rng((self.seed, epoch))
        self._shifts = torch.from_numpy(draw.integers(-self.shift, self.shift + 1, (n, 2)))
        self._flips = torch.from_numpy((draw.random(n) < 0.5) & self.flip)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """A whole batch at once, which a DataLoader asks for where it can: many times faster than one by one."""
        chosen = torch.as_tensor(indices)
        if self.shift or self.flip:
            images = moved(self.images[chosen], self._shifts[chosen], self._flips[chosen])
        else:
            images = self.images[chosen]
        inputs = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # (n, C, H, W)
        return list(zip(inputs, self.labels[chosen], strict=True))


def moved(images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Mirror (N, H, W, C) images where `flips` (N,) says so, then move each by `shifts` (N, 2), x then y, in pixels.

    What comes in from outside repeats the edge.
    """
    n, height, width = images.shape[:3]
    columns = (torch.arange(width) - shifts[:, :1]).clamp(0, width - 1)  # (N, W): from where each column comes
    rows = (torch.arange(height) - shifts[:, 1:]).clamp(0, height - 1)  # (N, H)
    columns = torch.where(flips[:, None], width - 1 - columns, columns)
    return images[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
