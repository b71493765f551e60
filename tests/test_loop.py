"""The training loop: it learns, it resumes exactly, it stops gracefully, it runs on two processes."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toys import toy_set

from flcourse.data.epoch_dataset import EpochDataset
from flcourse.errors import CourseError
from flcourse.training import devices, session, threads
from flcourse.training import loop as train
from flcourse.training.config import Config, epoch_batches
from flcourse.training.devices import Device, choose_device, memory_format
from flcourse.training.loop import evaluate, fit
from flcourse.training.losses import Task, classification

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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminal to watch the bar on")
def test_killed_in_mid_epoch_and_resumed_gives_the_same_weights(xml, whole_training, tmp_path):
    """SIGKILL: no handler runs, nothing is tidied up."""
    import termios

    seen_by, terminal = os.openpty()  # bars are drawn on terminals only
    termios.tcsetwinsize(terminal, (24, 100))
    process = subprocess.Popen(command(xml, tmp_path), stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    seen = ""
    while (
        "epoch 3/3" not in seen or "/10" not in seen.rsplit("epoch 3/3", 1)[1]
    ):  # the bar of the third epoch's batches
        try:
            seen += os.read(seen_by, 1).decode(errors="replace")
        except OSError:  # the other end is closed
            pytest.fail(f"ended before its third epoch: {seen}")
    process.kill()
    process.wait()
    os.close(seen_by)
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


# --- by the clock


class Machine:
    """A clock that goes on with every batch, trained on or evaluated: a machine of known speed."""

    def __init__(self, seconds_a_batch: float) -> None:
        self.now, self.seconds_a_batch, self.batches = 0.0, seconds_a_batch, 0

    def monotonic(self) -> float:
        return self.now

    def task(self) -> Task:
        def loss(output, target):
            self.now += self.seconds_a_batch
            self.batches += 1
            return TASK.loss(output, target)

        return TASK._replace(loss=loss)


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(1.0)
    monkeypatch.setattr(session, "time", machine)
    monkeypatch.setattr(train, "time", machine)
    return machine


MINUTE = Config(batch_size=16, lr=0.02, schedule="one_cycle", ema=0.9, minutes=1)  # 12 steps an epoch, 7 an evaluation


def timed(machine, out=None, config=MINUTE, **options) -> tuple[nn.Module, list[dict]]:
    model = network()
    return model, fit(model, machine.task(), TRAIN, VAL, config, out, progress=False, **options)


@pytest.mark.parametrize("minutes", [0.3, 0.5, 0.8, 1, 1.7, 3])
def test_the_minutes_given_are_used(machine, minutes):
    _, history = timed(machine, config=replace(MINUTE, minutes=minutes))
    assert 60 * minutes - 1.25 * 7 <= machine.now <= 60 * minutes + 2  # but for what no second evaluation fits into
    assert history[-1]["lr"] < 0.4 * MINUTE.lr  # the schedule came to its end, or nearly


def test_in_no_time_there_is_one_step_and_its_evaluation(machine):
    _, history = timed(machine, config=replace(MINUTE, minutes=0.01))
    assert len(history) == 1 and machine.batches == 3 + 1 + 7


def test_when_the_time_is_up_the_progress_bar_is_full(machine, monkeypatch):
    """A notebook's bar that is closed before stays on the page, red."""
    closed = []

    class Bar(train.tqdm):
        def close(self):
            closed.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(train, "tqdm", Bar)
    fit(network(), machine.task(), TRAIN, VAL, replace(MINUTE, minutes=0.01))
    assert closed and all(n == total for n, total in closed)


@pytest.mark.parametrize("slower", [2, 5, 20])
def test_a_machine_that_becomes_busy_costs_steps_not_minutes(machine, slower):
    def becomes_busy(loss):
        if machine.now > 15:
            machine.seconds_a_batch = slower

    _, history = timed(machine, config=replace(MINUTE, minutes=5), on_batch=becomes_busy)
    assert machine.now < 300 * 4 / 3 and (slower > 5 or machine.now > 300 * 2 / 3)
    assert history[-1]["lr"] < 0.1 * MINUTE.lr


def test_a_machine_that_becomes_idle_makes_more_steps(machine):
    def becomes_idle(loss):
        if machine.now > 15:
            machine.seconds_a_batch = 0.1

    timed(machine, on_batch=becomes_idle)
    assert machine.now == pytest.approx(60, abs=2) and machine.batches > 300


