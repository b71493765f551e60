"""Networks for use without PyTorch: ONNX files, in full or half precision, or with 8-bit arithmetic."""

import json
import tempfile
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from flcourse.data.drawn_faces import draw_face
from flcourse.files import atomic_write, work_folder
from flcourse.images import to_input, warp
from flcourse.metadata import SIDES, crop_sizes, least_confidence
from flcourse.points import crop_matrix
from flcourse.training.checkpoints import load_network
from flcourse.training.heatmaps import Calibration, confidence
from flcourse.training.xception import Xception

LARGE = 5000  # numbers, from which a tensor is stored in half precision: the first layers' rounding is felt most


class Exported(nn.Module):
    """A network with the outputs that the using wing reads: points and, where it was calibrated, confidence."""

    def __init__(self, network: Xception, metadata: dict) -> None:
        super().__init__()
        self.network, self.size = network.eval(), metadata["recipe"]["size"]
        fits = [metadata.get(name) for name in ("calibration", "still_calibration")]
        self.calibration, self.still_calibration = (Calibration(**fit) if fit else None for fit in fits)
        # Of x and y, see `calibration.label_shift`.
        self.register_buffer("shift", torch.tensor([metadata.get("label_shift", 0.0), 0.0]))
        self.outputs = ("points01", "confidence") if self.calibration else ("points01",)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        output = self.network(crops)
        points01 = output.points01 + self.shift
        if self.calibration is None:
            return (points01,)
        chance = confidence(output, self.calibration)
        if self.still_calibration:  # finer maps are sharper or less so than coarse ones
            side = torch.ones_like(crops[:, 0, 0]).sum(dim=1)  # px, as a tensor: ONNX chooses by it
            chance = torch.where(side > self.size, confidence(output, self.still_calibration), chance)
        return points01, chance


class TorchNetwork:
    """A PyTorch checkpoint as what `face.landmarker.FaceLandmarker` takes for its network (its protocol `Network`)."""

    engine = "torch"

    def __init__(self, path: Path) -> None:
        network, metadata = load_network(path)
        self.name = str(path)
        self.size, self.still_size = crop_sizes(metadata["recipe"])
        self.label_shift = metadata.get("label_shift", 0.0)
        self._network = Exported(network, metadata)
        self.accept = least_confidence(metadata) if self._network.calibration else 0.0

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """See `Network`."""
        with torch.inference_mode():
            answers = self._network(torch.from_numpy(crops))
        return {name: answer.numpy() for name, answer in zip(self._network.outputs, answers, strict=True)}


def export_onnx(network: Xception, metadata: dict, path: Path, half: bool = False) -> None:
    """Write the network as ONNX: `crops` (N, 1, size, size) in [-1, 1] -> `points01` (N, 68, 2), `confidence` (N,).

    A network that was trained on crops of two sizes takes any size that its strides divide.
    `metadata` goes into the file's metadata under `flcourse`, as JSON; only a calibrated network has `confidence`.
    With `half` the weights are stored in float16 and cast to float32 on loading: half the size, the same speed.
    """
    recipe = metadata["recipe"]
    size, exported = recipe["size"], Exported(network, metadata)
    # Two crops, because the exporter takes a batch of one for a constant.
    shape: dict[int, Any] = {0: torch.export.Dim("faces")}
    if recipe.get("still_size"):
        stride = 8 * recipe.get("stem_stride", 2)
        shape[2] = shape[3] = stride * torch.export.Dim("cells", min=2, max=SIDES[1] // stride)
    model = to_onnx(exported, torch.zeros(2, 1, size, size), "crops", exported.outputs, (shape,))
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        if side.dim_param:
            side.dim_param = "size"
    if half:
        _store_half(model)
    write_model(model, metadata, path)


def to_onnx(
    module: nn.Module, example: Tensor, input_name: str, output_names: Sequence[str], dynamic_shapes: tuple
) -> onnx.ModelProto:
    """A module of one input as ONNX, without what the exporter notes of this machine; see `torch.onnx.export`."""
    with warnings.catch_warnings(), work_folder("flcourse") as folder:
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes=dynamic_shapes,
            dynamo=True,
            verbose=False,
        )
        raw = folder / "network.onnx"
        assert program is not None, "with dynamo there is one"
        program.save(raw)
        model = onnx.load(raw)
    strip(model)
    return model


def write_model(model: onnx.ModelProto, metadata: dict, path: Path) -> None:
    """Write an ONNX model with `metadata` under `flcourse`, as JSON, once ONNX's checker has passed it."""
    model.metadata_props.add(key="flcourse", value=json.dumps(metadata))
    onnx.checker.check_model(model)
    atomic_write(path, model.SerializeToString())


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of the Python code behind every node, with the paths of this machine."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _store_half(model: onnx.ModelProto) -> None:
    """Replace every large float32 initialiser by a float16 one and a Cast, which ONNX Runtime folds on loading."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= LARGE:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def drawn_crops(size: int, faces: int = 48) -> np.ndarray:
    """Crops (N, 1, size, size) of drawn faces, for `quantize_onnx`: at hand on every machine, and free of any data."""
    drawn = [draw_face(seed) for seed in range(faces)]
    return np.stack([to_input(warp(face.image, crop_matrix(face.box, size), size)) for face in drawn])


def quantize_onnx(path: Path, crops: np.ndarray, out: Path) -> None:
    """Write a network of `export_onnx` with 8-bit convolutions: a quarter of the size, faster, and a little less exact.

    `crops` (N, 1, size, size) are what the network is used on: they fix the range of every activation (static
    quantization; weights have a range for each channel). The layer that draws the maps stays in float32, because the
    soft-argmax feels its every step.
    """
    with work_folder("flcourse") as folder, _temporary_files_in(folder):
        plain, small = folder / "plain.onnx", folder / "int8.onnx"
        quant_pre_process(path, plain, skip_symbolic_shape=True)  # folds the casts of half-precision weights, and more
        convolutions = [node.name for node in onnx.load(plain).graph.node if node.op_type == "Conv"]
        quantize_static(
            plain,
            small,
            _Crops(crops),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            nodes_to_exclude=convolutions[-1:],
        )
        model = onnx.load(small)
    metadata = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    strip(model)
    onnx.helper.set_model_props(model, metadata)
    atomic_write(out, model.SerializeToString())


@contextmanager
def _temporary_files_in(folder: Path) -> Generator[None, None, None]:
    """Where ONNX Runtime's quantizer, which takes no folder, puts its files: else those of a killed process stay."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


class _Crops(CalibrationDataReader):
    """Crops one by one, as ONNX Runtime's calibration takes them."""

    def __init__(self, crops: np.ndarray) -> None:
        self._rest = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        crop = next(self._rest, None)
        return None if crop is None else {"crops": crop[None]}
