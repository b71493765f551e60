"""A second look at every point: what lies right around it, and where all the other points are."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flcourse.points import N_POINTS
from flcourse.training.heatmaps import Landmarks, spread

# Where features are looked at around a point, for each of the maps they come from, fine to coarse: a grid of n x n
# places, and the step between them in parts of the crop (1/64: a cell of the finest maps of a crop of 256 px).
GRIDS = ((5, 1 / 64), (3, 1 / 24), (1, 0.0))
CHANNELS, HEADS, LAYERS = 96, 4, 1
REACH = 0.25  # the largest usual move, in parts of the points' spread: brings the last layer's outputs to about 1


class EncoderLayer(nn.Module):
    """One layer of a transformer encoder (Vaswani et al., "Attention Is All You Need", 2017), norms first.

    Tokens (N, tokens, `CHANNELS`) attend to each other, then each is worked on alone. It does what
    `nn.TransformerEncoderLayer` does, in half as many nodes of ONNX, each of which takes its time on one face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.out = nn.Linear(CHANNELS, CHANNELS)
        self.alone = nn.Sequential(nn.Linear(CHANNELS, 2 * CHANNELS), nn.GELU(), nn.Linear(2 * CHANNELS, CHANNELS))

    def forward(self, tokens: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(tokens)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()  # (N, heads, tokens, channels of a head) each
        attention = (query @ key.mT * (CHANNELS / HEADS) ** -0.5).softmax(dim=3)
        tokens = tokens + self.out((attention @ value).transpose(1, 2).flatten(2))
        return tokens + self.alone(self.norm2(tokens))


class PointRefiner(nn.Module):
    """Moves 68 points that were found in maps: a transformer encoder, whose tokens are the points.

    Maps of the exit flow are coarse, and each of them is read alone. Here the features of finer maps are sampled around
    each point (bilinearly), and self-attention lets every point see where the others are, so that visible ones place
    those that are covered. In the spirit of Xia et al., "Sparse Local Patch Transformer for Robust Face Alignment and
    Landmarks Inherent Relation Learning" (CVPR 2022). It begins by moving nothing. `channels` are those of the maps.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.look = nn.ModuleList(
            [nn.Linear(c * n * n, CHANNELS, bias=False) for c, (n, _) in zip(channels, GRIDS, strict=True)]
        )
        self.geometry = nn.Linear(4, CHANNELS)
        self.gate = nn.Parameter(torch.ones(N_POINTS, CHANNELS))  # which of what is seen matters, to each point
        self.embed = nn.Parameter(0.2 * torch.randn(N_POINTS, CHANNELS))  # which point it is
        self.attend = nn.Sequential(*(EncoderLayer() for _ in range(LAYERS)))
        last = nn.Linear(CHANNELS, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.move = nn.Sequential(nn.LayerNorm(CHANNELS), last)
        for i, (n, step) in enumerate(GRIDS):
            steps = 2 * step * (torch.arange(n) - (n - 1) / 2)
            offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=2).flatten(0, 1)
            self.register_buffer(f"offsets{i}", offsets, persistent=False)  # (n * n, 2), x and y, half crops

    def forward(self, found: Landmarks, maps: Sequence[Tensor]) -> Landmarks:
        """`found` with its points moved. `maps` (N, channels, h, w) cover the crop, fine to coarse."""
        points = found.points01.detach()  # where to look is not learned by what is seen there
        centre = points.mean(dim=1, keepdim=True)
        size = (points - centre).square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-3)
        blur = spread(found.maps, points).detach().clamp(min=1e-7).log()
        tokens = self.geometry(torch.cat([2 * (points - centre) / size, blur / 2 + 3], dim=2))
        places = 2 * points[:, :, None] - 1  # (N, 68, 1, 2) in [-1, 1]
        for i, (look, features) in enumerate(zip(self.look, maps, strict=True)):
            around = places + getattr(self, f"offsets{i}")  # (N, 68, n * n, 2)
            seen = F.grid_sample(features.float(), around, align_corners=False)  # (N, channels, 68, n * n)
            tokens = tokens + look(seen.transpose(1, 2).flatten(2))
        tokens = self.attend(tokens * self.gate + self.embed)  # (N, 68, CHANNELS)
        moved = found.points01 + REACH * size * self.move(tokens).float()
        return Landmarks(moved, found.logits, found.points01)
