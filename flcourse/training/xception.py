"""Xception, read top to bottom: separable convolutions, three flows, two heads and the landmark network of them.

F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, figure 5. Numbers in comments
are the channels and sizes at full width for a 299 px image, as in the paper.
"""

from itertools import pairwise

from torch import Tensor, nn

from flcourse.metadata import EXIT_CONVOLUTIONS, HEADS, STEM_STRIDES
from flcourse.points import N_POINTS
from flcourse.training.heatmaps import RING, Landmarks, soft_argmax
from flcourse.training.refiner import PointRefiner


class SeparableConv2d(nn.Sequential):
    """A 3x3 convolution in two steps: one 3x3 filter for each channel, then 1x1 across channels.

    (N, in, H, W) -> (N, out, H / stride, W / stride). It has 9 in + in out weights where a dense 3x3 convolution has
    9 in out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)


class Block(nn.Module):
    """Separable convolutions with batch norm, each after a ReLU, an optional 2x pooling, and a residual around it all.

    `channels` lists the channels before, between and after the convolutions. With `stride=2`, or where the channels
    change, the residual is a 1x1 convolution, else the input itself.
    """

    def __init__(self, *channels: int, stride: int = 1, relu_first: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inner, outer) in enumerate(pairwise(channels)):
            if i > 0 or relu_first:
                layers.append(nn.ReLU())
            layers += [SeparableConv2d(inner, outer), nn.BatchNorm2d(outer)]
        if stride == 2:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.body = nn.Sequential(*layers)
        self.residual: nn.Module = nn.Identity()
        if stride == 2 or channels[0] != channels[-1]:
            self.residual = nn.Sequential(
                nn.Conv2d(channels[0], channels[-1], 1, stride=stride, bias=False), nn.BatchNorm2d(channels[-1])
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.residual(x)


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, as the nearest multiple of 8 (fast on every processor), at least 8."""
    return max(8, round(channels * width / 8) * 8)


class EntryFlow(nn.Module):
    """Two plain convolutions and three pooling blocks: (N, in, 299, 299) -> (N, 728, 19, 19), stride 16.

    `stem_stride=4` makes the first convolution one of 6x6 pixels in steps of four: twice the pixels in each direction
    at the cost of half as many, for what is too fine for 3x3 pixels in steps of two, such as a slit between eyelids.
    """

    def __init__(self, in_channels: int, width: float, stem_stride: int = 2) -> None:
        super().__init__()
        c32, c64, c128, c256, c728 = (scaled(c, width) for c in (32, 64, 128, 256, 728))
        # The paper's stem has no padding; with it every size is halved exactly, and maps line up with the image.
        self.stem = nn.Sequential(
            nn.Conv2d(
                in_channels, c32, 3 * stem_stride // 2, stride=stem_stride, padding=stem_stride // 2, bias=False
            ),  # (N, 32, 150, 150)
            nn.BatchNorm2d(c32),
            nn.ReLU(),
            nn.Conv2d(c32, c64, 3, padding=1, bias=False),  # (N, 64, 150, 150)
            nn.BatchNorm2d(c64),
            nn.ReLU(),
        )
        self.block1 = Block(c64, c128, c128, stride=2, relu_first=False)  # (N, 128, 75, 75); a ReLU came just before
        self.block2 = Block(c128, c256, c256, stride=2)  # (N, 256, 38, 38)
        self.block3 = Block(c256, c728, c728, stride=2)  # (N, 728, 19, 19)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The features at stride 16 and those that they come from: 8, for the heatmap head, 4 and 2, to refine it."""
        stride2 = self.stem(x)
        stride4 = self.block1(stride2)
        stride8 = self.block2(stride4)
        return self.block3(stride8), stride8, stride4, stride2


class MiddleFlow(nn.Sequential):
    """The same residual block of three separable convolutions, eight times over: (N, 728, 19, 19) throughout."""

    def __init__(self, width: float, blocks: int = 8) -> None:
        c728 = scaled(728, width)
        super().__init__(*(Block(c728, c728, c728, c728) for _ in range(blocks)))


EXIT_CHANNELS = (1024, 1536, 2048)  # at full width: of the exit flow's block and of its wide convolutions


