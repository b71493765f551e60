"""The training loop: it learns, it resumes exactly, it stops gracefully, it runs on two processes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toys import toy_set

from flcourse.data.epoch_dataset import EpochDataset
from flcourse.errors import CourseError
from flcourse.training import loop as train
from flcourse.training.devices import Device, memory_format
from flcourse.training.loop import Config, epoch_batches, epochs_in, evaluate, fit
from flcourse.training.losses import classification

TASK = classification()
CPU = Device(torch.device("cpu"))


def two_moons(n: int, seed: int) -> torch.utils.data.TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    angle = torch.pi * torch.rand(n, generator=generator)
    classes = torch.arange(n) % 2
    sign = 1 - 2 * classes
    points = torch.stack([sign * angle.cos() + classes, sign * angle.sin() + 0.4 * classes], dim=1)
    return torch.utils.data.TensorDataset(points + 0.1 * torch.randn(n, 2, generator=generator), classes)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.1), nn.BatchNorm1d(16), nn.Linear(16, 2))


TRAIN, VAL = two_moons(200, 0), two_moons(100, 1)
CONFIG = Config(epochs=10, batch_size=16, optimizer="adamw", lr=0.02, schedule="one_cycle", ema=0.9)


def run(out=None, config=CONFIG, **options) -> tuple[nn.Module, list[dict]]:
    model = network()
    return model, fit(model, TASK, TRAIN, VAL, config, out, progress=False, **options)


def test_it_learns_and_writes_what_it_says(tmp_path):
    model, history = run(tmp_path)
    assert len(history) == CONFIG.epochs
    assert history[-1]["val_accuracy"] > 92  # a straight line gets 88
    assert history[-1]["val_loss"] < history[0]["val_loss"] / 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "history.csv", "history.json", "last.pt"]
    assert json.loads((tmp_path / "history.json").read_text()) == history
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [float(r["val_loss"]) for r in rows] == [r["val_loss"] for r in history]
    # The model holds the average's weights, and the history's last row is theirs.
    assert evaluate(model, TASK, VAL, 16, CPU.device)["loss"] == pytest.approx(history[-1]["val_loss"])


def test_best_is_the_best(tmp_path):
    _, history = run(tmp_path, Config(epochs=8, batch_size=16, lr=0.3))  # jumps about
    model = network()
    model.load_state_dict(load_file(tmp_path / "best.safetensors"))
    best = max(row["val_accuracy"] for row in history)
    assert evaluate(model, TASK, VAL, 16, CPU.device)["accuracy"] == pytest.approx(best)


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("batches", [1, 12, 17, 100])  # within epochs of 12 batches, and at their end
def test_stopped_and_resumed_equals_never_stopped(tmp_path, batches):
    whole, history = run(tmp_path / "whole")
    left = iter(range(batches - 1))
    run(tmp_path / "parts", stop=lambda: next(left, None) is None)
    again, history_again = run(tmp_path / "parts", resume=True)
    assert same(whole.state_dict(), again.state_dict())
    figures = [[{k: v for k, v in row.items() if k != "seconds"} for row in h] for h in (history, history_again)]
    assert figures[0] == figures[1]
    for name in ("best.safetensors",):
        assert same(load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name))


class Counted(EpochDataset):
    """TRAIN, shaken anew in every epoch; counts how often it is sent to a worker."""

    sent = 0

    def item(self, epoch, index):
        point, label = TRAIN[index]
        noise = torch.randn(2, generator=torch.Generator().manual_seed(1000 * epoch + index))
        return point + 0.05 * noise, label

    def __len__(self):
        return len(TRAIN)

    def __getstate__(self):
        Counted.sent += 1
        return self.__dict__


@pytest.fixture
def spawned_workers():
    """Workers start as on macOS, Windows and Python 3.14: anew, with what they need sent to them."""
    before = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method("spawn", force=True)
    yield
    torch.multiprocessing.set_start_method(before, force=True)


def test_spawned_workers_are_sent_the_data_once_and_change_nothing(spawned_workers, tmp_path):
    def trained(out, **options):
        model = network()
        fit(model, TASK, Counted(), VAL, Config(epochs=3, batch_size=50), out, progress=False, **options)
        return model.state_dict()

    alone = trained(tmp_path / "alone")
    assert Counted.sent == 0
    assert same(alone, trained(tmp_path / "together", workers=2))
    assert Counted.sent == 2  # once to each worker, for all three epochs
    left = iter(range(5))
    trained(tmp_path / "parts", stop=lambda: next(left, None) is None)  # in the middle of the second epoch
    assert same(alone, trained(tmp_path / "parts", workers=1, resume=True))


def test_datasets_without_epochs_are_asked_for_plain_indices():
    plain = [(point, label) for point, label in TRAIN]  # a list is a map-style dataset
    models = network(), network()
    for model, dataset in zip(models, (TRAIN, plain), strict=True):
        fit(model, TASK, dataset, VAL, Config(epochs=2, batch_size=16), progress=False)
    assert same(models[0].state_dict(), models[1].state_dict())


def test_channels_last_only_where_it_is_right():
    for kind, channels_last in (("cpu", True), ("cuda", True), ("mps", False)):
        assert (memory_format(torch.device(kind)) == torch.channels_last) == channels_last


def test_resume_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(CourseError, match=r"last\.pt: no checkpoint to resume from"):
        run(tmp_path, resume=True)
    run(tmp_path, stop=lambda: True)
    with pytest.raises(CourseError, match=r"trained with lr=0\.02, now lr=0\.5"):
        run(tmp_path, Config(**{**CONFIG.__dict__, "lr": 0.5}), resume=True)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CourseError, match="truncated, or not a checkpoint"):
        run(tmp_path, resume=True)


def test_a_loss_that_is_no_number_ends_the_training():
    with pytest.raises(CourseError, match="the loss is nan; lower the learning rate"):
        fit(network(), TASK._replace(loss=lambda o, t: o.sum() * torch.nan), TRAIN, VAL, CONFIG, progress=False)


def test_batches_are_shared_out_without_overlap():
    config = Config(batch_size=8, seed=5)
    whole = epoch_batches(50, config, epoch=2)
    parts = [epoch_batches(50, config, epoch=2, rank=r, world=2) for r in range(2)]
    assert len(whole) == 6 and all(len(b) == 8 for b in whole)
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(b) for b in whole]
    assert len({i for b in whole for i in b}) == 48
    assert whole != epoch_batches(50, config, epoch=3)
    assert epoch_batches(5, config, epoch=0) != [] and len(epoch_batches(5, config, epoch=0)[0]) == 5


# --- the command line, on toy faces, in processes of its own


def command(xml, out, *more: str) -> list[str]:
    size = ["--width", "0.05", "--size", "48", "--batch-size", "8", "--epochs", "3", "--device", "cpu"]
    return [sys.executable, "-m", "flcourse", "train", "--data", str(xml), "--out", str(out), *size, *more]


@pytest.fixture(scope="module")
def xml(tmp_path_factory):
    return toy_set(tmp_path_factory.mktemp("toys"), 90)


@pytest.fixture(scope="module")
def whole_training(xml, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(xml, out), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_command_trains_and_draws(whole_training):
    out, text = whole_training
    names = sorted(p.name for p in out.iterdir())
    assert names == ["best.safetensors", "curves.png", "history.csv", "history.json", "last.pt"]
    assert "best epoch" in text and str(out / "curves.png") in text


def test_killed_in_mid_epoch_and_resumed_gives_the_same_weights(xml, whole_training, tmp_path):
    """SIGKILL: no handler runs, nothing is tidied up."""
    process = subprocess.Popen(
        command(xml, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    seen = ""
    while (
        "epoch 3/3" not in seen or "/10" not in seen.rsplit("epoch 3/3", 1)[1]
    ):  # the bar of the third epoch's batches
        letter = process.stderr.read(1)
        assert letter, f"ended before its third epoch: {seen}"
        seen += letter
    process.kill()
    process.wait()
    assert not (tmp_path / "history.csv").read_text().count("\n") == 4  # it did not finish
    done = subprocess.run(command(xml, tmp_path, "--resume"), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in ("best.safetensors",):
        assert same(load_file(tmp_path / name), load_file(whole_training[0] / name))
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (tmp_path, whole_training[0])]
    assert same(states[0]["model"], states[1]["model"]) and same(states[0]["ema"], states[1]["ema"])
    assert not list(tmp_path.glob(".*"))  # no half-written file is left


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one child process")
def test_ctrl_c_keeps_a_checkpoint(xml, tmp_path):
    process = subprocess.Popen(
        [*command(xml, tmp_path), "--epochs", "500"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "--resume" in text
    assert (tmp_path / "last.pt").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo rendezvous does not run on Windows")
def test_two_processes_write_one_set_of_files(xml, tmp_path):
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "flcourse",
    ]
    arguments = [*command(xml, tmp_path)[3:], "--epochs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *arguments], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["best.safetensors", "curves.png", "history.csv", "history.json", "last.pt"]
    assert done.stdout.count("best epoch") == 1  # one process speaks
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["world"] == 2 and len(state["history"]) == 1


@pytest.mark.parametrize("optimizer, lr", [("adam", 0.02), ("adamw", 0.02), ("sgd", 0.1)])
def test_every_optimizer_learns(optimizer, lr):
    _, history = run(config=Config(epochs=5, batch_size=16, optimizer=optimizer, lr=lr))
    assert history[-1]["val_accuracy"] > 85


def test_label_smoothing_wants_less_certainty():
    logits, right = torch.tensor([[20.0, 0.0, 0.0]]), torch.tensor([0])
    assert classification().loss(logits, right) < 1e-6 < 1 < classification(label_smoothing=0.1).loss(logits, right)
    assert classification().measures(logits, right)["accuracy"].tolist() == [100]


def test_epochs_in_counts_steps_and_evaluation_and_leaves_the_model_alone(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(train.time, "perf_counter", lambda: next(ticks))  # every batch takes a second, so does a look
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = Config(batch_size=16)  # 12 steps an epoch; 64 of 100 validation examples are looked at in a second
    assert epochs_in(60, model, TASK, TRAIN, VAL, config, CPU) == int(60 / (12 + 100 / 64)) == 4
    assert epochs_in(0, model, TASK, TRAIN, VAL, config, CPU) == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
