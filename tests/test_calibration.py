"""Confidence: fitted on faces a network has not seen, it tells right answers from wrong ones and from no face."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from skimage import data
from torch import nn

import flcourse.weights
from flcourse import metrics
from flcourse.apps.cli import main
from flcourse.data.drawn_faces import write_drawn_faces
from flcourse.data.imglab import fingerprint, read_imglab, split_faces
from flcourse.errors import CourseError
from flcourse.face.landmark_network import OnnxNetwork
from flcourse.face.landmarker import FaceLandmarker
from flcourse.metadata import ACCEPT
from flcourse.points import CROP_SCALE, Box
from flcourse.show.plot import reliability_curve
from flcourse.training.calibration import DRAWS, FEWEST, calibrate, held_out, label_shift, non_face
from flcourse.training.checkpoints import load_network, pack_weights
from flcourse.training.export import TorchNetwork, export_onnx
from flcourse.training.heatmaps import Calibration, Landmarks, soft_argmax
from flcourse.training.xception import Xception

SHIPPED = Path(flcourse.weights.__file__).parent / "xception.safetensors"


@pytest.fixture(scope="module")
def xml(tmp_path_factory) -> Path:
    return write_drawn_faces(tmp_path_factory.mktemp("gezeichnet ü"), 24, progress=False)


@pytest.fixture(scope="module")
def calibrated(xml):
    network, metadata = load_network(SHIPPED)
    return calibrate(network, read_imglab(xml), metadata["recipe"]["size"], progress=False)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 12))
def test_reliability_sorts_answers_into_bins(answers, bins):
    chance, right = np.array([c for c, _ in answers]), np.array([r for _, r in answers])
    mean, share, count = metrics.reliability(chance, right, bins)
    assert count.sum() == len(answers) and (count > 0).all()
    assert np.dot(mean, count) == pytest.approx(chance.sum()) and np.dot(share, count) == pytest.approx(right.sum())
    assert (np.diff(mean) >= 0).all()


def test_wrong_answers_and_pieces_without_a_face_get_less(calibrated):
    figures, trial = calibrated.figures(), calibrated.trial
    assert figures["faces"] == DRAWS * 24 and figures["non_faces"] == 24 and 5 < figures["wrong_faces"] < 120
    assert figures["auc"] > 0.75 and figures["calibration_error"] < 0.15
    assert np.median(calibrated.chance[trial.right]) > np.median(calibrated.chance[trial.face & ~trial.right])
    assert np.median(calibrated.chance[~trial.face]) < 0.3 and not trial.right[~trial.face].any()
    assert calibrated.calibration.slope > 0


def test_each_half_is_judged_by_the_other_halfs_fit(calibrated):
    """The chances are two logistic curves of the spread, one for each half of the photographs."""
    logit = np.log(calibrated.chance / (1 - calibrated.chance))
    for half in (0, 1):
        part = calibrated.trial.photo % 2 == half
        fit = np.polyfit(calibrated.trial.log_spread[part], logit[part], 1)
        assert np.abs(np.polyval(fit, calibrated.trial.log_spread[part]) - logit[part]).max() < 1e-4


def test_faces_as_they_come_are_accepted_from_a_weak_network_too(xml, tmp_path):
    """One that hardly learned is never sure of anything; its own faces must not vanish from the learner's screen."""
    assert Calibration(1, 1).accept == ACCEPT
    network, metadata = load_network(SHIPPED)
    faces = read_imglab(xml)
    with torch.no_grad():
        network.head.maps.weight *= 0.75  # blunter maps, worse points
    found = calibrate(network, faces, metadata["recipe"]["size"], progress=False)
    chance = 1 / (1 + np.exp(found.calibration.slope * found.trial.plain - found.calibration.bias))
    assert found.calibration.accept <= ACCEPT and (chance >= found.calibration.accept).mean() >= 0.95
    weak = found.calibration._replace(accept=0.03)
    export_onnx(network, {**metadata, "calibration": weak._asdict()}, tmp_path / "weak.onnx")
    assert OnnxNetwork(tmp_path / "weak.onnx").accept == 0.03 and OnnxNetwork("xception").accept == ACCEPT


