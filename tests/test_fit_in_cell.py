"""A training in a notebook's cell: interrupted, it says how far it came and ends the cell; it can be resumed."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from flcourse.data.image_dataset import ImageDataset
from flcourse.show.fit_in_cell import Stopped, fit_in_cell
from flcourse.training.config import Config
from flcourse.training.losses import classification
from flcourse.training.nets import MLP

DRAW = np.random.default_rng(0)
SET = ImageDataset(DRAW.integers(0, 256, (60, 8, 8), dtype=np.uint8), DRAW.integers(0, 10, 60))


class InterruptAt:
    """Presses Ctrl-C (a notebook's stop button) during one batch."""

    def __init__(self, batch: int):
        self.left = batch

    def __call__(self, loss: float) -> None:
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGINT)


THREE = Config(epochs=3, batch_size=20)


def train(out, config=THREE, **options):
    torch.manual_seed(0)
    model = MLP(64, 10)
    return model, fit_in_cell(model, classification(), SET, SET, config, out, progress=False, **options)


@pytest.mark.parametrize("batch, epochs", [(1, 0), (3, 0), (4, 1), (8, 2), (9, 2)])
def test_an_interrupt_ends_the_cell_and_says_how_far_it_came(tmp_path, batch, epochs):
    with pytest.raises(Stopped, match=f"^stopped after {epochs} of 3 epochs; run this cell again"):
        train(tmp_path, on_batch=InterruptAt(batch))
    resumed, history = train(tmp_path, resume=True)
    whole, expected = train(tmp_path / "whole")
    assert [row["val_loss"] for row in history] == [row["val_loss"] for row in expected]
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_a_training_by_the_clock_says_how_many_minutes(tmp_path):
    with pytest.raises(Stopped, match=r"stopped after 0\.0 of 5 minutes"):
        train(tmp_path, Config(batch_size=20, minutes=5), on_batch=InterruptAt(7))


def test_a_training_by_the_clock_that_ends_by_itself_is_whole(tmp_path):
    _, history = train(tmp_path, Config(batch_size=20, minutes=0.005))
    assert history


@pytest.mark.parametrize("config, length", [(THREE, "3 epochs"), (replace(THREE, minutes=0.005), "0.005 minutes")])
def test_the_first_line_gives_no_result_away(tmp_path, config, length, capsys):
    fit_in_cell(MLP(64, 10), classification(), SET, SET, config, tmp_path)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"training on 60 examples for {length}" and "val_accuracy" in second


def test_a_notebook_shows_one_line(tmp_path, capsys):
    shell = InteractiveShell()
    shell.user_ns["train"] = lambda: train(tmp_path, on_batch=InterruptAt(2))
    assert isinstance(shell.run_cell("train()").error_in_exec, Stopped)
    assert capsys.readouterr().out.strip().startswith("stopped after 0 of 3 epochs")
