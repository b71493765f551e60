"""The course's networks, read top to bottom: a perceptron, small CNNs, and Xception with three flows and two heads.

Xception: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, figure 5. Numbers in
comments are the channels and sizes at full width for a 299 px image, as in the paper.
"""

from itertools import pairwise

from torch import Tensor, nn

from flcourse.metadata import EXIT_CONVOLUTIONS, HEADS, STEM_STRIDES
from flcourse.points import N_POINTS
from flcourse.training.heatmaps import RING, Landmarks, soft_argmax


class MLP(nn.Sequential):
    """A multilayer perceptron: (N, ...) images, flattened -> logits (N, sizes[-1]); ReLU between layers.

    `batch_norm` and `dropout` (the probability of dropping) act on every hidden layer.
    """

    def __init__(self, *sizes: int, batch_norm: bool = False, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for inner, outer in pairwise(sizes[:-1]):
            layers.append(nn.Linear(inner, outer, bias=not batch_norm))  # batch norm has a bias of its own
            if batch_norm:
                layers.append(nn.BatchNorm1d(outer))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1]))


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU: (N, in, H, W) -> (N, out, H, W), or (N, out, H / 2, W / 2) with `pool`.

    The pooling comes right after the convolution: what follows then has a quarter of the work.
    """

    def __init__(self, in_channels: int, out_channels: int, pool: bool = False) -> None:
        layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)]
        if pool:
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, nn.BatchNorm2d(out_channels), nn.ReLU())


class DigitCNN(nn.Sequential):
    """A small CNN for MNIST: (N, 1, 28, 28) -> logits (N, 10)."""

    def __init__(self, width: int = 16, dropout: float = 0.2) -> None:
        super().__init__(
            ConvBlock(1, width, pool=True),  # (N, 16, 14, 14)
            ConvBlock(width, 2 * width),
            ConvBlock(2 * width, 2 * width, pool=True),  # (N, 32, 7, 7)
            ConvBlock(2 * width, 4 * width),
            ConvBlock(4 * width, 4 * width),  # (N, 64, 7, 7)
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, 10),
        )


class OriginalCNN(nn.Sequential):
    """The original project's CNN for CIFAR-10: (N, 3, 32, 32) -> logits (N, 10), 38.1 M parameters.

    Three convolutions, whose output of 8,192 numbers goes through four dense layers: there are nine tenths and more of
    its parameters.
    """

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)),
            *(nn.Conv2d(64, 128, 5, padding=2), nn.BatchNorm2d(128), nn.ReLU()),  # (N, 128, 8, 8)
            *(nn.Flatten(), nn.Linear(8192, 4096), nn.ReLU(), nn.Linear(4096, 1024), nn.ReLU()),
            *(nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
        )


class Residual(nn.Module):
    """x + body(x): the body learns what to add to its input (He et al., "Deep Residual Learning", CVPR 2016)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResidualCNN(nn.Sequential):
    """A small residual CNN for CIFAR-10: (N, 3, 32, 32) -> logits (N, 10), 0.76 M parameters at width 32.

    In the spirit of D. Page, "How to Train Your ResNet" (2018), made for CPUs: few layers, each wide enough to be fast,
    two of them residual, and no dense layer but the last.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__(
            ConvBlock(3, width),  # (N, 32, 32, 32)
            ConvBlock(width, 2 * width, pool=True),  # (N, 64, 16, 16)
            Residual(ConvBlock(2 * width, 2 * width), ConvBlock(2 * width, 2 * width)),
            ConvBlock(2 * width, 4 * width, pool=True),  # (N, 128, 8, 8)
            Residual(ConvBlock(4 * width, 4 * width), ConvBlock(4 * width, 4 * width)),
            ConvBlock(4 * width, 8 * width, pool=True),  # (N, 256, 4, 4)
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        )


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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features at stride 16 and, for the heatmap head, those at stride 8."""
        stride8 = self.block2(self.block1(self.stem(x)))
        return self.block3(stride8), stride8


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

    def __init__(self, in_channels: int, stride8_channels: int, channels: int = 128) -> None:
        super().__init__()
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
        joined = self.up(features) + self.lateral(stride8)  # (N, 128, size / 8, size / 8)
        logits = self.maps(self.join(joined)).float()  # (N, 68, size / 8 + 2, size / 8 + 2)
        return Landmarks(soft_argmax(logits, RING), logits)


class Xception(nn.Module):
    """The full Xception as a landmark network: (N, in_channels, size, size) in [-1, 1] -> `Landmarks`.

    `width` multiplies every layer's channels. `head="regression"` pools and applies a linear layer, as the original
    project does; `head="heatmap"` keeps the exit flow at stride 16 and takes the soft-argmax of 68 maps at stride 8.
    `middle_blocks`, `stem_stride` (2 or 4; with 4 every stride is doubled) and `exit_convolutions` (1 or 2) trade
    accuracy for time; their defaults are the paper's.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: float = 1.0,
        head: str = "heatmap",
        middle_blocks: int = 8,
        stem_stride: int = 2,
        exit_convolutions: int = 2,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("head", head, HEADS),
            ("stem_stride", stem_stride, STEM_STRIDES),
            ("exit_convolutions", exit_convolutions, EXIT_CONVOLUTIONS),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}, expected one of {', '.join(map(str, known))}")
        self.width = width
        self.entry = EntryFlow(in_channels, width, stem_stride)
        self.middle = MiddleFlow(width, middle_blocks)
        self.exit = ExitFlow(width, 2 if head == "regression" else 1, exit_convolutions)
        features = scaled(EXIT_CHANNELS[exit_convolutions], width)
        self.head = RegressionHead(features) if head == "regression" else HeatmapHead(features, scaled(256, width))

    def forward(self, x: Tensor) -> Landmarks:
        stride16, stride8 = self.entry(x)
        return self.head(self.exit(self.middle(stride16)), stride8)
