"""The training that a notebook shows, and the images of networks."""

import _thread
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from toys import toy_set

from flcourse.data.imglab import read_imglab
from flcourse.errors import CourseError
from flcourse.show import training as module
from flcourse.show.networks import flows_figure, map_overlays
from flcourse.show.plot import error_curve, gallery, to_png, training_curves
from flcourse.show.training import LiveTraining, live_figure
from flcourse.training.checkpoints import load_network
from flcourse.training.heatmaps import RING
from flcourse.training.recipes import RECIPES
from flcourse.training.xception import Xception

RECIPE = replace(
    RECIPES["course"], size=48, width=0.05, config=replace(RECIPES["course"].config, epochs=2, batch_size=8)
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return read_imglab(toy_set(tmp_path_factory.mktemp("toys"), 40))


def test_it_trains_shows_and_gives_the_best_network(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0.0)
    training = LiveTraining(faces, RECIPE, tmp_path)
    network, history = training.result()
    assert len(history) == 2
    best, _ = load_network(tmp_path / "best.safetensors")
    for name, value in best.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    assert training.status.value == "done"
    assert training.progress.value == 1
    assert training.button.disabled
    assert bytes(training.image.value).startswith(b"\x89PNG")
    left, right = training.figure.axes
    drawn = left.lines[0].get_xdata()
    assert len(drawn) == len(training.losses) == 8  # 40 faces, 4 or so held out, batches of 8: four an epoch
    assert drawn[0] == 1
    assert drawn[-1] < 3
    assert right.lines[0].get_ydata() == pytest.approx([row["val_nme"] for row in history])
    assert "application/vnd.jupyter.widget-view+json" in training._repr_mimebundle_()


def test_stop_keeps_the_checkpoint_and_resume_goes_on(faces, tmp_path, monkeypatch):
    recipe = replace(RECIPE, config=replace(RECIPE.config, epochs=3))
    through, _ = LiveTraining(faces, recipe, tmp_path / "through").result()

    def stop_in_second_epoch(self, loss):
        self.losses.append(loss)
        if len(self.losses) == 6:
            self.button.click()  # as the learner does

    with monkeypatch.context() as patched:
        patched.setattr(LiveTraining, "_on_batch", stop_in_second_epoch)
        stopped = LiveTraining(faces, recipe, tmp_path / "stopped")
        _, history = stopped.result()
    assert len(history) == 1
    assert "kept" in stopped.status.value
    resumed = LiveTraining(faces, recipe, tmp_path / "stopped", resume=True)
    network, history = resumed.result()
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert resumed.figure.axes[0].lines[0].get_xdata()[0] == pytest.approx(2.5)  # six of four batches an epoch
    for name, value in through.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_by_the_clock_it_says_the_minutes_and_stops_and_goes_on(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REDRAW_SECONDS", 0.0)
    recipe = replace(RECIPE, config=replace(RECIPE.config, minutes=1.0))
    said = []

    def stop_soon(self, loss):
        on_batch(self, loss)
        said.append(self.status.value)
        if len(self.losses) == 3:
            self.button.click()

    on_batch = LiveTraining._on_batch
    with monkeypatch.context() as patched:
        patched.setattr(LiveTraining, "_on_batch", stop_soon)
        stopped = LiveTraining(faces, recipe, tmp_path)
        stopped._thread.join()
    assert "minute 0.0 of 1" in said[0] and "kept" in stopped.status.value and stopped.progress.value < 1
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save(state | {"spent": 57.0}, tmp_path / "last.pt")  # as if it had had so much of its minute
    resumed = LiveTraining(faces, recipe, tmp_path, resume=True)
    _, history = resumed.result()
    assert history and resumed.status.value == "done" and resumed.progress.value == 1
    resumed.figure.savefig(tmp_path / "curves.png")


def test_what_goes_wrong_is_told_and_raised(faces, tmp_path):
    with pytest.raises(CourseError, match="expected a checkpoint"):
        LiveTraining(faces, RECIPE, tmp_path / "nothing", resume=True)
    training = LiveTraining(faces, RECIPE, tmp_path / "other", start=Xception(width=0.1))
    with pytest.raises(CourseError, match="first weights are not of this network"):
        training.result()
    assert training.status.value.startswith("CourseError: the first weights")


def test_stopped_before_the_first_epoch_there_is_a_network_and_it_goes_on(faces, tmp_path):
    early = LiveTraining(faces, RECIPE, tmp_path)
    early.stop()
    network, history = early.result()
    assert len(early.losses) == 1 and "after 0 epochs" in early.status.value
    [row] = history
    assert row["epoch"] == 0 and row["val_nme"] > 0 and network(torch.zeros(1, 1, 48, 48)).points01.shape == (1, 68, 2)
    to_png(early.figure)
    later = LiveTraining(faces, RECIPE, tmp_path)  # run again, the cell goes on by itself
    _, history = later.result()
    assert later.out == tmp_path and not later.note
    assert [row["epoch"] for row in history] == [1, 2] and len(later.losses) == 7  # of two epochs of four batches


def test_a_cell_run_again_while_it_trains_stops_that_training_and_goes_on(faces, tmp_path):
    endless = replace(RECIPE, config=replace(RECIPE.config, epochs=10**5))
    first = LiveTraining(faces, endless, tmp_path / "mine")
    while not first.losses:
        time.sleep(0.05)
    second = LiveTraining(faces, endless, tmp_path / "mine")
    assert first._ended.is_set() and "the checkpoint is kept" in first.status.value
    second.stop()
    second.result()  # and does not raise that another training is writing there
    assert second.out == tmp_path / "mine" and second.status.value.startswith("stopped")
    done = first.status.value
    first.stop()  # too late: it does not say for ever that it is stopping
    assert first.status.value == done


def test_other_settings_go_to_a_folder_of_their_own(faces, tmp_path):
    out = tmp_path / "mine"
    short = replace(RECIPE, config=replace(RECIPE.config, epochs=1))
    LiveTraining(faces, short, out).result()
    longer = LiveTraining(faces, RECIPE, out)
    _, history = longer.result()
    assert longer.out == tmp_path / "mine-2" and len(history) == 2
    assert longer.note == "'mine' was trained with epochs=1, now epochs=2; this one begins as 'mine-2'"
    wider = LiveTraining(faces, replace(RECIPE, width=0.08), out)
    wider.result()
    assert wider.out == tmp_path / "mine-3" and wider.note.endswith("begins as 'mine-3'")
    again = LiveTraining(faces, RECIPE, out)  # what is done stays done, and is found again
    _, same = again.result()
    assert again.out == tmp_path / "mine-2" and same == history and again.losses == []
    assert again.note.endswith("goes on as 'mine-2'") and again.status.value == "done"
    before = again.figure.axes[0].lines[-1]  # no batch of this session, but the epochs of the one before
    assert before.get_ydata() == pytest.approx([row["train_loss"] for row in history])
    (out / "last.pt").write_bytes(b"torn")
    assert LiveTraining(faces, short, out).out == tmp_path / "mine-4"


def test_an_interrupt_while_waiting_stops_as_the_button_does(faces, tmp_path):
    recipe = replace(RECIPE, config=replace(RECIPE.config, epochs=50))
    training = LiveTraining(faces, recipe, tmp_path)

    def interrupt():  # as Jupyter's button does, in the thread that waits
        while not training.history:
            time.sleep(0.05)
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    _, history = training.result()
    assert 1 <= len(history) < 50
    assert training.status.value.startswith("stopped after")  # and does not go on unseen
    assert time.monotonic() - started < 120
    assert (tmp_path / "last.pt").exists()


@pytest.mark.parametrize("head, said", [("heatmap", "68 × 8 × 8"), ("regression", "68 points")])
def test_flows_are_drawn_with_the_networks_own_sizes(head, said):
    network = Xception(width=0.1, head=head)
    figure = flows_figure(network, 48)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any(said in text for text in texts)
    assert any("8 middle" in text for text in texts)
    assert any("lateral link" in text for text in texts) == (head == "heatmap")
    millions = [float(text.split("\n")[1].split()[0]) for text in texts if text.endswith(" M")]
    assert sum(millions) == pytest.approx(sum(p.numel() for p in network.parameters()) / 1e6, abs=0.04)
    with torch.inference_mode():
        stride16, *_ = network.entry(torch.zeros(1, 1, 48, 48))
    assert any(f"{stride16.shape[1]} × 3 × 3" in text for text in texts)
    to_png(figure)


def test_maps_are_bright_where_they_are_high():
    ring = RING
    logits = torch.full((68, 14 + 2 * ring, 14 + 2 * ring), -9.0)
    logits[30, 3 + ring, 9 + ring] = 9
    crop = np.full((112, 112, 3), 100, np.uint8)
    [image] = map_overlays(crop, logits, [30])
    y, x = np.unravel_index(image[..., 0].argmax(), (112, 112))
    assert abs(x - (9.5 * 8 - 0.5)) <= 4
    assert abs(y - (3.5 * 8 - 0.5)) <= 4
    assert image[100, 10].tolist() == [75, 75, 75]


def test_a_map_that_marks_nothing_leaves_the_crop_as_it_is():
    """Before training; it used to be the brightest of all, and hid the face."""
    side = 14 + 2 * RING
    logits = torch.normal(0.0, 0.01, (68, side, side), generator=torch.manual_seed(0))
    crop = np.full((112, 112, 3), 100, np.uint8)
    [image] = map_overlays(crop, logits, [30])
    assert np.abs(image.astype(int) - 75).max() < 15


def test_a_training_of_two_batches_is_drawn_legibly():
    row = {"epoch": 1, "train_loss": 0.2257, "val_nme": 68.0}
    figure = live_figure(np.array([1, 1.25]), [0.2224, 0.2291], [row], None)
    to_png(figure)
    left = figure.axes[0]
    for ax in figure.axes:  # no 1.02, 1.08 and so on below "epoch"
        assert all(float(tick.get_text()) == int(float(tick.get_text())) for tick in ax.get_xticklabels())
    labels = {tick.get_text() for which in ("major", "minor") for tick in left.get_yticklabels(which=which)}
    assert "0.225" in labels and not any("times" in text for text in labels)
    assert all(len(line.get_xdata()) > 1 for line in left.get_lines() if line.get_label().startswith("mean of 2"))


@pytest.mark.parametrize("names", [1, 4, 5, 16])
def test_every_error_curve_is_drawn_and_looks_different(names):
    errors = {f"network {i}": np.linspace(0, 10 + i, 50) for i in range(names)}
    lines = error_curve(errors).axes[0].get_lines()
    assert [line.get_label().partition(":")[0] for line in lines] == list(errors)
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == names


@pytest.mark.parametrize("low, high", [(2.28, 2.292), (0.2, 0.8), (0.0009, 0.14), (2.5, 7), (0.5, 0.5)])
def test_losses_are_read_as_plain_numbers(low, high):
    values = np.linspace(high, low, 4)
    rows = [
        {"epoch": n, "train_loss": v, "val_loss": v, "train_accuracy": 50, "val_accuracy": 50}
        for n, v in enumerate(values, 1)
    ]
    figure = training_curves(rows)
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    bottom, top = axis.get_view_interval()
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    labels = [tick.label1.get_text() for tick in ticks if bottom <= tick.get_loc() <= top]
    shown = [float(label) for label in labels if label]  # fails on powers of ten
    assert 2 <= len(shown) <= 12 and all(bottom <= value <= top for value in shown), labels


@pytest.mark.parametrize("title", ["", "Eight"])
@pytest.mark.parametrize("names", ["one line", "one line\nand another"])
def test_titles_of_a_gallery_keep_off_its_edge(title, names):
    png = gallery([np.zeros((8, 8))] * 4, [names] * 4, columns=4, size=2, title=title)._repr_png_()
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.flatnonzero((image < 200).any(axis=1))[0] >= 3
