"""Everything that writes or reads weights, checkpoints and histories."""

import csv
import io
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from flcourse.errors import CourseError
from flcourse.files import atomic_write
from flcourse.training.nets import Xception


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


def read_checkpoint(path: Path) -> dict:
    """The content of a `last.pt`. Raises `CourseError` where it is none; never runs code that a pickle may carry."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror or error}, expected a checkpoint") from error
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can fail anywhere in the unpickler, with any exception
        raise CourseError(f"{path}: truncated, or not a checkpoint that flcourse wrote; not loaded") from error
    if not isinstance(state, dict) or not {"config", "describe", "model", "history"} <= state.keys():
        raise CourseError(f"{path}: a PyTorch file, but not a checkpoint that flcourse wrote; not loaded")
    return state


def resumed_checkpoint(path: Path | None, now: dict) -> dict:
    """The content of the `last.pt` at `path`, to go on with the settings `now`, of "config" and "describe".

    Raises `CourseError` where there is none, where it is broken, and where it was made with other settings.
    """
    if not path or not path.exists():
        raise CourseError(f"{path}: no checkpoint to resume from; start without --resume")
    state = read_checkpoint(path)
    wanted, found = (_flat(settings["config"] | settings["describe"]) for settings in (now, state))
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CourseError(
                f"{path}: was trained with {name}={found.get(name)!r}, now {name}={wanted.get(name)!r}; "
                "resume with the same settings, or start anew with another --out"
            )
    return state


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
    one. Raises `CourseError` where the file is missing, truncated, a pickle of something else, or of another shape.
    """
    path = Path(path)
    if path.suffix == ".pt":
        checkpoint = read_checkpoint(path)
        metadata = checkpoint["describe"]
        state = checkpoint["model"]
        if checkpoint["ema"]:
            prefix = "module."
            state = {k.removeprefix(prefix): v for k, v in checkpoint["ema"].items() if k.startswith(prefix)}
    else:
        metadata, state = _read_safetensors(path)
    try:
        recipe = metadata["recipe"]
        blocks = int(recipe.get("middle_blocks", 8))  # weights from before this could be chosen do not say
        network = Xception(width=float(recipe["width"]), head=recipe["head"], middle_blocks=blocks)
    except (KeyError, TypeError, ValueError) as error:
        raise CourseError(f"{path}: holds weights, but not of one of flcourse's landmark networks") from error
    try:
        network.load_state_dict(state)  # copies into float32
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CourseError(f"{path}: the weights are of another shape than Xception's ({first})") from error
    return network.eval(), metadata


def _read_safetensors(path: Path) -> tuple[dict, dict[str, Tensor]]:
    if not path.is_file():
        raise CourseError(f"{path}: no such file, expected weights (.safetensors, .pt or .onnx)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("flcourse", "{}"))
            return metadata, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CourseError(f"{path}: truncated, or not a safetensors file; not loaded") from error
