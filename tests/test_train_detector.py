"""The face detector's network, its training and its ONNX file; `flcourse train-detector` by its door."""

import json

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from flcourse.apps.cli import main
from flcourse.data.drawn_faces import write_drawn_faces
from flcourse.data.face_scenes import Sources
from flcourse.data.photos import Photo, halved
from flcourse.data.scene_dataset import STRIDE, FaceScenes, target_maps
from flcourse.errors import CourseError
from flcourse.training.config import Config
from flcourse.training.detector import (
    DetectorRecipe,
    FaceMaps,
    export_detector,
    folded,
    load_detector,
    measure_scenes,
    scene_loss,
    train_detector,
)


def used(seed: int = 0) -> FaceMaps:
    """A network whose batch norms have seen something."""
    torch.manual_seed(seed)
    network = FaceMaps().train()
    for _ in range(3):
        network(torch.randn(4, 1, 64, 64))
    return network.eval()


def test_the_network_is_small_and_its_maps_are_an_eighth():
    network = FaceMaps()
    assert sum(p.numel() for p in network.parameters()) == 78_468
    assert network(torch.zeros(2, 1, 96, 160)).shape == (2, 4, 12, 20)


def test_folding_changes_no_answer():
    network, x = used(), torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(folded(network)(x), network(x), atol=1e-4)
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())  # which stays as it was


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("onnx") / "d.onnx"
    export_detector(used(), {"figures": 1}, path)
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("shape", [(16, 16), (48, 80), (240, 320)])
def test_the_onnx_file_says_the_same_in_pixels(exported, shape):
    image = np.random.default_rng(0).integers(0, 256, (1, 1, *shape), np.uint8)
    faces = exported.run(None, {"image": image})[0][0]  # (4, h, w)
    with torch.inference_mode():
        logits, dx, dy, log_side = used()(torch.from_numpy(image).float() / 127.5 - 1)[0]
    scores = logits.sigmoid().numpy()
    peaks = faces[0] > 0
    assert peaks.any() and np.allclose(faces[0][peaks], scores[peaks], atol=1e-4)
    padded = np.pad(scores, 1)
    highest = np.max([padded[i : i + scores.shape[0], j : j + scores.shape[1]] for i in range(3) for j in range(3)], 0)
    assert (peaks == (scores >= highest)).mean() > 0.99
    rows, columns = np.mgrid[: shape[0] // STRIDE, : shape[1] // STRIDE]
    assert np.allclose(faces[1], (columns + dx.numpy()) * STRIDE + 3.5, atol=1e-3)
    assert np.allclose(faces[2], (rows + dy.numpy()) * STRIDE + 3.5, atol=1e-3)
    assert np.allclose(faces[3], 32 * np.exp(log_side.numpy()), rtol=1e-3)
    assert json.loads(exported.get_modelmeta().custom_metadata_map["flcourse"]) == {"figures": 1}


def perfect(target: torch.Tensor) -> torch.Tensor:
    """What a network that is right and sure would answer."""
    logits = torch.where(target[:, :1] == 1, 12.0, -12.0)
    return torch.cat([logits, target[:, 2:5]], dim=1)


def test_the_loss_is_least_where_the_answer_is_right_and_each_mistake_costs():
    faces, none = np.array([[40.0, 50, 30], [90, 90, 16]]), np.empty((0, 3))
    target = torch.from_numpy(target_maps(faces, none, 128))[None]
    right = perfect(target)
    best = scene_loss(right, target)
    assert best < 1e-3
    assert {name: value.item() for name, value in measure_scenes(right, target).items() if name != "heat"} == {
        "faces": 2,
        "missed": 0,
        "false": 0,
    }
    row, column = np.argwhere(target[0, 0].numpy() == 1)[0]
    missed, false, moved, larger = (right.clone() for _ in range(4))
    missed[0, 0, row, column] = -12
    false[0, 0, 0, 0] = 12
    moved[0, 1, row, column] += 1
    larger[0, 3, row, column] += 0.5
    assert all(scene_loss(wrong, target) > best + 0.1 for wrong in (missed, false, moved, larger))
    assert measure_scenes(missed, target)["missed"].item() == measure_scenes(false, target)["false"].item() == 1


def test_a_doubtful_face_costs_neither_way():
    target = torch.from_numpy(target_maps(np.empty((0, 3)), np.array([[64.0, 64, 30]]), 128))[None]
    sure, not_sure = torch.full((1, 4, 16, 16), -12.0), torch.full((1, 4, 16, 16), -12.0)
    sure[0, 0, 8, 8] = 12
    assert scene_loss(sure, target) == pytest.approx(scene_loss(not_sure, target).item())


def discs() -> Sources:
    """Faces as easy as can be: bright discs with two dark eyes."""
    image = np.full((120, 120), 90, np.uint8)
    cv2.circle(image, (60, 60), 25, 230, cv2.FILLED)
    for x in (50, 70):
        cv2.circle(image, (x, 55), 5, 10, cv2.FILLED)
    return Sources([Photo(halved(image), np.array([[60.0, 60, 50]]), np.empty((0, 3)))])


SMALL = DetectorRecipe(
    size=64, scenes=48, val_scenes=16, config=Config(epochs=4, batch_size=16, optimizer="adamw", lr=3e-3)
)


def test_training_learns_and_a_resumed_one_ends_the_same(tmp_path):
    whole, history = train_detector(discs(), discs(), SMALL, tmp_path / "a", progress=False)
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    seen = []

    def stop() -> bool:
        seen.append(1)
        return len(seen) == 7

    train_detector(discs(), discs(), SMALL, tmp_path / "b", stop=stop, progress=False)
    again, _ = train_detector(discs(), discs(), SMALL, tmp_path / "b", resume=True, progress=False)
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    network, metadata = load_detector(tmp_path / "a" / "best.safetensors")
    assert metadata["photos"] == [1, 1] and metadata["detector"]["scenes"] == 48
    assert FaceScenes(discs(), 64, 1)[0][0].shape == (1, 64, 64) and not network.training


def test_weights_of_another_network_are_told(tmp_path):
    from flcourse.training.checkpoints import pack_weights

    (tmp_path / "other.safetensors").write_bytes(pack_weights(torch.nn.Linear(2, 2), {}))
    with pytest.raises(CourseError, match="not of flcourse's face detector"):
        load_detector(tmp_path / "other.safetensors")


def test_the_command_trains_on_drawn_faces_and_writes_a_detector(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flcourse.data.datasets.download_folder", lambda: tmp_path)
    short = ["--epochs", "1", "--scenes", "32"]
    main(["train-detector", "--drawn", "--out", "d", *short])
    assert "for use: " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / "d" / "detector.onnx")
    assert session.run(None, {"image": np.zeros((1, 1, 32, 48), np.uint8)})[0].shape == (1, 4, 4, 6)
    for arguments, said in (
        (["--drawn", "--out", "d", *short], "holds a training already"),
        (["--drawn", "labels.xml"], "--drawn trains on drawn faces alone"),
        (["gone.xml", "--out", "e"], "gone.xml"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["train-detector", *arguments])
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_the_command_says_where_the_labelling_detector_is_missing(tmp_path, monkeypatch, capsys):
    xml = write_drawn_faces(tmp_path, 4, size=96, progress=False)
    with pytest.raises(SystemExit, match="2"):
        main(["train-detector", str(xml), "--out", str(tmp_path / "d")])
    assert "face_detection_yunet" in capsys.readouterr().err