class ExitFlow(nn.Sequential):
    """The last residual block and two wide separable convolutions: (N, 728, 19, 19) -> (N, 2048, 10, 10).

    `stride=1` leaves the pooling out and the maps at 19 x 19, for a head that needs to know where things are.
    `wide=1` leaves the last convolution out, which with what follows it is a fifth of a small network's time.
    """

    def __init__(self, width: float, stride: int = 2, wide: int = 2) -> None:
        c728, *channels = (scaled(c, width) for c in (728, *EXIT_CHANNELS[: 1 + wide]))
        layers: list[nn.Module] = [Block(c728, c728, channels[0], stride=stride)]
        for inner, outer in pairwise(channels):
            layers += [SeparableConv2d(inner, outer), nn.BatchNorm2d(outer), nn.ReLU()]
        super().__init__(*layers)


class RegressionHead(nn.Module):
    """The original's head: average over all places, then one linear layer: (N, c, h, w) -> 68 points."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, 2 * N_POINTS)
        nn.init.constant_(self.linear.bias, 0.5)  # begin in the middle of the crop

    def forward(self, features: Tensor, stride8: Tensor) -> Landmarks:
        pooled = features.mean(dim=(2, 3))  # (N, c)
        return Landmarks(self.linear(pooled).unflatten(1, (N_POINTS, 2)), None)


class HeatmapHead(nn.Module):
    """One map for each point, at stride 8, and the soft-argmax of each map.

    The exit flow's features are doubled in size and joined with the entry flow's at stride 8, which still know fine
    detail. The maps reach `RING` cells beyond the crop on each side, because chins and cheeks often do.
    """

    CHANNELS = 128

    def __init__(self, in_channels: int, stride8_channels: int) -> None:
        super().__init__()
        channels = self.CHANNELS
        self.up = nn.Sequential(nn.Conv2d(in_channels, 4 * channels, 1, bias=False), nn.PixelShuffle(2))
        self.lateral = nn.Conv2d(stride8_channels, channels, 1, bias=False)
        self.join = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ZeroPad2d(RING),
            SeparableConv2d(channels, channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.maps = nn.Conv2d(channels, N_POINTS, 1)

    def forward(self, features: Tensor, stride8: Tensor) -> Landmarks:
        return self.read(self.merge(features, stride8))

    def merge(self, features: Tensor, stride8: Tensor) -> Tensor:
        """Meaning from the exit flow and detail from the entry flow: (N, 128, size / 8, size / 8)."""
        return self.up(features) + self.lateral(stride8)

    def read(self, joined: Tensor) -> Landmarks:
        """The maps of what was merged, and the points in them."""
        logits = self.maps(self.join(joined)).float()  # (N, 68, size / 8 + 2, size / 8 + 2)
        return Landmarks(soft_argmax(logits, RING), logits)


class Xception(nn.Module):
    """The full Xception as a landmark network: (N, in_channels, size, size) in [-1, 1] -> `Landmarks`.

    `width` multiplies every layer's channels. `head="regression"` pools and applies a linear layer, as the original
    project does; `head="heatmap"` keeps the exit flow at stride 16 and takes the soft-argmax of 68 maps at stride 8.
    `middle_blocks`, `stem_stride` (2 or 4; with 4 every stride is doubled) and `exit_convolutions` (1 or 2) trade
    accuracy for time; their defaults are the paper's. With `refine` a `PointRefiner` looks at the points of
    the heatmaps again.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: float = 1.0,
        head: str = "heatmap",
        middle_blocks: int = 8,
        stem_stride: int = 2,
        exit_convolutions: int = 2,
        refine: bool = False,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("head", head, HEADS),
            ("stem_stride", stem_stride, STEM_STRIDES),
            ("exit_convolutions", exit_convolutions, EXIT_CONVOLUTIONS),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}, expected one of {', '.join(map(str, known))}")
        if refine and head != "heatmap":
            raise ValueError(f"refine=True, head={head!r}: expected head='heatmap', whose points can be refined")
        self.width = width
        self.entry = EntryFlow(in_channels, width, stem_stride)
        self.middle = MiddleFlow(width, middle_blocks)
        self.exit = ExitFlow(width, 2 if head == "regression" else 1, exit_convolutions)
        features = scaled(EXIT_CHANNELS[exit_convolutions], width)
        self.head = RegressionHead(features) if head == "regression" else HeatmapHead(features, scaled(256, width))
        maps = scaled(64, width), scaled(128, width), HeatmapHead.CHANNELS
        self.refiner = PointRefiner(maps) if refine else None

    def forward(self, x: Tensor) -> Landmarks:
        stride16, stride8, stride4, stride2 = self.entry(x)
        features = self.exit(self.middle(stride16))
        if self.refiner is None or not isinstance(self.head, HeatmapHead):
            return self.head(features, stride8)
        joined = self.head.merge(features, stride8)
        return self.refiner(self.head.read(joined), (stride2, stride4, joined))
