"""Networks that strangers send: whatever a file says of itself, it is loaded whole or refused in one line, at once."""

import copy
import io
import json
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_landmarker import network_bytes
from toys import toy_set

import flcourse.weights
from flcourse.apps.cli import main
from flcourse.data.imglab import read_imglab, split_faces
from flcourse.errors import CourseError
from flcourse.face.landmark_network import OnnxNetwork
from flcourse.training.checkpoints import load_network, pack_weights
from flcourse.training.recipes import RECIPES, train_landmarks
from flcourse.training.xception import Xception

SHIPPED = Path(flcourse.weights.__file__).parent / "xception.safetensors"
RECIPE = replace(
    RECIPES["course"],
    size=48,
    width=0.05,
    middle_blocks=1,
    config=replace(RECIPES["course"].config, epochs=2, batch_size=8),
)
METADATA = {
    "recipe": RECIPE.describe(),
    "faces": [27, 3],
    "calibration": {"slope": 2.0, "bias": 1.0, "accept": 0.1},
}

# What is put where in the metadata; each is refused.
WRONG = [
    *((("recipe", "size"), value) for value in (-112, 0, 31, 40, 30_000, 10**30, "112", 112.0, True, None, [112])),
    *((("recipe", "still_size"), value) for value in (0, 40, 30_000, "112", True, [112])),
    *(
        (("recipe", "width"), value)
        for value in (0, -1, 1e9, 10**400, float("nan"), float("inf"), "0.5", None, {}, True)
    ),
    *((("recipe", "refine"), value) for value in (None, 0, 1, "yes", [True])),
    *((("recipe", "head"), value) for value in ("heat", "", 3, None, ["heatmap"], {"heatmap": 1}, "x" * 100_000)),
    *((("recipe", "middle_blocks"), value) for value in (0, -1, 65, 1_000_000, "4", 4.0, None, True, [])),
    *((("recipe", "val_fraction"), value) for value in (-0.1, 2, "0.1", float("nan"))),
    *((("recipe", "config"), value) for value in ("text", [1], 7)),
    *((("recipe", "config", "seed"), value) for value in (-1, "0", 1.5, 10**30)),
    *((("recipe",), value) for value in ("text", [], [1], 7, True)),
    *((("calibration",), value) for value in ("text", [1, 2], 7, True, {"slope": 1}, {"slope": 1, "bias": 0, "x": 1})),
    *((("label_shift",), value) for value in ("0", None, 0.06, -1, float("nan"), [0.01])),
    *((("still_calibration",), value) for value in ("text", [1, 2], {"slope": 1}, {"slope": "1", "bias": 0})),
    *((("calibration", "slope"), value) for value in ("1", None, float("nan"), 1e300, [1])),
    *((("calibration", "bias"), value) for value in ("1", None, float("-inf"))),
    *((("calibration", "accept"), value) for value in ("text", None, -0.1, 1.1, float("nan"), [0.5])),
    *((("faces",), value) for value in ("text", 7, [1], [1, 2, 3], [-1, 2], ["1", "2"], None)),
    *((("held_out",), value) for value in (7, "text", ["x"], {"faces": -1}, {"faces": "3"}, {"names": 7})),
    *((("figures",), value) for value in ("text", [1])),
    *(((), value) for value in ([], ["recipe"], "text", 7, True)),
]


def spoilt(keys: tuple[str, ...], value: object) -> object:
    if not keys:
        return value
    metadata = copy.deepcopy(METADATA)
    inner = metadata
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return metadata


