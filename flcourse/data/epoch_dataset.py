"""Items that differ from epoch to epoch, from a dataset that itself never changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

Key = int | tuple[int, int]  # an index, or (epoch, index)


class EpochDataset(Dataset):
    """A map-style dataset that is asked for `dataset[epoch, index]`; `dataset[index]` is the item of epoch 0.

    A subclass draws what is random from (its seed, epoch, index) alone. So the items are the same in any order, in any
    number of workers and after a resumed training, and one `DataLoader`, whose workers hold a copy of the dataset
    each, serves every epoch.
    """

    def item(self, epoch: int, index: int) -> Any:
        """What `index` looks like in `epoch`."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, key: Key) -> Any:
        return self.item(*split_key(key))


class SameEveryEpoch(EpochDataset):
    """Any other map-style dataset: it is asked for the same indices in every epoch."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def item(self, epoch: int, index: int) -> Any:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: Sequence[Key]) -> Sequence[Any]:
        indices = [split_key(key)[1] for key in keys]
        if hasattr(self.dataset, "__getitems__"):  # DataLoader's way to ask for a whole batch at once
            return self.dataset.__getitems__(indices)
        return [self.dataset[index] for index in indices]


class Repeated(EpochDataset):
    """A dataset in which every item comes `times` times an epoch, drawn anew each time: for sets of a few examples."""

    def __init__(self, dataset: EpochDataset, times: int) -> None:
        self.dataset, self.times = dataset, times

    def item(self, epoch: int, index: int) -> Any:
        turn, inner = divmod(index, len(self.dataset))
        return self.dataset[epoch * self.times + turn, inner]

    def __len__(self) -> int:
        return self.times * len(self.dataset)


class Mixed(EpochDataset):
    """A dataset and, beside it, others that each make up a share of every epoch: a part of them, drawn anew each time.

    `shares` are parts of the epoch; what they leave is `dataset`, whole. Raises `ValueError` where they leave nothing.
    """

    def __init__(
        self, dataset: EpochDataset, others: Sequence[EpochDataset], shares: Sequence[float], seed: int
    ) -> None:
        if len(others) != len(shares) or not all(share > 0 for share in shares) or sum(shares) >= 1:
            raise ValueError(f"shares {list(shares)} of {len(others)} datasets, expected one each, together below 1")
        self.dataset, self.others, self.seed = dataset, list(others), seed
        whole = len(dataset) / (1 - sum(shares))
        self.counts = [max(1, round(share * whole)) for share in shares]

    def item(self, epoch: int, index: int) -> Any:
        if index < len(self.dataset):
            return self.dataset.item(epoch, index)
        index -= len(self.dataset)
        for other, count in zip(self.others, self.counts, strict=True):
            if index < count:
                return other.item(epoch, int(np.random.default_rng((self.seed, epoch, index)).integers(len(other))))
            index -= count
        raise IndexError(index)

    def __len__(self) -> int:
        return len(self.dataset) + sum(self.counts)


def split_key(key: Key) -> tuple[int, int]:
    """(epoch, index) of a key."""
    return key if isinstance(key, tuple) else (0, key)


def by_epoch(dataset: Any) -> EpochDataset:
    """The dataset as one that can be asked for (epoch, index)."""
    return dataset if isinstance(dataset, EpochDataset) else SameEveryEpoch(dataset)
