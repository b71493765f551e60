"""Recipes, losses, and networks on disk."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import template, toy_set

import flcourse.weights
from flcourse import metrics
from flcourse.apps.cli import main
from flcourse.data.augment import Augment
from flcourse.data.face_dataset import FaceDataset
from flcourse.data.imglab import read_imglab
from flcourse.errors import CourseError
from flcourse.points import CROP_SCALE, Box, crop_matrix, move_points, to01
from flcourse.training.checkpoints import load_network, pack_weights, read_checkpoint
from flcourse.training.config import Config
from flcourse.training.heatmaps import RING, Landmarks, cell_centres, soft_argmax
from flcourse.training.loop import evaluate
from flcourse.training.losses import LOSSES, WING_CURVE, WING_WIDTH, Task, measure_points, wing_loss
from flcourse.training.recipes import RECIPES, get_recipe, train_landmarks
from flcourse.training.xception import Xception

RECIPE = replace(
    RECIPES["course"], size=48, width=0.05, config=replace(RECIPES["course"].config, epochs=1, batch_size=8)
)


def test_the_original_recipe_is_the_originals():
    recipe = get_recipe("original")
    loop = recipe.config
    assert (recipe.size, recipe.width, recipe.head, recipe.loss) == (299, 1.0, "regression", "mse")
    assert (loop.optimizer, loop.lr, loop.batch_size, loop.epochs) == ("adam", 7.5e-4, 32, 30)
    jitter = Augment(mirror=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    assert recipe.augment == jitter
    with pytest.raises(CourseError, match="unknown recipe 'orginal', expected one of original, course, finish"):
        get_recipe("orginal")


def outputs(seed: int) -> tuple[Landmarks, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 68, 9, 9, generator=generator)
    return Landmarks(soft_argmax(logits, 1), logits), torch.rand(3, 68, 2, generator=generator) * 1.6 - 0.3


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_least_at_the_truth(name):
    output, points01 = outputs(0)
    truth = Landmarks(points01.clone().requires_grad_(), output.logits)
    at_truth = LOSSES[name](truth, points01)
    assert at_truth < LOSSES[name](truth._replace(points01=points01 + 0.05), points01)
    at_truth.backward()
    assert truth.points01.grad.abs().max() == 0


def test_wing_is_smooth_where_its_halves_meet_and_as_the_paper_has_it():
    error = torch.linspace(-0.1, 0.1, 2001, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    values = torch.stack([wing_loss(Landmarks(e, None), zero) for e in error])
    [slope] = torch.autograd.grad(values.sum(), error)
    size = error.detach().abs()
    far = size > WING_WIDTH + 1e-9
    assert torch.allclose(slope.abs()[far], torch.ones(1, dtype=torch.float64))  # L1
    near = (size < WING_WIDTH - 1e-9) & (size > 1e-9)
    assert torch.allclose(slope.abs()[near], WING_WIDTH / (WING_CURVE + size[near]))  # d/dx w ln(1 + x / e)
    steps = values.detach().diff().abs() / 1e-4
    assert steps.max() <= WING_WIDTH / WING_CURVE + 1e-6  # no jump


def test_heatmap_loss_written_out():
    """Point by point in NumPy: what the vectorised loss sums."""
    output, points01 = outputs(1)
    points01[0, 0] = torch.tensor([0.5, 1.3])  # beyond the ring: no map is asked for
    centres = cell_centres(9, RING, points01).numpy()
    total = 0.0
    for n in range(3):
        for p in range(68):
            d = np.abs(output.points01[n, p].numpy() - points01[n, p].numpy())
            total += np.where(d < 0.01, d**2 / 0.02, d - 0.005).mean()
            x, y = points01[n, p].numpy()
            if min(x, y) > -1 / 7 and max(x, y) < 8 / 7:
                gaussian = np.exp(-(((centres - x)[None, :] * 7) ** 2 + ((centres - y)[:, None] * 7) ** 2) / 2)
                target = gaussian / gaussian.sum()
                logits = output.logits[n, p].double().numpy()
                log_p = logits - np.log(np.exp(logits).sum())
                total += 0.02 * (target * (np.log(target) - log_p)).sum()
    assert LOSSES["heatmap"](output, points01).item() == pytest.approx(total / (3 * 68), rel=1e-4)


@settings(max_examples=20)
@given(st.floats(40, 300), st.floats(-20, 20))
def test_measures_on_crops_are_the_metrics_on_images(side, shift):
    """NME and radius measured on normalised points equal those of `metrics` on image pixels."""
    rng = np.random.default_rng(int(side))
    box = Box.around((200, 200), side)
    true = template()[None] * side + 200
    predicted = true + rng.normal(shift / 10, side / 40, true.shape)
    matrix = crop_matrix(box, 96)
    true01, predicted01 = (torch.from_numpy(to01(move_points(p, matrix), 96)) for p in (true, predicted))
    measured = measure_points(Landmarks(predicted01, None), true01)
    assert measured["nme"].numpy() == pytest.approx(metrics.nme(predicted, true))
    assert measured["accuracy"].numpy() == pytest.approx(metrics.within_radius(predicted, true, [box]))
    assert CROP_SCALE > 1.1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    faces = read_imglab(toy_set(folder, 30))
    train_landmarks(faces, RECIPE, folder / "run", progress=False)
    return folder / "run"


def test_weights_from_the_middle_of_an_epoch_state_no_error(tmp_path):
    faces, recipe = read_imglab(toy_set(tmp_path, 30)), replace(RECIPE, config=replace(RECIPE.config, epochs=2))
    batches = itertools.count()
    train_landmarks(faces, recipe, tmp_path / "run", progress=False, stop=lambda: next(batches) == 4)
    assert read_checkpoint(tmp_path / "run" / "last.pt")["batch"] > 0
    _, metadata = load_network(tmp_path / "run" / "last.pt")
    assert "figures" not in metadata and sum(metadata["faces"]) == 30


def test_checkpoint_and_weights_load_as_the_same_network(trained):
    best, metadata = load_network(trained / "best.safetensors")
    last, described = load_network(trained / "last.pt")  # one epoch: the last is the best
    assert metadata["recipe"] == described["recipe"] == RECIPE.describe() and metadata["epoch"] == 1
    assert sum(metadata["faces"]) == 30
    assert metadata["figures"] == described["figures"] and described["figures"]["val_nme"] > 0
    x = torch.randn(2, 1, 48, 48)
    with torch.inference_mode():
        assert torch.equal(best(x).points01, last(x).points01)


def test_half_weights_are_cast_on_loading(trained, tmp_path):
    network, metadata = load_network(trained / "best.safetensors")
    whole, half = (pack_weights(network, metadata, half=h) for h in (False, True))
    assert len(half) < 0.7 * len(whole)
    (tmp_path / "half.safetensors").write_bytes(half)
    again, _ = load_network(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    x = torch.randn(2, 1, 48, 48)
    with torch.inference_mode():
        assert torch.allclose(network(x).points01, again(x).points01, atol=0.01)


def test_a_training_can_start_from_given_weights(trained, tmp_path):
    start, _ = load_network(trained / "best.safetensors")
    faces = read_imglab(trained.parent / "labels.xml")
    still = replace(RECIPE, config=Config(epochs=1, batch_size=8, lr=0.0), augment=Augment())
    network, _ = train_landmarks(faces, still, tmp_path, start=start, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), network.parameters(), strict=True))


def test_few_faces_come_often_and_move_the_shipped_weights_a_little(tmp_path):
    """Three annotated faces are a training: drawn many times over, each time anew."""
    faces = read_imglab(toy_set(tmp_path, 3))
    recipe = RECIPES["few"]
    start, _ = load_network(Path(flcourse.weights.__file__).parent / f"{recipe.start}.safetensors")
    recipe = replace(recipe, draws=8, config=replace(recipe.config, epochs=1, batch_size=4))
    seen = []
    item = FaceDataset.item

    def watched(self, epoch, index):
        if self.augment == recipe.augment:
            seen.append((epoch, index))
        return item(self, epoch, index)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FaceDataset, "item", watched)
        network, history = train_landmarks(faces, recipe, tmp_path / "run", start=start, progress=False)
    assert len(seen) == len(set(seen)) == 8 and {index for _, index in seen} == {0, 1}  # the third is held out
    assert len(history) == 1 and np.isfinite(history[0]["val_nme"])
    moved = [float((a - b).detach().abs().max()) for a, b in zip(start.parameters(), network.parameters(), strict=True)]
    assert 0 < max(moved) < 0.05


def test_three_faces_are_a_training_by_the_command_line_too(tmp_path, capsys, monkeypatch):
    few = RECIPES["few"]
    monkeypatch.setitem(RECIPES, "few", replace(few, draws=8, config=replace(few.config, epochs=1, batch_size=4)))
    xml = toy_set(tmp_path, 3)
    main(["train", "--data", str(xml), "--recipe", "few", "--out", str(tmp_path / "run"), "--device", "cpu"])
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("no confidence: ")]
    _, metadata = load_network(tmp_path / "run" / "best.safetensors")
    assert metadata["recipe"]["start"] == "xception" and metadata["faces"] == [2, 1] and "calibration" not in metadata


def test_a_leaner_training_can_start_from_the_courses_weights_with_other_faces_beside(trained, tmp_path):
    start, _ = load_network(trained / "best.safetensors")
    faces = read_imglab(trained.parent / "labels.xml")
    beside = read_imglab(toy_set(tmp_path / "more", 12, seed=1))
    lean = replace(
        RECIPES["detail"],
        size=64,
        still_size=96,
        width=0.05,
        config=Config(epochs=2, batch_size=8, lr=1e-4),  # one of each size
        augment=replace(RECIPES["detail"].augment, shut_eyes=0.5),
    )
    train_landmarks(faces, lean, tmp_path / "run", start=start, also=[(beside, 0.2)], progress=False)
    network, metadata = load_network(tmp_path / "run" / "best.safetensors")
    assert metadata["also"] == [[12, 0.2]] and metadata["recipe"] == lean.describe()
    assert len(network.middle) == 3 and network.entry.stem[0].stride == (4, 4) and len(network.exit) == 4
    assert network.refiner.move[1].weight.abs().max() > 0  # it had none, and has learned to move points
    kept = network.entry.block1.body[0].pointwise.weight - start.entry.block1.body[0].pointwise.weight
    assert 0 < kept.abs().max() < 0.01  # begun with what it was given, and trained on


def test_weights_from_before_the_networks_options_load_as_the_papers_shape(trained):
    network, metadata = load_network(trained / "best.safetensors")
    for name in ("middle_blocks", "stem_stride", "exit_convolutions", "refine"):
        del metadata["recipe"][name]
    old = trained / "old.safetensors"
    old.write_bytes(pack_weights(network, metadata))
    again, _ = load_network(old)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_options_that_no_network_has_are_one_clear_line(trained):
    network, metadata = load_network(trained / "best.safetensors")
    lean = metadata["recipe"] | {"stem_stride": 4, "exit_convolutions": 1}
    for change, message in (
        ({"stem_stride": 3}, r"recipe\.stem_stride is 3, expected 2 or 4"),
        ({"exit_convolutions": True}, r"recipe\.exit_convolutions is True, expected 1 or 2"),
        ({"refine": 1}, r"recipe\.refine is 1, expected false or, with head heatmap, true"),
        ({"refine": True, "head": "regression"}, r"recipe\.refine is True, expected false or"),
        ({"size": 80}, r"recipe\.size is 80, expected a multiple of 32, for heatmaps"),
        ({}, r"of another shape than Xception's \('entry\.stem\.0\.weight'"),
    ):
        odd = trained / "odd.safetensors"
        odd.write_bytes(pack_weights(network, metadata | {"recipe": lean | {"size": 64} | change}))
        with pytest.raises(CourseError, match=message):
            load_network(odd)


def test_first_weights_of_another_shape_are_refused(trained, tmp_path):
    faces = read_imglab(trained.parent / "labels.xml")
    shallow = Xception(width=0.05, middle_blocks=7)
    for start in (Xception(width=0.1), Xception(width=0.05, head="regression"), shallow):
        with pytest.raises(CourseError, match=r"first weights .* width=0\.05, head='heatmap' and at least 8 middle"):
            train_landmarks(faces, RECIPE, tmp_path, start=start, progress=False)
    assert not list(tmp_path.iterdir())


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle ran code')",)


def test_bad_weights_are_one_clear_line(trained, tmp_path):
    def check(name: str, content: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CourseError, match=message) as caught:
            load_network(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)

    good = (trained / "best.safetensors").read_bytes()
    check("cut.safetensors", good[: len(good) // 2], "truncated, or not a safetensors file")
    check("empty.safetensors", b"", "truncated, or not a safetensors file")
    check("cut.pt", (trained / "last.pt").read_bytes()[:5000], "truncated, or not a checkpoint")
    torch.save(Bomb(), tmp_path / "bomb.pt")
    check("bomb.pt", (tmp_path / "bomb.pt").read_bytes(), "not loaded")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    check("other.pt", (tmp_path / "other.pt").read_bytes(), "not a checkpoint that flcourse wrote")
    network, metadata = load_network(trained / "best.safetensors")
    wider = json.loads(json.dumps(metadata))
    wider["recipe"]["width"] = 0.3
    check("wide.safetensors", pack_weights(network, wider), "of another shape than Xception's")
    check("foreign.safetensors", pack_weights(torch.nn.Linear(2, 2), {}), "not of one of flcourse's landmark networks")
    with pytest.raises(CourseError, match=r"gone\.safetensors: no such file"):
        load_network(tmp_path / "gone.safetensors")
    with pytest.raises(CourseError, match=r"gone\.pt: No such file"):
        load_network(tmp_path / "gone.pt")


def test_evaluation_is_in_full_precision_and_without_augmentation(trained):
    network, metadata = load_network(trained / "best.safetensors")
    from flcourse.data.face_dataset import FaceDataset
    from flcourse.data.imglab import split_faces

    faces = read_imglab(trained.parent / "labels.xml")
    val = FaceDataset(split_faces(faces, RECIPE.val_fraction)[1], RECIPE.size)
    task = Task(LOSSES["heatmap"], measure_points, "nme", False)
    figures = evaluate(network, task, val, 8, torch.device("cpu"))
    assert figures["nme"] == pytest.approx(metadata["figures"]["val_nme"])