@pytest.mark.parametrize("batches", [1, 12, 17, 30])
def test_stopped_and_resumed_by_the_clock_equals_never_stopped(machine, tmp_path, batches):
    whole, history = timed(machine, tmp_path / "whole")
    machine.now = 0
    left = iter(range(batches - 1))
    timed(machine, tmp_path / "parts", stop=lambda: next(left, None) is None)
    machine.now += 1000  # the pause does not count
    again, history_again = timed(machine, tmp_path / "parts", resume=True)
    assert same(whole.state_dict(), again.state_dict())
    assert history == history_again
    _, over = timed(machine, tmp_path / "parts", resume=True)  # what is over stays over
    assert over == history


def test_minutes_are_checked():
    for minutes in (0, -1, float("nan"), float("inf")):
        with pytest.raises(CourseError, match=r"minutes=.*expected more than 0"):
            Config(minutes=minutes)
    with pytest.raises(CourseError, match="give epochs under torchrun"):
        fit(network(), TASK, TRAIN, VAL, MINUTE, device=Device(torch.device("cpu"), 0, 2))


def test_a_batch_must_reach_round_all_processes():
    for batch_size, processes in ((2, 3), (10_000, len(TRAIN) + 1)):
        config = Config(epochs=1, batch_size=batch_size)
        with pytest.raises(CourseError, match=f"too small for {processes} processes"):
            fit(network(), TASK, TRAIN, VAL, config, device=Device(torch.device("cpu"), 0, processes))


def test_a_stray_rank_is_not_torchruns(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):  # as batch systems set them
        monkeypatch.setenv(name, "3")
    with choose_device("cpu") as device:
        assert device == Device(torch.device("cpu"))


@pytest.mark.parametrize("name", ["cpu:1", "cpu:x", "cuda:99", "tpu", "cuda:-1", "mps:7", ":", "cpu:²"])
def test_devices_that_are_not_there(name):
    with pytest.raises(CourseError, match="not on this machine, expected"), choose_device(name):
        pass


def test_one_cycle_is_pytorchs():
    steps = 1000
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps + 1, pct_start=0.101)
    config = Config(lr=0.02, schedule="one_cycle")
    for step in range(steps):
        assert config.rate(step / steps) == pytest.approx(optimizer.param_groups[0]["lr"], rel=0.02, abs=1e-6)
        optimizer.step()
        oracle.step()


# --- what ends a training, and what does not


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither signal")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_signals_keep_a_checkpoint_and_the_handlers_of_others(tmp_path, number):
    number = getattr(signal, number)
    others = signal.getsignal(number)

    signals = iter([number])  # at the first batch, and never again

    def on_batch(loss):
        for once in signals:
            os.kill(os.getpid(), once)

    _, history = run(tmp_path, on_batch=on_batch)
    assert history == [] and torch.load(tmp_path / "last.pt", weights_only=True)["batch"] == 1
    assert signal.getsignal(number) == others
    whole, _ = run()
    again, _ = run(tmp_path, resume=True)
    assert same(whole.state_dict(), again.state_dict())


def test_two_trainings_in_one_folder_are_one_too_many(tmp_path):
    refused = []

    def second(loss):
        if not refused:
            with pytest.raises(CourseError, match="another training is writing there") as caught:
                run(tmp_path)
            refused.append(str(caught.value))

    _, history = run(tmp_path, on_batch=second)
    assert len(history) == CONFIG.epochs and str(tmp_path) in refused[0] and "\n" not in refused[0]
    run(tmp_path)  # and afterwards it is free


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match=r"file.*expected a folder to write a training to"):
        run(tmp_path / "file")


def test_held_out_figures_that_are_no_numbers_end_the_training_too(tmp_path):
    for bad in (torch.nan, torch.inf):
        measures = lambda o, t, bad=bad: {"accuracy": torch.full((len(o),), bad)}  # noqa: E731
        with pytest.raises(CourseError, match=f"epoch 1: the held-out examples' accuracy is {bad}"):
            fit(network(), TASK._replace(measures=measures), TRAIN, VAL, CONFIG, tmp_path, progress=False)

    def loss(output, target):
        return TASK.loss(output, target) * (1 if output.requires_grad else torch.nan)

    with pytest.raises(CourseError, match="epoch 1: the held-out examples' loss is nan; lower the learning rate"):
        fit(network(), TASK._replace(loss=loss), TRAIN, VAL, CONFIG, tmp_path, progress=False)


