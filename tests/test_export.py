"""ONNX files: PyTorch's points in full and half precision, nearly so with 8-bit convolutions, and the calibration."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from skimage import data

import flcourse.weights
from flcourse.errors import CourseError
from flcourse.face.detections import Detection
from flcourse.face.landmark_network import OnnxNetwork
from flcourse.face.landmarker import FaceLandmarker
from flcourse.points import Box, BoxMap, from01
from flcourse.training.checkpoints import load_network
from flcourse.training.export import LARGE, TorchNetwork, drawn_crops, export_onnx, quantize_onnx
from flcourse.training.heatmaps import Calibration, confidence
from flcourse.training.xception import Xception

SHIPPED = Path(flcourse.weights.__file__).parent / "xception.safetensors"
ASTRONAUT = Box.around((222, 118), 90)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("head, refine", [("heatmap", False), ("heatmap", True), ("regression", False)])
def test_onnx_gives_pytorchs_points(tmp_path, head, refine, half):
    torch.manual_seed(0)
    network = Xception(width=0.05, head=head, refine=refine).eval()
    if network.refiner is not None:
        torch.nn.init.normal_(network.refiner.move[1].weight, 0, 0.1)  # as after a training
    for module in network.modules():  # batch norms as after a training, not as before
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    metadata = {"recipe": {"size": 48}, "faces": [90, 10], "figures": {"val_nme": 6.5}}
    if head == "heatmap":
        metadata["calibration"] = {"slope": 2.0, "bias": 8.0, "accept": 0.125}
    export_onnx(network, metadata, tmp_path / "net.onnx", half)
    if half:
        for parameter in [*network.parameters(), *network.buffers()]:
            if parameter.numel() >= LARGE:
                parameter.data = parameter.data.half().float()
    session = onnxruntime.InferenceSession((tmp_path / "net.onnx").read_bytes())
    for n in (1, 5):  # any number of faces
        x = torch.rand(n, 1, 48, 48) * 2 - 1
        with torch.inference_mode():
            output = network(x)
        found = session.run(None, {"crops": x.numpy()})
        tolerance = 0.5 if half else 0.01  # px; folded batch norms are rounded to half after folding
        assert np.abs(from01(found[0], 48) - from01(output.points01.numpy(), 48)).max() < tolerance
        if head == "heatmap":
            assert np.abs(found[1] - confidence(output, Calibration(2.0, 8.0)).numpy()).max() < (0.01 if half else 1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["flcourse"]) == metadata
    assert len(found) == (2 if head == "heatmap" else 1)  # no confidence where it was not calibrated
    used = OnnxNetwork(tmp_path / "net.onnx")
    assert used.metadata == metadata and used.held_out[:2] == (6.5, 10)
    assert used.accept == (0.125 if head == "heatmap" else 0)


def test_a_network_of_two_sizes_takes_the_larger_for_still_images(tmp_path):
    torch.manual_seed(0)
    network = Xception(width=0.05, middle_blocks=1, stem_stride=4, refine=True).eval()
    recipe = {"size": 64, "still_size": 96, "head": "heatmap", "stem_stride": 4}
    fits = {"calibration": Calibration(2.0, 8.0, 0.2), "still_calibration": Calibration(1.0, 3.0, 0.1)}
    metadata = {"recipe": recipe} | {name: fit._asdict() for name, fit in fits.items()}
    export_onnx(network, metadata, tmp_path / "net.onnx")
    landmarker = FaceLandmarker(tmp_path / "net.onnx", detector=None)
    assert (landmarker.size, landmarker.still_size, landmarker.network.accept) == (64, 96, 0.1)
    for size in (64, 96, 128):  # any number of faces, of any size that the strides divide
        crops = np.random.default_rng(size).uniform(-1, 1, (3, 1, size, size)).astype(np.float32)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(crops))
        found = landmarker.network(crops)
        assert np.abs(found["points01"] - wanted.points01.numpy()).max() < 1e-4
        chance = confidence(wanted, fits["calibration" if size == 64 else "still_calibration"])  # each has its own
        assert np.abs(found["confidence"] - chance.numpy()).max() < 1e-4
    image, boxes = data.astronaut(), [ASTRONAUT]
    small, large = (landmarker.at(image, boxes, size=size)[0].points for size in (64, 96))
    assert np.array_equal(landmarker.at(image, boxes)[0].points, small) and np.abs(small - large).max() > 1e-3
    calls = FaceLandmarker(tmp_path / "net.onnx", detector=Astronaut(), tta=1)
    calls.network.accept = 0.0  # it has learned nothing
    assert np.array_equal(calls(image)[0].points, large)
    with pytest.raises(CourseError, match="cannot be run"):
        landmarker.at(image, boxes, size=80)


class Astronaut:
    """A detector that knows one face."""

    name, box_map, threshold = "astronaut", BoxMap(1, 0, 0), 0.5

    def __call__(self, image):
        return [Detection(ASTRONAUT, 1.0)]


def test_the_shipped_files_are_one_network():
    """The same points to 0.01 px, by ONNX Runtime and by PyTorch, both from half precision and batch norms unfolded."""
    by_torch, by_onnx = TorchNetwork(SHIPPED), FaceLandmarker(detector=None).network
    for size in (by_torch.size, by_torch.still_size):
        crops = drawn_crops(size, faces=4)
        wanted, found = by_torch(crops), by_onnx(crops)
        assert np.abs(from01(found["points01"], size) - from01(wanted["points01"], size)).max() < 0.01
        assert np.abs(found["confidence"] - wanted["confidence"]).max() < 1e-3
    network, metadata = load_network(SHIPPED)
    with torch.inference_mode():
        plain = network(torch.from_numpy(drawn_crops(by_torch.size, faces=4))).points01.numpy()
    shift = by_torch(drawn_crops(by_torch.size, faces=4))["points01"] - plain
    assert shift == pytest.approx(np.broadcast_to([metadata["label_shift"], 0], shift.shape), abs=1e-6)


def test_batch_norms_are_folded():
    path = SHIPPED.with_suffix(".onnx")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("Conv") > 30 and kinds.count("BatchNormalization") <= 1  # the head's follows a sum


def test_eight_bits_are_smaller_and_nearly_as_good(tmp_path):
    network, metadata = load_network(SHIPPED)
    export_onnx(network, metadata, tmp_path / "full.onnx")
    quantize_onnx(tmp_path / "full.onnx", drawn_crops(metadata["recipe"]["size"], faces=8), tmp_path / "int8.onnx")
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * (tmp_path / "full.onnx").stat().st_size
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert "DequantizeLinear" in kinds
    for box in (ASTRONAUT, Box.around((224, 112), 100)):
        full, small = (
            FaceLandmarker(tmp_path / name, detector=None).at(data.astronaut(), [box])[0]
            for name in ("full.onnx", "int8.onnx")
        )
        apart = np.linalg.norm(full.points - small.points, axis=1).mean()
        eyes = np.linalg.norm(full.points[36] - full.points[45])
        assert 0 < apart < 0.02 * eyes and abs(full.confidence - small.confidence) < 0.1
    props = {prop.key: prop.value for prop in onnx.load(tmp_path / "int8.onnx").metadata_props}
    assert json.loads(props["flcourse"]) == metadata
