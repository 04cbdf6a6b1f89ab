"""Which cloud SKUs a job fits on, and advice if it does not fit on the requested one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from argotune.presets.schema import Sku
from argotune.steps.nodes.resources import allocatable, shortages
from argotune.steps.plan.choose import Choice, Job, choose, smallest_memory, workers
from argotune.steps.plan.hardware import Card, card_of, sku_problem
from argotune.steps.plan.memory import FLOAT32_BYTES, GB

LENGTH_STEP = 256
"""Shorter lengths are proposed in multiples of this many tokens."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether and how a job runs on a SKU."""

    sku: Sku
    choice: Choice | None
    """Batch and checkpointing on the SKU; None if the job cannot run there."""
    reason: str | None
    """Why the job cannot run on the SKU; None if it can."""


def fits(job: Job) -> list[Fit]:
    """Every SKU that may be proposed: those that fit first, the cheapest of them first."""
    return sorted((fit(job, each) for each in job.skus), key=_order)


def fit(job: Job, sku: Sku) -> Fit:
    """Whether and how the job runs on a SKU."""
    reason = sku_problem(sku) or pod_problem(job, sku)
    choice = choose(job, card_of(sku)) if reason is None else None
    if reason is None and choice is None:
        reason = _too_small(job, card_of(sku))
    return Fit(sku=sku, choice=choice, reason=reason)


def pod_problem(job: Job, sku: Sku) -> str | None:
    """Why the tune pod cannot be scheduled on a node of the SKU; None if it can.

    Such a node would be paid for while the pod waits for another.
    """
    has = allocatable(vcpus=sku.vcpus, memory_gib=sku.memory_gib)
    return "; ".join(shortages(job.resources, has)) or None


def nearest_fit(job: Job) -> Fit | None:
    """The cheapest available SKU that computes in bfloat16 and has room for the job."""
    return next((each for each in fits(job) if each.choice is not None), None)


def refusal(job: Job, card: Card) -> str:
    """The error message for a job that does not fit a GPU: memory numbers and possible changes."""
    where = card.instance_type or "the GPU of training_config.Argotune.gpu_memory_gib"
    ways = [
        way
        for way in (
            _fewer_adapters(job, card),
            _shorter(job, card),
            _other_sku(job, card),
            _advise_4bit(job, card),
            _advise_sharding(job, card),
        )
        if way is not None
    ]
    advice = f"; possible changes: {'; '.join(ways)}" if ways else ""
    return f"{where}: {_too_small(job, card)}{advice}"


def _too_small(job: Job, card: Card) -> str:
    memory, usable_gb = smallest_memory(job, card), card.usable_gb or 0.0
    tokens = job.settings.micro_batch_tokens or job.settings.max_length
    loaded_gb = FLOAT32_BYTES * job.loaded_weights / GB
    adapters = f" beside {loaded_gb:.1f} GB of adapters" if job.loaded_weights else ""
    return (
        f"{job.preset.name} with {job.method} and {tokens} tokens per pass{adapters} needs "
        f"{memory.total_gb:.1f} GB per GPU, but {card.gpu_model or 'it'} has {usable_gb:.1f} GB"
    )


def _fewer_adapters(job: Job, card: Card) -> str | None:
    if not job.loaded_weights or choose(replace(job, loaded_weights=0), card) is None:
        return None
    return "fewer models in one evaluation"


def _shorter(job: Job, card: Card) -> str | None:
    """Advice with the longest max_length that fits; longer rows are truncated."""
    lengths = range(LENGTH_STEP, job.settings.max_length, LENGTH_STEP)
    for length in reversed(lengths):
        shorter = replace(job.settings, max_length=length, micro_batch_tokens=None)
        changed = replace(job, settings=shorter)
        if choose(changed, card) is not None:
            least_gb = smallest_memory(changed, card).total_gb
            return f"max_length {length} instead of {job.settings.max_length} ({least_gb:.1f} GB)"
    return None


def _other_sku(job: Job, card: Card) -> str | None:
    found = nearest_fit(job)
    if found is None or found.sku.name == card.instance_type:
        return None
    return f"instance type {describe(found.sku)}, which has {usable_memory(found.sku)}"


def _advise_4bit(job: Job, card: Card) -> str | None:
    """Advice to use 4-bit weights, with shorter rows if these alone do not suffice."""
    if job.method == "qlora":
        return None
    quantised = replace(job, method="qlora")
    if choose(quantised, card) is not None:
        return f"method qlora instead of lora ({smallest_memory(quantised, card).total_gb:.1f} GB)"
    shorter = _shorter(quantised, card)
    return None if shorter is None else f"method qlora instead of lora with {shorter}"


def _advise_sharding(job: Job, card: Card) -> str | None:
    if job.settings.shard or workers(job.settings, card) == 1:
        return None
    sharded = replace(job, settings=replace(job.settings, shard=True))
    if choose(sharded, card) is None:
        return None
    least_gb = smallest_memory(sharded, card).total_gb
    return (
        f"TrainingArguments.fsdp full_shard over its {card.gpus} GPUs ({least_gb:.1f} GB of each)"
    )


def usable_memory(sku: Sku) -> str:
    """Memory of one GPU that a run can use, as text in decimal GB."""
    return f"{card_of(sku).usable_gb:.1f} GB"


def describe(sku: Sku) -> str:
    """One line about a SKU: name, GPUs, memory, and price if known."""
    memory = f"{sku.gpu_memory_gib:g} GiB"
    cards = f"{sku.gpu_model}, {memory}"
    if sku.gpus > 1:
        cards = f"{sku.gpus} x {sku.gpu_model}, {memory} each"
    price = sku.price_usd_per_hour
    cost = "" if price is None else f", {price:g} USD/h in {sku.price_region}"
    return f"{sku.name} ({cards}{cost})"


def _order(fit: Fit) -> tuple[bool, float, int, float, str]:
    price = fit.sku.price_usd_per_hour
    return (
        fit.choice is None,
        math.inf if price is None else price,
        fit.sku.gpus,
        fit.sku.gpu_memory_gib,
        fit.sku.name,
    )
