"""Where a training runs: the device, which process of how many, and what is known to be right and fast there."""

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor

from flcourse.errors import CourseError

CPU_INFO = Path("/proc/cpuinfo")  # Linux's


class Device(NamedTuple):
    """Where this process trains, and which process of how many it is."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def bfloat16(self) -> bool:
        """Whether mixed precision in bfloat16 is faster here: recent NVIDIA cards, and CPUs that multiply in it.

        CPUs: AMX tiles (Intel from 2023), and AVX512-BF16 (AMD from Zen 4, Intel's Cooper Lake).
        """
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return self.device.type == "cpu" and not cpu_features().isdisjoint({"amx_bf16", "avx512_bf16"})


@cache
def cpu_features() -> frozenset[str]:
    """What the CPU can do, by PyTorch's and Linux's names; empty where neither tells."""
    if hasattr(torch.cpu, "get_capabilities"):  # PyTorch from 2.10 on
        return frozenset(name for name, there in torch.cpu.get_capabilities().items() if there is True)
    try:
        text = CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return frozenset(next((line for line in text.splitlines() if line.startswith("flags")), "").split())


def memory_format(device: torch.device) -> torch.memory_format:
    """How (N, C, H, W) tensors lie in memory there: channels last, which convolutions are faster with.

    Not on Apple's MPS, where PyTorch had wrong batch-norm gradients for it until mid-2026.
    """
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A batch on the device, in its memory format."""
    tensor = tensor.to(device, non_blocking=True)
    return tensor.contiguous(memory_format=memory_format(device)) if tensor.ndim == 4 else tensor


@contextlib.contextmanager
def choose_device(name: str | None = None) -> Iterator[Device]:
    """The device called `name`, else the first of cuda, mps and cpu that there is; under torchrun, this process's.

    Raises `CourseError` for a device that is not there.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [kind for kind, is_there in here.items() if is_there]
    name = name or there[0]
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in there or (number and not (number.isdecimal() and int(number) < count)):
        raise CourseError(f"device {name!r}: not on this machine, expected {' or '.join(there)}")
    if not torch.distributed.is_torchelastic_launched():  # not by RANK, which batch systems set for their own ends
        yield Device(torch.device(name))
        return
    cuda = name.startswith("cuda")
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if cuda else name)
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Device(device, torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
