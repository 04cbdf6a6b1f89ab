"""The card that a run is planned for: of a cloud SKU, of a named existing node, or none."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.schema import Sku
from argotune.steps.plan.key import FLOAT16

USABLE_SHARE = 15 / 16
"""Error correction on GDDR6 cards (A10, T4) takes a sixteenth; on others it is a margin."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the plan counts on."""

    instance_type: str | None
    gpus: int
    """0: no GPU is known of, the plan is for this machine's CPU."""
    gpu_model: str | None
    gpu_memory_gib: float | None
    price_usd_per_hour: float | None = None

    @property
    def usable_gb(self) -> float | None:
        """Memory that one GPU gives to the run, decimal GB; None without a GPU."""
        if self.gpu_memory_gib is None:
            return None
        return self.gpu_memory_gib * GIB / 1e9 * USABLE_SHARE


THIS_MACHINE = Card(instance_type=None, gpus=0, gpu_model=None, gpu_memory_gib=None)


def card_of(sku: Sku) -> Card:
    """The card of a cloud SKU."""
    return Card(
        instance_type=sku.name,
        gpus=sku.gpus,
        gpu_model=sku.gpu_model,
        gpu_memory_gib=sku.gpu_memory_gib,
        price_usd_per_hour=sku.price_usd_per_hour,
    )


def unusable(sku: Sku) -> str | None:
    """Why no run may be planned on a SKU, whatever its size; None when it may."""
    if sku.retired is not None:
        return f"retired by the cloud on {sku.retired.isoformat()}"
    if sku.vendor != "nvidia":
        return f"an AMD {sku.gpu_model}; the images and bitsandbytes are for CUDA"
    if not sku.bfloat16:
        return f"{sku.gpu_model} has no bfloat16, and {FLOAT16}"
    return None
