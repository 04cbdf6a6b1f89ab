"""The accelerator that training uses: its substitute where it will not do, its peak memory."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence

import torch

from argotune.presets.loader import sku_catalogs
from argotune.presets.schema import Sku
from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.causal_lm import device as causal_lm
from argotune.steps.causal_lm.device import Device
from argotune.steps.common.driver import driver_problem


def find_device(rank: int = 0, *, cuda: Cuda = TORCH) -> Device:
    """CUDA device `rank`, else the CPU; a refusal names a machine of each cloud.

    Raises PermanentError as `causal_lm.device.find_device`.
    """
    return causal_lm.find_device(
        rank,
        cuda=cuda,
        machine_for=lambda memory_gib: " or ".join(
            f"{each.name} ({each.cloud})" for each in nearest_with_bfloat16(memory_gib)
        ),
    )


def nearest_with_bfloat16(memory_gib: float) -> list[Sku]:
    """Of each cloud the usable SKU with the fewest and smallest GPUs of at least this memory.

    If no GPU has as much memory, the one with the most; of equal SKUs the cheapest.
    """
    return [_nearest(catalog.skus, memory_gib) for catalog in sku_catalogs()]


def _nearest(skus: Sequence[Sku], memory_gib: float) -> Sku:
    offered = [
        sku
        for sku in skus
        if sku.bfloat16
        and sku.vendor == "nvidia"
        and sku.retired is None
        and not driver_problem(sku.newest_driver)
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
