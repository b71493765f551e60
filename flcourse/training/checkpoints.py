"""Everything that writes or reads weights, checkpoints and histories."""

import csv
import io
import itertools
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from flcourse.errors import CourseError
from flcourse.files import atomic_write
from flcourse.metadata import check_metadata, parse_metadata
from flcourse.training.xception import Xception

NETWORK_OPTIONS = ("middle_blocks", "stem_stride", "exit_convolutions", "refine")  # of `Xception`, as recipes name them


def pack_weights(model: nn.Module, metadata: dict, half: bool = False) -> bytes:
    """A network's weights as a safetensors file, `metadata` as JSON in its header; `half` stores them in float16."""
    state = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        state[name] = tensor.half() if half and tensor.is_floating_point() else tensor
    return to_safetensors(state, {"flcourse": json.dumps(metadata)})


def write_weights(path: Path, model: nn.Module, metadata: dict, half: bool = False) -> None:
    """Write `pack_weights`'s file."""
    atomic_write(path, pack_weights(model, metadata, half))


def write_checkpoint(path: Path, state: dict) -> None:
    """Write a training's state, atomically: a kill at any moment leaves a whole checkpoint."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic_write(path, buffer.getvalue())


def stored_half(path: Path) -> bool:
    """Whether a `.safetensors` file that `load_network` reads keeps its weights in float16."""
    with safe_open(path, framework="pt") as file:
        return any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())


def read_checkpoint(path: Path) -> dict:
    """The content of a `last.pt`, as far as it describes a network: `config`, `describe`, `model`, `ema`, `history`.

    Raises `CourseError` where it is none or its values are of the wrong kind; never runs code that a pickle may carry,
    nor unpacks what is larger than the file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror or error}, expected a checkpoint") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:  # PyTorch stores, it does not compress
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
                raise ValueError("compressed")
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can fail anywhere in the unpickler, with any exception
        raise CourseError(f"{path}: truncated, or not a checkpoint that flcourse wrote; not loaded") from error
    foreign = f"{path}: a PyTorch file, but not a checkpoint that flcourse wrote; not loaded"
    if not isinstance(state, dict) or not {"config", "describe", "model", "ema", "history"} <= state.keys():
        raise CourseError(foreign)
    kinds = {"config": dict, "describe": dict, "model": dict, "history": list}
    if not all(isinstance(state[name], kind) for name, kind in kinds.items()):
        raise CourseError(foreign)
    if state["ema"] is not None and not isinstance(state["ema"], dict):
        raise CourseError(foreign)
    check_metadata(state["describe"], path)
    return state


def read_training(path: Path) -> dict:
    """The content of a `last.pt`, as far as a training goes on from it.

    Raises `CourseError` where there is none, and where anything is missing or of the wrong kind.
    """
    state = read_checkpoint(path)
    for name, (right, expected) in _TRAINING.items():
        if name not in state or not right(state[name]):
            what = repr(state[name])[:60] if name in state else "not there"
            raise CourseError(f"{path}: {name} is {what}, expected {expected}; it cannot be gone on from")
    return state


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300  # which NaN is not


def _figures(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _number(v) for k, v in value.items())


_TRAINING: dict[str, tuple[Callable[[Any], bool], str]] = {
    "optimizer": (lambda value: isinstance(value, dict) and isinstance(value.get("state"), dict), "its state"),
    "epoch": (_count, "a count"),
    "batch": (_count, "a count"),
    "sums": (_figures, "sums of figures"),
    "history": (lambda rows: all(_figures(row) and row.get("epoch") == n for n, row in enumerate(rows, 1)), "rows"),
    "spent": (lambda value: value is None or _number(value), "seconds"),
    "evaluation": (lambda value: value is None or _number(value), "seconds"),
    "threads": (_count, "a count"),
    "world": (_count, "a count"),
    "bfloat16": (lambda value: isinstance(value, bool), "yes or no"),
}


def resumed_checkpoint(path: Path | None, now: dict) -> dict:
    """`read_training`'s content of the `last.pt` at `path`, to go on with the settings `now`, "config" and "describe".

    Raises `CourseError` where it was made with other settings, too.
    """
    if not path or not path.exists():
        raise CourseError(f"{path}: no checkpoint to resume from; start without --resume")
    state = read_training(path)
    if other := _difference(state, now):
        raise CourseError(
            f"{path}: was trained with {other}; resume with the same settings, or start anew with another --out"
        )
    return state


def _difference(state: dict, now: dict) -> str:
    """The first setting in which a training differs from `now`, as "width=0.25, now width=0.5"; "" where none does."""
    wanted, found = (_flat(settings["config"] | settings["describe"]) for settings in (now, state))
    for name in sorted(wanted.keys() | found.keys(), key=str):
        if wanted.get(name) != found.get(name):
            return f"{name}={found.get(name)!r}, now {name}={wanted.get(name)!r}"
    return ""


