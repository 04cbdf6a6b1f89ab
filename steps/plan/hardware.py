"""The GPUs that a run is planned for: of a cloud SKU, of an existing node, or none."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.schema import Sku
from argotune.steps.common.driver import driver_problem
from argotune.steps.plan.key import FLOAT16

USABLE_SHARE = 15 / 16
"""ECC on GDDR6 GPUs (A10, T4) takes a sixteenth of the memory; on others this is a reserve."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Card:
    """The machine's GPUs, as assumed by the plan."""

    instance_type: str | None
    gpus: int
    """Number of GPUs; 0: no GPU was found or named, the plan is for this machine's CPU."""
    gpu_model: str | None
    gpu_memory_gib: float | None
    price_usd_per_hour: float | None = None

    @property
    def usable_gb(self) -> float | None:
        """Memory of one GPU that the run can use, decimal GB; None without a GPU."""
        if self.gpu_memory_gib is None:
            return None
        return self.gpu_memory_gib * GIB / 1e9 * USABLE_SHARE


THIS_MACHINE = Card(instance_type=None, gpus=0, gpu_model=None, gpu_memory_gib=None)


def card_of(sku: Sku) -> Card:
    """The GPUs of a cloud SKU."""
    return Card(
        instance_type=sku.name,
        gpus=sku.gpus,
        gpu_model=sku.gpu_model,
        gpu_memory_gib=sku.gpu_memory_gib,
        price_usd_per_hour=sku.price_usd_per_hour,
    )


def sku_problem(sku: Sku) -> str | None:
    """Why no run can be planned on a SKU, regardless of its memory; None if one can."""
    if sku.retired is not None:
        return f"retired by the cloud on {sku.retired.isoformat()}"
    if sku.vendor != "nvidia":
        return f"its GPU is an AMD {sku.gpu_model}, but the images and bitsandbytes need CUDA"
    if not sku.bfloat16:
        return f"{sku.gpu_model} has no bfloat16, and {FLOAT16}"
    if problem := driver_problem(sku.newest_driver):
        return f"{problem}, and {sku.cloud} has no newer one for it"
    return None