def test_the_reliability_plot(calibrated):
    trial = calibrated.trial
    figure = reliability_curve(calibrated.chance, trial.right, trial.face)
    left, side = figure.axes
    mean, share, _ = metrics.reliability(calibrated.chance, trial.right)
    assert np.allclose(left.lines[1].get_xydata(), np.stack([mean, 100 * share], axis=1))
    assert [text.get_text() for text in side.get_legend().get_texts()] == ["faces, right", "faces, wrong", "no faces"]


def test_a_dot_of_few_answers_is_seen_to_be_one():
    chance, right = np.r_[np.full(50, 0.12), 0.61], np.r_[np.arange(50) < 6, True]
    left, _ = reliability_curve(chance, right, np.ones(51, bool)).axes
    [hollow] = [line for line in left.lines if line.get_markerfacecolor() == "white"]
    assert hollow.get_xydata().tolist() == [[0.61, 100.0]] and "fewer than 5" in hollow.get_label()


def test_pieces_without_a_face_do_not_hold_one(xml):
    face = read_imglab(xml)[0]
    rng = np.random.default_rng(0)
    pieces = [non_face(face, 48, rng) for _ in range(20)]
    assert all(piece.shape == (1, 48, 48) and piece.min() >= -1 and piece.max() <= 1 for piece in pieces)
    assert not torch.equal(pieces[0], pieces[1])


def test_labels_that_lie_to_one_side_are_noticed(xml):
    """In x, where mirrored copies hide them; in y a network learns them."""
    network, metadata = load_network(SHIPPED)
    faces, size = read_imglab(xml), metadata["recipe"]["size"]

    def measured(x: float, y: float) -> float:
        moved = [replace(face, points=face.points + np.array([x, y])) for face in faces]
        return label_shift(network, moved, size, progress=False)

    part = 6 / (CROP_SCALE * np.median([face.box.side for face in faces]))  # of the crop
    assert (measured(6, 0) - measured(-6, 0)) / 2 == pytest.approx(part, rel=0.05)
    assert measured(6, 9) == measured(6, 0)
    assert abs(measured(0, 0)) < part / 4
    assert label_shift(network, faces[:3], size, progress=False) == 0  # so few may lie so by chance


def test_points_are_where_the_labels_are_whatever_the_views(tmp_path):
    network, metadata = load_network(SHIPPED)
    answers = {}
    for shift in (0.0, 0.02):
        (tmp_path / "net.safetensors").write_bytes(pack_weights(network, metadata | {"label_shift": shift}))
        landmarker = FaceLandmarker(TorchNetwork(tmp_path / "net.safetensors"), detector=None)
        box = Box.around((222, 118), 90)
        answers[shift] = [landmarker.at(data.astronaut(), [box], tta=tta)[0].points for tta in (1, 2, 4)]
    for tta, before, after in zip((1, 2, 4), answers[0.0], answers[0.02], strict=True):
        moved = (after - before).mean(axis=0)
        assert moved == pytest.approx([0.02 * CROP_SCALE * 90, 0], abs=0.3 if tta == 4 else 0.01), tta


class Certain(nn.Module):
    """A network whose answer is always the same, or that has no maps."""

    def __init__(self, maps: bool) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: torch.Tensor) -> Landmarks:
        logits = torch.zeros(len(x), 68, 16, 16)
        return Landmarks(soft_argmax(logits, 1), logits if self.maps else None)


def test_what_cannot_be_calibrated_is_told(xml, tmp_path, capsys):
    faces = read_imglab(xml)[:4]
    with pytest.raises(CourseError, match="0 % of the answers are right"):
        calibrate(Certain(maps=True), faces, 48, progress=False)
    with pytest.raises(CourseError, match="regression network has no maps"):
        calibrate(Certain(maps=False), faces, 48, progress=False)
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", "--weights", str(tmp_path / "net.onnx"), "--in-place"])
    assert "expected .safetensors" in capsys.readouterr().err


