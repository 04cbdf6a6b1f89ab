"""The plan as rows for a table: what `argotune plan` prints. No terminal code here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from presets.loader import anchors
from presets.schema import Anchor
from steps.common.training_plan import TrainingPlan
from steps.plan.choose import Job
from steps.plan.params import Params
from steps.plan.request import read_request
from steps.plan.skus import Fit, fits

COMPARABLE_RATIO = 1.5
"""A published speed counts for models up to this much larger or smaller."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a plan: a name, its value, and what the value means."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SkuRow:
    """One cloud SKU beside the job."""

    name: str
    gpus: int
    gpu_model: str
    gpu_memory_gib: float
    fits: bool
    needed_gb: float | None
    """Estimated peak of one GPU as the job would run there, decimal GB; None where it cannot."""
    micro_batch_tokens: int | None
    gradient_checkpointing: bool | None
    price_usd_per_hour: float | None
    published_speed: str
    """Tokens per second that others published for such a card and model; empty where none did."""
    reason: str
    """Why the job cannot run there; empty where it can."""
    chosen: bool
    """Whether the parameters name it."""


def plan_rows(plan: TrainingPlan) -> list[Row]:
    """The key numbers of a plan."""
    training, lora = plan.training, plan.lora
    step_tokens = training.micro_batch_tokens * training.accumulation_steps
    return [
        Row(name="model", value=plan.model.repository, note=plan.model.revision[:12]),
        Row(name="method", value=plan.method, note=_weights_note(plan)),
        Row(
            name="adapter",
            value=f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout:g}",
            note=", ".join(lora.target_modules),
        ),
        Row(name="longest row", value=f"{training.max_length} tokens", note="longer rows are cut"),
        Row(
            name="batch",
            value=f"{training.accumulation_steps} x {training.micro_batch_tokens} tokens",
            note=f"{step_tokens} tokens per optimizer step, rows packed",
        ),
        Row(
            name="rate",
            value=f"{training.learning_rate:g}, {training.scheduler}",
            note=f"warm-up {training.warmup_ratio:.0%}, seed {training.seed}",
        ),
        Row(name="length of run", value=_run_length(plan), note=_early_stop(plan)),
        Row(
            name="activations",
            value="recomputed" if training.gradient_checkpointing else "kept",
            note="gradient checkpointing " + ("on" if training.gradient_checkpointing else "off"),
        ),
        Row(
            name="held out",
            value=f"{plan.data.validation_share:.0%} of the rows",
            note=f"seed {plan.data.split_seed}",
        ),
        Row(name="machine", value=_machine(plan), note=_price(plan)),
    ]


def memory_rows(plan: TrainingPlan) -> list[Row]:
    """The terms of the memory estimate; the last row is their sum."""
    memory = plan.memory
    terms = (
        ("weights", memory.weights_gb, _weights_note(plan)),
        ("adapter", memory.lora_gb, "weights, gradients and Adam's moments in float32"),
        ("context", memory.context_gb, "CUDA and libraries"),
        (
            "activations",
            memory.activations_gb,
            f"{plan.training.micro_batch_tokens} tokens in one pass",
        ),
        ("logits", memory.logits_gb, "512 positions at a time"),
        ("fragmentation", memory.fragmentation_gb, "5 %"),
        ("peak", memory.total_gb, _capacity(plan)),
    )
    return [Row(name=name, value=f"{size:.2f} GB", note=note) for name, size, note in terms]


def sku_rows(params: Params, *, every: bool = False) -> list[SkuRow]:
    """The SKUs that the job fits on, cheapest first; with `every` the others too, with reasons.

    The SKU that the parameters name is always there. Raises ParamsError as make_plan does, but
    not for a SKU that cannot be used.
    """
    request = read_request(params)
    named = request.sku.name if request.sku is not None else None
    return [
        _sku_row(fit, request.job, chosen=fit.sku.name == named)
        for fit in fits(request.job)
        if every or fit.choice is not None or fit.sku.name == named
    ]


def _sku_row(fit: Fit, job: Job, *, chosen: bool) -> SkuRow:
    choice = fit.choice
    return SkuRow(
        name=fit.sku.name,
        gpus=fit.sku.gpus,
        gpu_model=fit.sku.gpu_model,
        gpu_memory_gib=fit.sku.gpu_memory_gib,
        fits=choice is not None,
        needed_gb=choice.memory.total_gb if choice else None,
        micro_batch_tokens=choice.micro_batch_tokens if choice else None,
        gradient_checkpointing=choice.gradient_checkpointing if choice else None,
        price_usd_per_hour=fit.sku.price_usd_per_hour,
        published_speed=_published_speed(fit, job) if choice else "",
        reason=fit.reason or "",
        chosen=chosen,
    )


def _published_speed(fit: Fit, job: Job) -> str:
    def distance(anchor: Anchor) -> float:
        return abs(math.log(anchor.parameters / job.preset.parameters))

    candidates = [
        anchor
        for anchor in anchors()
        if anchor.gpu_model == fit.sku.gpu_model
        and anchor.method == job.method
        and distance(anchor) <= math.log(COMPARABLE_RATIO)
    ]
    if not candidates:
        return ""
    nearest = min(candidates, key=distance)
    return f"{nearest.tokens_per_second:g} tokens/s with {nearest.model} ({nearest.source})"


def _weights_note(plan: TrainingPlan) -> str:
    if plan.quantization is None:
        return "bfloat16"
    double = " with double quantisation" if plan.quantization.double_quant else ""
    return f"4 bits, {plan.quantization.quant_type}{double}"


def _run_length(plan: TrainingPlan) -> str:
    epochs = f"{plan.training.epochs:g} epochs"
    return epochs if plan.training.max_steps is None else f"{plan.training.max_steps} steps at most"


def _early_stop(plan: TrainingPlan) -> str:
    patience = plan.training.early_stopping_patience
    return "" if patience is None else f"ends after {patience} evaluations without a better loss"


def _machine(plan: TrainingPlan) -> str:
    hardware = plan.hardware
    if not hardware.gpus:
        return "this machine"
    name = hardware.instance_type or "existing node"
    return f"{name}, {hardware.gpus} x {hardware.gpu_model or 'GPU'}"


def _price(plan: TrainingPlan) -> str:
    price = plan.hardware.price_usd_per_hour
    return "" if price is None else f"{price:g} USD/h"


def _capacity(plan: TrainingPlan) -> str:
    memory = plan.hardware.gpu_memory_gib
    return "" if memory is None else f"of one GPU with {memory:g} GiB"