def run_folder(out: Path, now: dict) -> tuple[Path, bool, str]:
    """Where a training with the settings `now` (as for `resumed_checkpoint`) goes, so that no other one is in its way.

    That is `out`, or where a training with other settings lies there, the first of `out-2`, `out-3`, ... without one.
    Returns the folder, whether the same training lies there to be gone on with, and what lies in `out` instead.
    """
    why, folder = "", out
    for number in itertools.count(2):
        last = folder / "last.pt"
        if not last.exists():
            return folder, False, why
        try:
            other = _difference(read_training(last), now)
        except CourseError:
            other = "a checkpoint that cannot be read"
        if not other:
            return folder, True, why
        why = why or other
        folder = out.with_name(f"{out.name}-{number}")
    raise AssertionError("unreachable")


def _flat(settings: dict, prefix: str = "") -> dict:
    """Nested settings as one level: `{"recipe": {"size": 112}}` becomes `{"recipe.size": 112}`."""
    flat = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def write_history(out: Path, history: list[dict]) -> None:
    """Write `history.csv` and `history.json`, one row an epoch."""
    if not history:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    atomic_write(out / "history.csv", text.getvalue())
    atomic_write(out / "history.json", json.dumps(history, indent=1) + "\n")


def load_network(path: str | os.PathLike) -> tuple[Xception, dict]:
    """A landmark network from a `.safetensors` file or a training's `last.pt`, in evaluation mode, and its metadata.

    Weights stored in half precision are cast to float32. From a `last.pt` the moving average is taken where there is
    one. Raises `CourseError` where the file is missing, truncated, a pickle of something else, of another shape than
    its metadata say, or holds values that are no numbers. The network is built only once the shapes are seen to fit.
    """
    path = Path(path)
    if path.suffix == ".pt":
        checkpoint = read_checkpoint(path)
        metadata = checkpoint["describe"]
        if checkpoint["history"] and not checkpoint.get("batch"):  # an epoch's end: these weights were measured
            figures = {"epoch": len(checkpoint["history"]), "figures": checkpoint["history"][-1]}
            metadata = check_metadata(metadata | figures, path)
        state = checkpoint["model"]
        if checkpoint["ema"]:
            prefix = "module."
            average = {k: v for k, v in checkpoint["ema"].items() if isinstance(k, str)}
            state = {k.removeprefix(prefix): v for k, v in average.items() if k.startswith(prefix)}
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise CourseError(f"{path}: holds weights that are no tensors; not loaded")
        _check_shapes(path, metadata, {name: tuple(tensor.shape) for name, tensor in state.items()})
    else:
        metadata, state = read_safetensors(path, _check_shapes)
    network = _network(metadata["recipe"])
    try:
        network.load_state_dict(state)  # copies into float32
    except RuntimeError as error:  # of a kind that cannot be copied: quantized, sparse
        raise CourseError(f"{path}: the weights cannot be read as numbers; not loaded") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise CourseError(f"{path}: holds weights that are no numbers (NaN or infinite); not loaded")
    return network.eval(), metadata


def _network(recipe: dict) -> Xception:
    """The network that a checked recipe describes."""
    # Weights from before these could be chosen do not say them: then the network's defaults hold.
    options = {name: recipe[name] for name in NETWORK_OPTIONS if name in recipe}
    return Xception(width=recipe["width"], head=recipe["head"], **options)


def _check_shapes(path: Path, metadata: dict, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise `CourseError` where weights of these shapes are not the network's that checked metadata describe."""
    recipe = metadata.get("recipe") or {}
    if not {"size", "width", "head"} <= recipe.keys():
        raise CourseError(f"{path}: holds weights, but not of one of flcourse's landmark networks")
    with torch.device("meta"):  # shapes without memory
        expected = {name: tuple(tensor.shape) for name, tensor in _network(recipe).state_dict().items()}
    for name in [*expected, *shapes]:
        if shapes.get(name) != expected.get(name):
            found, wanted = shapes.get(name, "missing"), expected.get(name, "nothing")
            raise CourseError(
                f"{path}: the weights are of another shape than Xception's ({name[:80]!r}: {found}, expected {wanted})"
            )


def read_safetensors(
    path: Path, check: Callable[[Path, dict, dict[str, tuple[int, ...]]], None]
) -> tuple[dict, dict[str, Tensor]]:
    """The metadata and weights of a safetensors file, read once `check(path, metadata, shapes)` has not raised.

    Raises `CourseError` where the file is missing or damaged, and what `check` raises.
    """
    if not path.is_file():
        raise CourseError(f"{path}: no such file, expected weights (.safetensors, .pt or .onnx)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = parse_metadata((file.metadata() or {}).get("flcourse", "{}"), path)
            check(path, metadata, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})
            return metadata, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        raise CourseError(f"{path}: truncated, or not a safetensors file; not loaded") from error