# --- what the machine has


@pytest.mark.parametrize("features, faster", [({"amx_bf16"}, True), ({"avx512_bf16"}, True), ({"avx512_f"}, False)])
def test_half_precision_where_the_cpu_multiplies_in_it(monkeypatch, tmp_path, features, faster):
    told = {name: name in features for name in ("amx_bf16", "avx512_bf16", "avx512_f")} | {"cpu_name": "avx512_bf16"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    devices.cpu_features.cache_clear()
    assert CPU.bfloat16 == faster
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in PyTorch 2.6 to 2.9: Linux is asked
    devices.cpu_features.cache_clear()
    monkeypatch.setattr(devices, "CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags\t\t: fpu {' '.join(features)} sse2\n")
    assert CPU.bfloat16 == faster
    monkeypatch.undo()
    devices.cpu_features.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is PyTorch's on Linux")
@pytest.mark.parametrize("user, expected", [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_wait_without_hogging_the_cpu(user, expected):
    """OpenMP itself says what it read; torch is imported after flcourse, as every program of ours does."""
    environment = {**os.environ, **user, "OMP_DISPLAY_ENV": "VERBOSE"}
    if not user:
        environment.pop("GOMP_SPINCOUNT", None)
    code = "import flcourse.training.loop, sys; sys.exit('libgomp' not in open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, "PyTorch here has no GNU OpenMP"
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Timed(nn.Linear):
    """Notes the number of threads of every training step, and takes `seconds(threads)` for a pass."""

    def __init__(self, seconds=lambda threads: 0.0):
        super().__init__(64, 2)
        self.seen, self.seconds = [], seconds

    def forward(self, values):
        if self.training:
            self.seen.append(torch.get_num_threads())
        time.sleep(self.seconds(torch.get_num_threads()))
        return super().forward(values)


EXAMPLES = [(torch.randn(64), torch.tensor(i % 2)) for i in range(64)]


def test_small_networks_train_on_one_thread(two_threads):
    """Two threads hardly help a small network; the thread count is the caller's again afterwards."""
    model = Timed()
    fit(model, TASK, EXAMPLES, EXAMPLES[:2], Config(epochs=1, batch_size=8), progress=False)
    assert set(model.seen) == {1} and torch.get_num_threads() == 2
    with pytest.raises(CourseError, match="lower the learning rate"):
        broken = [(torch.full((64,), torch.nan), torch.tensor(0))] * 8
        fit(Timed(), TASK, broken, broken, Config(epochs=1, batch_size=8), progress=False)
    assert torch.get_num_threads() == 2


def test_a_busy_machine_leaves_a_training_one_thread_until_it_is_idle_again(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 0)
    for name in ("EVERY", "RARELY"):  # so that it compares after every step
        monkeypatch.setattr(threads, name, 0)
    busy = {"now": False}

    def seconds(threads):  # two threads share the work, and wait for each other while other programs run
        return 0.02 if threads == 1 else 0.1 if busy["now"] else 0.01

    steps = []

    def on_batch(loss):
        steps.append(loss)
        busy["now"] = 3 <= len(steps) < 6

    model = Timed(seconds)
    fit(model, TASK, EXAMPLES, EXAMPLES[:2], Config(epochs=1, batch_size=8), on_batch=on_batch, progress=False)
    assert model.seen == [2, 2, 2, 1, 1, 1, 2, 2] and torch.get_num_threads() == 2


def test_looking_for_threads_changes_nothing_of_a_training(two_threads, tmp_path, monkeypatch):
    """Batch norm's averages, dropout and weights are those of a training that never compares."""
    weights = []
    for name, small in (("never", math.inf), ("always", 0)):
        monkeypatch.setattr(threads, "SMALL", small)
        for name in ("EVERY", "RARELY"):
            monkeypatch.setattr(threads, name, 0)
        monkeypatch.setattr(threads, "WAITING", 0)  # so that one thread is taken, as where it never compares
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 2))
        fit(model, TASK, EXAMPLES, EXAMPLES[:8], Config(epochs=2, batch_size=8), tmp_path / name, progress=False)
        weights.append(model.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(*(w.values() for w in weights), strict=True))