def weights_of(xml: Path, path: Path, half: bool = False, **changes: object) -> dict:
    """The shipped network at `path`, as if it had been trained on a file's faces; returns its metadata."""
    network, metadata = load_network(SHIPPED)
    recipe = metadata["recipe"] | {"val_fraction": 0.5}
    kept, held = split_faces(read_imglab(xml), 0.5, recipe["config"]["seed"])
    metadata = {"recipe": recipe, "faces": [len(kept), len(held)], "held_out": fingerprint(held)} | changes
    path.write_bytes(pack_weights(network, metadata, half=half))
    return metadata


@pytest.mark.parametrize("half", [False, True])
def test_the_command_writes_it_into_the_weights(xml, tmp_path, capsys, half):
    path, out = tmp_path / "best.safetensors", tmp_path / "sure" / "best.safetensors"
    metadata = weights_of(xml, path, half)
    before = path.read_bytes()
    main(["calibrate", "--weights", str(path), "--data", str(xml), "--out", str(out)])
    printed = capsys.readouterr().out
    assert path.read_bytes() == before
    assert len(out.read_bytes()) == pytest.approx(len(before), rel=0.01)  # half precision stays half
    network, _ = load_network(path)
    again, now = load_network(out)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert now["recipe"] == metadata["recipe"] and now["calibration"].keys() == {"slope", "bias", "accept"}
    held = held_out(read_imglab(xml), metadata)
    assert 0 < len(held) < 24 and now["calibrated"]["faces"] == DRAWS * len(held)
    assert f"AUC of telling these {now['calibrated']['auc']:.3f}" in printed and f"wrote {out} (" in printed
    assert (out.parent / "confidence.png").read_bytes().startswith(b"\x89PNG")
    with safe_open(out, "pt") as file:
        assert json.loads(file.metadata()["flcourse"]) == now
    assert isinstance(again, Xception)
    if half:
        main(["calibrate", "--weights", str(path), "--data", str(xml), "--in-place"])
        assert path.read_bytes() == out.read_bytes()


def test_what_calibrate_does_not_do_is_one_line(xml, tmp_path, capsys):
    def refused(*arguments: object) -> str:
        with pytest.raises(SystemExit, match="2"):
            main(["calibrate", *map(str, arguments)])
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1
        return told.err

    path, out = tmp_path / "best.safetensors", tmp_path / "out.safetensors"
    metadata = weights_of(xml, path)
    before = path.read_bytes()
    assert "one of the arguments --out --in-place is required" in refused("--weights", path)
    assert "not allowed with argument" in refused("--weights", path, "--out", out, "--in-place")
    assert "expected .safetensors" in refused("--weights", path, "--data", xml, "--out", tmp_path / "out.onnx")
    assert "--in-place writes into it" in refused("--weights", path, "--data", xml, "--out", path)
    (tmp_path / "mine.safetensors").write_text("mine")
    assert "is there already" in refused("--weights", path, "--data", xml, "--out", tmp_path / "mine.safetensors")
    # Other faces than the training's: fewer, as many of other names, or nobody knows of which.
    few = write_drawn_faces(tmp_path / "few", 12, progress=False)
    told = refused("--weights", path, "--data", few, "--out", out)
    kept, held = metadata["faces"]
    assert f"not the faces of the training ({kept} and {held} held out), but " in told and str(few) in told
    weights_of(xml, path, held_out={"faces": held, "names": "0" * 64})
    assert "but other images of the same number" in refused("--weights", path, "--data", xml, "--out", out)
    weights_of(xml, path, faces=None)
    told = refused("--weights", path, "--data", xml, "--out", out)
    assert "faces" in told
    assert not out.exists() and (tmp_path / "mine.safetensors").read_text() == "mine"
    path.write_bytes(before)
    assert load_network(path)[1] == metadata


def test_few_faces_are_too_few(xml):
    """Three faces, as makers have them: one of them is held out, and half of it is nothing."""
    network, metadata = load_network(SHIPPED)
    faces = read_imglab(xml)
    for count, said in ((1, "1 photograph"), (2, "2 photographs"), (FEWEST - 1, f"{FEWEST - 1} photographs")):
        with pytest.raises(CourseError, match=f"{said} held out are too few|100 % of the answers are right"):
            calibrate(network, faces[:count], metadata["recipe"]["size"], progress=False)
