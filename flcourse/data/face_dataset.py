"""`Face` records -> crops and points for a torch `DataLoader`, augmented and the same again for the same seed."""

from collections.abc import Sequence

import numpy as np
import torch
from tqdm.auto import tqdm

from flcourse.data.augment import NO_AUGMENT, Augment, augment_crop, blink, draw_matrix
from flcourse.data.epoch_dataset import EpochDataset
from flcourse.data.imglab import Face, check_inside
from flcourse.images import read_image, shrink_region, to_input, warp
from flcourse.points import compose, move_points, to01

# Kept about a face's box on each side, in parts of the box: what rotated and shifted crops may still see.
CONTEXT = 0.75


class FaceDataset(EpochDataset):
    """Crops and points of faces, for a `DataLoader`.

    `dataset[epoch, index]`, or `dataset[index]` for epoch 0, is `(crop, points01)`: a (1, size, size) float32 tensor,
    grey in [-1, 1], and a (68, 2) float32 tensor, normalised to the crop. Points outside the crop keep their true
    coordinates, below 0 or above 1. In odd epochs crops have `second_size` pixels instead, if that is given.

    The surroundings of every face are read once, brought near to the crop's scale and kept in memory (19 to 75 times
    the larger size**2 bytes a face: at most 1 MB at 112 px), because decoding would otherwise cost more than all else.
    What is drawn at random for an item depends only on `(seed, epoch, index)`: the same in any order, number of
    workers, or after a resumed training. Raises `CourseError` where an image is missing or cannot be read.
    """

    def __init__(
        self,
        faces: Sequence[Face],
        size: int,
        augment: Augment = NO_AUGMENT,
        seed: int = 0,
        progress: bool = False,
        second_size: int | None = None,
    ) -> None:
        self.faces, self.size, self.augment, self.seed = list(faces), size, augment, seed
        self.second_size = second_size or size
        self._regions: list[tuple[np.ndarray, np.ndarray]] = []  # (RGB region, matrix from region to image pixels)
        last_path, image = None, np.empty((0, 0, 3), np.uint8)
        for face in tqdm(self.faces, desc="reading faces", unit="face", disable=not progress):
            if face.path != last_path:  # several faces of one image stand together in the XML
                last_path, image = face.path, read_image(face.path)
            check_inside(face, (image.shape[1], image.shape[0]), str(face.path))
            low = np.subtract(face.box.centre, (0.5 + CONTEXT) * face.box.side)
            k = max(1, int(face.box.side / max(self.size, self.second_size)))
            self._regions.append(shrink_region(image, low, low + (1 + 2 * CONTEXT) * face.box.side, k))

    def __len__(self) -> int:
        return len(self.faces)

    def crop(self, index: int, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """An item as people look at it: an RGB uint8 crop (size, size, 3) and its points (68, 2) in crop pixels."""
        rng = np.random.default_rng((self.seed, epoch, index))
        face, (region, to_image) = self.faces[index], self._regions[index]
        size = self.second_size if epoch % 2 else self.size
        matrix = draw_matrix(self.augment, face.box, size, rng)
        crop, points = warp(region, compose(matrix, to_image), size), move_points(face.points, matrix)
        if self.augment.shut_eyes:
            crop, points = blink(self.augment, crop, points, rng)
        return augment_crop(self.augment, crop, rng), points

    def item(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        crop, points = self.crop(index, epoch)
        points01 = to01(points, len(crop)).astype(np.float32)
        return torch.from_numpy(to_input(crop)), torch.from_numpy(points01)
