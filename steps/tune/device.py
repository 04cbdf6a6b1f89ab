"""The accelerator of this machine and the data types for training on it."""

from __future__ import annotations

import contextlib
import ctypes
import math
import resource
import sys
from dataclasses import dataclass

import torch

from argotune.presets.loader import skus
from argotune.presets.schema import Sku
from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import prepare_gpu
from argotune.steps.common.errors import PermanentError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_KEPT_BYTES = 32 * 2**20
"""glibc's upper limit for M_MMAP_THRESHOLD."""
_MOST_KEPT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Device:
    """Device and data types for training."""

    torch_device: torch.device
    weights: torch.dtype
    """Type of frozen weights that are not 4-bit, and of 4-bit weights after dequantization."""
    autocast: torch.dtype | None
    """Type of the matrix products of the fp32 adapters; None: fp32."""

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """The autocast context for forward passes."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.autocast)

    def seed(self, number: int) -> None:
        """Seed this device's generator.

        torch.manual_seed would seed the generators of all device types, and without CUDA it queues
        each call for a later initialization of CUDA, which takes 0.7 ms and memory.
        """
        if self.torch_device.type == "cuda":
            torch.cuda.manual_seed(number)
        else:
            torch.default_generator.manual_seed(number)


def find_device(rank: int = 0, *, cuda: Cuda = TORCH) -> Device:
    """CUDA device `rank`, else the CPU.

    Raises PermanentError for a GPU on which torch cannot compute, or which has no bfloat16.
    """
    # torch prefers cuDNN's attention on Hopper and Blackwell, but cuDNN plans every new shape, 0.44
    # s forward and 0.55 s backward on a B200 (modelscope/FunASR, issue 3704), and packs differ in
    # shape.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if not cuda.count():
        keep_freed_memory()
        return Device(torch.device("cpu"), torch.float32, None)
    prepare_gpu(rank, cuda=cuda)
    if not cuda.has_bfloat16(rank):
        gpu = cuda.gpu(rank)
        raise PermanentError(
            f"{gpu.name} has no bfloat16, and in fp16 one in five QLoRA runs of a 7B model ends in "
            "NaN; use an Ampere GPU or newer, such as "
            f"{nearest_with_bfloat16(gpu.memory_gib).name}"
        )
    return Device(torch.device("cuda", rank), torch.bfloat16, torch.bfloat16)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for later tensors, as CUDA's allocator does.

    New pages from the kernel take as long as the arithmetic that fills them.
    """
    # Other C libraries have no such call.
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


def nearest_with_bfloat16(memory_gib: float) -> Sku:
    """The available SKU with the fewest and smallest GPUs that have bfloat16 and this much memory.

    If no GPU has as much memory, the one with the most; of equal SKUs the cheapest.
    """
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
    """Peak memory of the GPU since `forget_peak_memory`, or of this process, decimal GB."""
    if device.torch_device.type == "cuda":
        return torch.cuda.max_memory_reserved(device.torch_device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def forget_peak_memory(device: Device) -> None:
    """Begin a new measurement of the GPU's peak memory; that of a process cannot begin anew."""
    if device.torch_device.type == "cuda":
        # Loading leaves segments that training would not have reserved.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device.torch_device)
