"""Where is the tip of the nose? Crops of drawn faces with that one point, small enough for a first network."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from flcourse.data.drawn_faces import draw_face
from flcourse.data.epoch_dataset import EpochDataset, Key, split_key

NOSE_TIP = 30  # of the 68 points
DRAWN, CROP = 64, 40  # px: of a drawn image, whose face box is half as wide, and of what is cut out of it
SHIFT = 8  # px: how far crops are moved about the image's centre, so that no place alone tells the point


class NoseTips(EpochDataset):
    """Pairs of (image, tip) for `loop.fit`: float32 (1, 40, 40) in [-1, 1], and float32 (2,), x then y.

    The tip is in parts of the crop, 0 to 1 from edge to edge, as landmarks are everywhere in the course. The faces are
    those of `seeds`, without glasses, hats and hands; drawing one takes about 5 ms. The crop is moved in every epoch
    anew, and the point with it, drawn from (epoch, index).
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        faces = [draw_face(seed, DRAWN, plain=True) for seed in seeds]
        grey = [cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY) for face in faces]
        self.images = torch.from_numpy(np.stack(grey))  # (N, 64, 64)
        self.tips = torch.from_numpy(np.stack([face.points[NOSE_TIP] for face in faces])).float()  # (N, 2), px

    def __len__(self) -> int:
        return len(self.images)

    def item(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([(epoch, index)])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[Tensor, Tensor]]:
        """A whole batch at once, which a DataLoader asks for where it can."""
        epochs, indices = np.array([split_key(key) for key in keys]).T
        shifts = np.empty((len(keys), 2), int)
        for epoch in np.unique(epochs):  # in training it is one
            chosen = epochs == epoch
            drawn = np.random.default_rng(int(epoch)).integers(-SHIFT, SHIFT + 1, (len(self), 2))
            shifts[chosen] = drawn[indices[chosen]]
        corners = torch.from_numpy(shifts) + (DRAWN - CROP) // 2  # (n, 2), x then y
        columns, rows = corners[:, :1] + torch.arange(CROP), corners[:, 1:] + torch.arange(CROP)
        crops = self.images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        inputs = crops[:, None].float() / 127.5 - 1
        tips = (self.tips[indices] - corners + 0.5) / CROP
        return list(zip(inputs, tips, strict=True))
