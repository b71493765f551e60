"""What the face detector should answer for a scene, and scenes with their answers as a torch `Dataset`."""

import numpy as np
import torch

from flcourse.data.epoch_dataset import EpochDataset
from flcourse.data.face_scenes import SceneComposer, Sources
from flcourse.images import to_input

STRIDE = 8  # px of the scene for a cell of the maps
SMALLEST, LARGEST = 9.0, 72.0  # px: the sides of the faces that the maps answer; the pyramid brings others to them
VISIBLE = 0.55  # the least part of a face's box inside the scene; less is neither a face nor none

HEAT, VALID, DX, DY, LOG_SIDE, BOXED = range(6)  # the target's planes
UNIT = 32.0  # px: the side whose logarithm is 0
NEAR = 0.45  # heat from which a cell must know the box, too


def target_maps(faces: np.ndarray, doubtful: np.ndarray, size: int) -> np.ndarray:
    """What the network should answer for a scene, (6, size / STRIDE, size / STRIDE) float32.

    Planes: heat, a Gaussian about every face that is 1 in the cell of its centre; whether the cell counts; where the
    face's centre is, from the cell's, in cells (x, y); the log of its side in `UNIT`s; and how much its box counts.
    """
    cells = size // STRIDE
    maps = np.zeros((6, cells, cells), np.float32)
    maps[VALID] = 1
    centres = np.arange(cells) * STRIDE + (STRIDE - 1) / 2
    ignored = [tuple(row) for row in doubtful]
    for x, y, side in faces:
        width, height = (max(0.0, min(at + side / 2, size) - max(at - side / 2, 0)) for at in (x, y))
        visible = width * height / side**2
        inside = 0 <= x < size - 0.5 and 0 <= y < size - 0.5
        if not (SMALLEST <= side <= LARGEST and inside and visible >= VISIBLE):
            ignored.append((x, y, side))
            continue
        dx, dy = np.broadcast_arrays((x - centres) / STRIDE, (y - centres)[:, None] / STRIDE)
        sigma = 0.4 + 0.05 * side / STRIDE  # cells
        heat = np.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        heat[np.unravel_index(heat.argmax(), heat.shape)] = 1
        near = (heat > maps[HEAT]) & (heat > NEAR)
        maps[HEAT] = np.maximum(maps[HEAT], heat)
        maps[DX][near], maps[DY][near], maps[LOG_SIDE][near] = dx[near], dy[near], np.log(side / UNIT)
        maps[BOXED][near] = heat[near]
    for x, y, side in ignored:
        # Of a face too large for this scale only the middle; its parts are no faces.
        radius = 0.6 * side + 4 if side < SMALLEST else 0.35 * side if side > LARGEST else 0.5 * side
        close = (centres - x) ** 2 + (centres[:, None] - y) ** 2 < radius**2
        maps[VALID][close & (maps[HEAT] < 0.5)] = 0
    return maps


class FaceScenes(EpochDataset):
    """`count` scenes an epoch for a `DataLoader`: ((1, size, size) float32 tensor in [-1, 1], `target_maps`)."""

    def __init__(self, sources: Sources, size: int, count: int, seed: int = 0) -> None:
        self.compose, self.size, self.count, self.seed = SceneComposer(sources, size), size, count, seed

    def __len__(self) -> int:
        return self.count

    def item(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        scene, faces, doubtful = self.compose(np.random.default_rng((self.seed, epoch, index)))
        return torch.from_numpy(to_input(scene)), torch.from_numpy(target_maps(faces, doubtful, self.size))
