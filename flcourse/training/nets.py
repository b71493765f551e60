"""The course's networks for pictures of one class each: a perceptron, small CNNs, a residual one."""

from itertools import pairwise

from torch import Tensor, nn


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
