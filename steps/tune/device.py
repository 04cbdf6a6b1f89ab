"""The accelerator that training uses: its substitute where it will not do, its peak memory."""

from __future__ import annotations

import math
import resource
import sys

import torch

from argotune.presets.loader import skus
from argotune.presets.schema import Sku
from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.causal_lm import device as causal_lm
from argotune.steps.causal_lm.device import Device


def find_device(rank: int = 0, *, cuda: Cuda = TORCH) -> Device:
    """CUDA device `rank`, else the CPU; a refusal names a machine of the catalog.

    Raises PermanentError as `causal_lm.device.find_device`.
    """
    return causal_lm.find_device(
        rank, cuda=cuda, machine_for=lambda memory_gib: nearest_with_bfloat16(memory_gib).name
    )


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