def refused(load, path: Path, content: bytes) -> str:
    path.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(CourseError) as caught:
        load(path)
    assert time.monotonic() - started < 5
    text = str(caught.value)
    assert path.name in text and "\n" not in text and len(text) < 600
    return text


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Xception(width=0.05, middle_blocks=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training stopped in its second epoch, and its faces."""
    folder = tmp_path_factory.mktemp("trained")
    faces = read_imglab(toy_set(folder, 30))
    left = iter(range(4))
    train_landmarks(faces, RECIPE, folder / "run", progress=False, stop=lambda: next(left, None) is None)
    return folder / "run", faces


@pytest.mark.parametrize("keys, value", WRONG, ids=lambda part: repr(part)[:40])
def test_wrong_metadata_are_refused_by_every_door(tmp_path, keys, value):
    metadata = spoilt(keys, value)
    refused(load_network, tmp_path / "wrong.safetensors", pack_weights(torch.nn.Linear(1, 1), metadata))
    refused(OnnxNetwork, tmp_path / "wrong.onnx", network_bytes(metadata=metadata))
    state = {"config": {}, "describe": metadata, "model": {}, "ema": None, "history": []}
    refused(load_network, tmp_path / "wrong.pt", saved(state))


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"recipe": NaN}', "null", "7" * 6000, '"\\ud800"', "\0"])
def test_metadata_that_are_no_json_are_refused(network, tmp_path, text, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", lambda metadata, **options: text)
        weights, onnx = pack_weights(network, {}), network_bytes(metadata={})
    refused(load_network, tmp_path / "wrong.safetensors", weights)
    if text:  # else it has none, which a network that is not ours may
        refused(OnnxNetwork, tmp_path / "wrong.onnx", onnx)


def test_the_network_is_built_only_when_its_shapes_fit(network, tmp_path, monkeypatch):
    built = []
    init = Xception.__init__

    def watched(self, *args, **options):
        init(self, *args, **options)
        built.append(next(self.parameters()).device.type)

    monkeypatch.setattr(Xception, "__init__", watched)
    for name, recipe in (("wide", {"width": 4.0}), ("deep", {"middle_blocks": 64}), ("pooled", {"head": "regression"})):
        metadata = METADATA | {"recipe": METADATA["recipe"] | recipe}
        text = refused(load_network, tmp_path / f"{name}.safetensors", pack_weights(network, metadata))
        assert "of another shape than Xception's" in text
    assert set(built) == {"meta"}  # which has no memory


def test_weights_that_are_no_numbers_are_refused(network, tmp_path):
    for value in (torch.nan, torch.inf):
        spoilt_network = copy.deepcopy(network)
        with torch.no_grad():
            spoilt_network.head.maps.bias[3] = value
        text = refused(load_network, tmp_path / "wrong.safetensors", pack_weights(spoilt_network, METADATA))
        assert "no numbers" in text


def test_answers_that_are_none_are_errors(tmp_path):
    crops = np.zeros((2, 1, 48, 48), np.float32)
    points01 = np.full((68, 2), np.nan)
    (tmp_path / "nan.onnx").write_bytes(network_bytes(points01, crops=("n", 1, 48, 48)))
    with pytest.raises(CourseError, match=r"nan\.onnx: gives points that are no numbers"):
        OnnxNetwork(tmp_path / "nan.onnx")(crops)
    (tmp_path / "sure.onnx").write_bytes(network_bytes(crops=("n", 1, 48, 48)))
    with pytest.raises(CourseError, match=r"sure\.onnx: gives confidences that are not from 0 to 1"):
        OnnxNetwork(tmp_path / "sure.onnx")(crops + 9)
    for side in (16, 30_000):
        text = refused(OnnxNetwork, tmp_path / "side.onnx", network_bytes(crops=("n", 1, side, side)))
        assert f"crops of {side} pixels" in text


# What is put into a checkpoint, from which a training cannot go on; None takes it out.
STATES = [
    *((name, None) for name in ("config", "model", "ema", "optimizer", "epoch", "batch", "sums", "history", "threads")),
    *((name, None) for name in ("world", "bfloat16", "spent", "evaluation")),
    *(
        (name, "text")
        for name in ("config", "describe", "model", "ema", "optimizer", "epoch", "sums", "history", "world")
    ),
    *(("epoch", value) for value in (-1, 1.5, True, 2**50)),
    *(("optimizer", value) for value in ({}, {"state": None}, {"state": {0: {"step": "x"}}}, {"state": {99: {}}})),
    ("optimizer", {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}}}),
    *(("history", value) for value in ([7], [{}], [{"epoch": 2}], [{"epoch": 1, "val_nme": "x"}])),
    ("sums", {"n": float("nan")}),
    ("model", {}),
    ("model", {"entry": 7}),
    ("ema", {}),
    ("spent", "text"),
]


@pytest.mark.parametrize("name, value", STATES, ids=lambda part: repr(part)[:40])
def test_a_spoilt_checkpoint_is_not_gone_on_from(trained, tmp_path, name, value):
    folder, faces = trained
    state = torch.load(folder / "last.pt", weights_only=True)
    if value is None:
        del state[name]
    else:
        state[name] = value
    out = tmp_path / "run"
    out.mkdir()
    refused(
        lambda path: train_landmarks(faces, RECIPE, out, progress=False, resume=True), out / "last.pt", saved(state)
    )


def test_a_compressed_checkpoint_is_not_unpacked(trained, tmp_path):
    """A few KB could hold gigabytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(trained[0] / "last.pt") as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    refused(load_network, tmp_path / "small.pt", packed.getvalue())


def mutated(content: bytes, rng: np.random.Generator, head: int) -> bytes:
    """The bytes changed in a few places, half of the time in the first `head`: what describes the rest is there."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        data = data or bytearray(content)
        place = int(rng.integers(0, min(head, len(data)) if rng.random() < 0.5 else len(data)))
        match rng.integers(0, 5):
            case 0:
                data[place] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data[place : place + 8] = rng.bytes(8)
            case 2:
                del data[place : place + int(rng.integers(1, 50))]
            case 3:
                data[place:place] = rng.choice([b"9" * 12, b"-1", b"NaN", b"null", b"[[[[", b'"', rng.bytes(9)])
            case 4:
                del data[place + 1 :]
    return bytes(data)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".onnx"])
def test_changed_bytes_are_loaded_or_refused_in_one_line(network, trained, tmp_path, suffix, cases=60):
    content = {
        ".safetensors": pack_weights(network, METADATA),
        ".pt": (trained[0] / "last.pt").read_bytes(),
        ".onnx": network_bytes(crops=("n", 1, 48, 48), metadata=METADATA),
    }[suffix]
    path = tmp_path / f"changed{suffix}"
    rng = np.random.default_rng(0)
    outcomes = {"loaded": 0, "refused": 0}
    for case in range(cases):
        path.write_bytes(mutated(content, rng, head=min(4000, len(content))))
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                OnnxNetwork(path)(np.zeros((1, 1, 48, 48), np.float32)) if suffix == ".onnx" else load_network(path)
            outcomes["loaded"] += 1
        except CourseError as error:
            assert "\n" not in str(error) and path.name in str(error), case
            outcomes["refused"] += 1
        assert time.monotonic() - started < 5, case
    assert outcomes["refused"] > 0.2 * cases


KILLED = """
import os, signal, sys

rename = os.replace

def killed(part, path):
    if os.path.basename(path) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(part, path)

os.replace = killed
from flcourse.apps.cli import main

main(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("command", ["train", "export", "calibrate"])
def test_killed_before_the_last_rename_nothing_is_lost_and_the_next_run_clears_up(trained, tmp_path, command):
    """The worst moment: all is written, and nothing has its name yet."""
    folder, faces = trained
    xml, weights = folder.parent / "labels.xml", folder / "best.safetensors"
    out, given = tmp_path / "run", weights.read_bytes()
    small = "--width 0.05 --size 48 --middle-blocks 1 --batch-size 8 --epochs 1 --device cpu".split()
    name, arguments = {
        "train": ("last.pt", ["--data", xml, "--out", out, *small]),
        "export": ("n.onnx", ["--weights", weights, "--onnx", out / "n.onnx"]),
        "calibrate": ("c.safetensors", ["--weights", weights, "--data", xml, "--out", out / "c.safetensors"]),
    }[command]
    line = [command, *map(str, arguments)]
    if command == "calibrate":  # a network that never errs, or always, cannot be
        network, metadata = load_network(SHIPPED)
        recipe = metadata["recipe"] | {"val_fraction": 0.5}  # fewer held out would be too few
        held_out = {"faces": [len(part) for part in split_faces(faces, 0.5, recipe["config"]["seed"])]}
        given = pack_weights(network, {"recipe": recipe} | held_out)
        weights = tmp_path / "given.safetensors"
        weights.write_bytes(given)
        line[2] = str(weights)
    done = subprocess.run([sys.executable, "-c", KILLED, name, *line], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / name).exists() and list(out.glob(f".{name}*.part")) and weights.read_bytes() == given
    main(line)
    assert (out / name).stat().st_size > 1000 and not list(out.glob(".*"))
    if command != "train":
        network = OnnxNetwork(out / name) if command == "export" else load_network(out / name)
        assert network
