"""The accelerator of this machine and the number formats that it trains in."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import sys
from dataclasses import dataclass

import torch

from argotune.presets.loader import skus
from argotune.presets.schema import Sku
from argotune.steps.common.errors import PermanentError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_KEPT_BYTES = 32 * 2**20
"""The most that glibc takes for M_MMAP_THRESHOLD."""
_MOST_KEPT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Device:
    """Where and in which precision to train."""

    torch_device: torch.device
    weights: torch.dtype
    """Type of the frozen weights that are not 4-bit, and of 4-bit matrices when multiplied."""
    autocast: torch.dtype | None
    """Type of the matrix products of the fp32 adapters; None where they stay fp32."""

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """The context of every forward pass."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.autocast)

    def seed(self, number: int) -> None:
        """Seed this device's generator. torch.manual_seed seeds those of all kinds of devices, and
        on a machine without CUDA keeps each call for a CUDA that never comes: 0.7 ms and memory."""
        if self.torch_device.type == "cuda":
            torch.cuda.manual_seed(number)
        else:
            torch.default_generator.manual_seed(number)


def find_device(rank: int = 0) -> Device:
    """CUDA device `rank`, else the CPU. Raises PermanentError for a GPU without bfloat16."""
    # torch's first choice on Hopper and Blackwell, but it plans every new shape, 0.44 s forward and
    # 0.55 s backward on a B200 (modelscope/FunASR, issue 3704), and hardly two packs have the same.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if not torch.cuda.is_available():
        keep_freed_memory()
        return Device(torch.device("cpu"), torch.float32, None)
    # Rows of many lengths leave holes in fixed segments; read when CUDA allocates first.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        raise PermanentError(
            f"{torch.cuda.get_device_name()} has no bfloat16, and in fp16 one in five QLoRA runs "
            "of a 7B model ends in NaN; take an Ampere GPU or newer, such as "
            f"{nearest_with_bfloat16(memory_gib).name}"
        )
    return Device(torch.device("cuda", rank), torch.bfloat16, torch.bfloat16)


def keep_freed_memory() -> None:
    """Have glibc keep what tensors give back, as CUDA's allocator does, for the next ones: fresh
    pages of the kernel's take as long as the arithmetic that fills them."""
    # Another C library has no such call.
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


def nearest_with_bfloat16(memory_gib: float) -> Sku:
    """The machine with the fewest and smallest GPUs on offer that compute in bfloat16 and have that
    much memory each, or with the largest if none have; of equals the cheapest."""
    offered = [
        sku for sku in skus() if sku.bfloat16 and sku.vendor == "nvidia" and sku.retired is None
    ]
    enough = [sku for sku in offered if sku.gpu_memory_gib >= memory_gib]
    if not enough:
        return max(offered, key=lambda sku: sku.gpu_memory_gib)
    return min(
        enough, key=lambda sku: (sku.gpus, sku.gpu_memory_gib, sku.price_usd_per_hour or math.inf)
    )


def peak_memory_gb(device: Device) -> float:
    """Most memory held so far on the GPU, or by this process on a CPU, decimal GB."""
    if device.torch_device.type == "cuda":
        return torch.cuda.max_memory_reserved(device.torch_device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
