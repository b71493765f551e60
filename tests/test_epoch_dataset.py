"""Datasets that are mixed: shares of every epoch, drawn anew each time and again the same."""

from collections import Counter

import pytest

from flcourse.data.epoch_dataset import EpochDataset, Mixed


class Named(EpochDataset):
    """Items (name, epoch, index)."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def item(self, epoch, index):
        return self.name, epoch, index

    def __len__(self):
        return self.count


def test_a_mixture_has_all_of_the_first_and_shares_of_the_others():
    mixed = Mixed(Named("real", 70), [Named("drawn", 1000), Named("few", 3)], [0.2, 0.1], seed=0)
    assert len(mixed) == 100
    epochs = [[mixed[epoch, index] for index in range(100)] for epoch in (0, 1)]
    for number, items in enumerate(epochs):
        assert Counter(name for name, _, _ in items) == {"real": 70, "drawn": 20, "few": 10}
        assert [index for name, _, index in items if name == "real"] == list(range(70))
        assert all(epoch == number for _, epoch, _ in items)
    drawn = [{index for name, _, index in items if name == "drawn"} for items in epochs]
    assert drawn[0] != drawn[1] and max(drawn[0] | drawn[1]) > 500
    assert epochs[1] == [mixed[1, index] for index in range(100)]
    with pytest.raises(IndexError):
        mixed[0, 100]


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.0, 0.1], [0.1]])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(ValueError, match="of 2 datasets, expected one each, together below 1"):
        Mixed(Named("real", 5), [Named("a", 5), Named("b", 5)], shares, seed=0)
