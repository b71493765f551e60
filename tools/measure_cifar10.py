"""The ablation that notebook 03 states: a small residual network, one change a row, three seeds (for contributors).

    .venv/bin/python tools/measure_cifar10.py

Prints the table in Markdown. Small throughout (width 8, 5,000 training images, 5 epochs), so that the 21 trainings take
some minutes; measured on 5,000 further training images, never on the test set.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from flcourse.data.datasets import cifar10
from flcourse.data.image_dataset import ImageDataset
from flcourse.training.config import Config
from flcourse.training.devices import choose_device
from flcourse.training.loop import fit
from flcourse.training.losses import Task, classification
from flcourse.training.nets import Residual, ResidualCNN

WIDTH, IMAGES, EPOCHS, SEEDS = 8, 5_000, 5, 3


def network() -> nn.Module:
    """The residual network of notebook 03, small."""
    return ResidualCNN(WIDTH)


def without_residuals() -> nn.Module:
    """The same layers one after the other: no sums around them."""
    return nn.Sequential(*(layer.body if isinstance(layer, Residual) else layer for layer in ResidualCNN(WIDTH)))


def without_batch_norm() -> nn.Module:
    """The same network with nothing in the place of batch norm."""
    net = network()
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return net


SMOOTHED = classification(label_smoothing=0.1)
COURSE = Config(EPOCHS, 128, optimizer="sgd", lr=0.1, weight_decay=5e-4, schedule="one_cycle")


@dataclass(frozen=True)
class Row:
    """How one row trains; the defaults are the course's recipe."""

    net: Callable[[], nn.Module] = network
    task: Task = SMOOTHED
    config: Config = COURSE
    shift: int = 4
    flip: bool = True


ROWS = {
    "everything": Row(),
    "no residuals": Row(without_residuals),
    "no batch norm, and a rate it can bear (0.02)": Row(without_batch_norm, config=replace(COURSE, lr=0.02)),
    "no label smoothing": Row(task=classification()),
    "no augmentation": Row(shift=0, flip=False),
    "a constant rate instead of one-cycle": Row(config=replace(COURSE, schedule="constant")),
    "the original's optimiser: Adam, 1e-4, batches of 1,024": Row(config=Config(EPOCHS, 1024, lr=1e-4)),
}


def main() -> None:
    """Train every row with every seed and print the table."""
    images = cifar10(download=False)
    x, y = images.train_x, images.train_y
    val_set = ImageDataset(x[-5_000:], y[-5_000:])
    print("| | validation accuracy, mean | lowest to highest |\n|---|---|---|")
    with choose_device("cpu") as device:
        for name, row in ROWS.items():
            found = []
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                train_set = ImageDataset(x[:IMAGES], y[:IMAGES], shift=row.shift, flip=row.flip, seed=seed)
                config = replace(row.config, seed=seed)
                history = fit(row.net(), row.task, train_set, val_set, config, device=device, progress=False)
                found.append(history[-1]["val_accuracy"])
            print(f"| {name} | {np.mean(found):.1f} % | {min(found):.1f} to {max(found):.1f} % |", flush=True)


if __name__ == "__main__":
    main()
