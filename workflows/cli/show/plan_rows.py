"""The plan as rows for a table, which `argotune plan` prints. No terminal code here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from argotune.presets.schema import Method, SkuCatalog
from argotune.steps.common.counted import counted
from argotune.steps.contracts.checks import Check, LmEval, Scorer
from argotune.steps.contracts.start_adapter import LIVE, NONE
from argotune.steps.contracts.steps_of_run import steps_of_tokens
from argotune.steps.contracts.training_plan import Data, Model, Training, TrainingPlan
from argotune.steps.plan.params import Params
from argotune.steps.plan.planning import (
    DATA_GIB,
    SEVERAL_GPUS_SHARE,
    Choice,
    Fit,
    Job,
    Settings,
    Span,
    anchors_of,
    fits,
    hours,
    read_request,
    speed_of,
    trained_tokens,
    volume_gib,
)

UNKNOWN_RUN_TOKENS = 10_000_000
"""Tokens for which hours are given where the length of the run is unknown."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a plan: a name, its value, and the meaning of the value."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SkuRow:
    """One cloud SKU beside the job."""

    name: str
    cloud: str
    gpus: int
    gpu_model: str
    gpu_memory_gib: float
    fits: bool
    peak_gb: float | None
    """Estimated peak of one GPU as the job would run there, decimal GB; None where it cannot."""
    micro_batch_tokens: int | None
    gradient_checkpointing: bool | None
    price_usd_per_hour: float | None
    tokens_per_second: Span | None
    """Class of the speed, from published runs; None where the job cannot run, and for cards with an
    unknown rate."""
    hours: Span | None
    """Hours of the run, or of ten million tokens where the run's tokens are unknown."""
    cost_usd: Span | None
    """Cost of these hours; None where price or hours are unknown."""
    reason: str
    """Why the job cannot run there; empty where it can."""
    chosen: bool
    """Whether the parameters name it."""


def plan_rows(plan: TrainingPlan, *, dataset_tokens: int | None = None) -> list[Row]:
    """List the key numbers of a plan."""
    training, lora = plan.training, plan.lora
    return [
        model_row(plan.model),
        Row(name="method", value=plan.method, note=_weights_note(plan)),
        Row(
            name="adapter",
            value=f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout:g}",
            note=", ".join(lora.target_modules),
        ),
        *_start(lora.start_from),
        Row(name="longest row", value=f"{training.max_length} tokens", note="longer rows are cut"),
        Row(
            name="batch",
            value=f"{training.accumulation_steps} x {training.micro_batch_tokens} tokens",
            note=_batch_note(training),
        ),
        Row(
            name="rate",
            value=f"{training.learning_rate:g}, {training.scheduler}",
            note=f"warm-up {training.warmup}, seed {training.seed}",
        ),
        Row(
            name="length of run",
            value=_run_length(plan, dataset_tokens),
            note=_early_stop(plan),
        ),
        Row(
            name="activations",
            value=_activations(plan),
            note="gradient checkpointing " + ("on" if training.gradient_checkpointing else "off"),
        ),
        _held_out(plan.data),
        *_check_rows(plan),
        Row(name="machine", value=_machine(plan), note=_price(plan)),
        *_speed_rows(plan, dataset_tokens),
        Row(
            name="volume",
            value=f"{volume_gib(plan)} GiB",
            note=f"{DATA_GIB} GiB for data, the rest for checkpoints and the adapter",
        ),
    ]


def model_row(model: Model) -> Row:
    """Name the base model with commit and license, or the source of other weights."""
    if model.source in ("hub", "cache"):
        gate = ", gated" if model.gated else ""
        note = f"{model.revision[:12]}, {model.license}{gate}"
        return Row(name="model", value=model.repository, note=note)
    return Row(name="model", value=model.source, note=f"in place of {model.repository}")


def _check_rows(plan: TrainingPlan) -> list[Row]:
    evaluation = plan.evaluation
    if not evaluation.checks:
        return []
    checks = ", ".join(f"{check.title} {_bounds(check)}" for check in evaluation.checks)
    note = "least score of each"
    if any(not isinstance(check, LmEval) for check in evaluation.checks):
        # Tasks of lm_eval have rows of their own.
        note += (
            f"; up to {evaluation.check_rows} answers of at most {evaluation.check_tokens} tokens"
        )
    return [Row(name="checks", value=checks, note=note)]


def _bounds(check: Check) -> str:
    """Name the bounds that a check has; some kinds may leave out each of them."""
    if not isinstance(check, LmEval | Scorer):
        return f"{check.min:g}"
    bounds = (
        (check.min, "{:g}"),
        (check.min_row if isinstance(check, Scorer) else None, "{:g} in each row"),
        (check.min_improvement, "{:+g} over the base"),
        (check.min_improvement_over_live, "{:+g} over the one in service"),
    )
    return " and ".join(text.format(bound) for bound, text in bounds if bound is not None)


def memory_rows(plan: TrainingPlan) -> list[Row]:
    """List the terms of the memory estimate; the last row is their sum."""
    memory = plan.memory
    terms = (
        ("weights", memory.weights_gb, _weights_note(plan)),
        (
            "adapter",
            memory.lora_gb,
            "weights, gradients and Adam's moments in float32, a copy in bfloat16",
        ),
        (
            "context",
            memory.context_gb,
            "CUDA and libraries" + (", NCCL" if plan.hardware.gpus > 1 else ""),
        ),
        (
            "activations",
            memory.activations_gb,
            f"{plan.training.micro_batch_tokens} tokens in one pass, {_activations(plan)}",
        ),
        ("logits", memory.logits_gb, "512 positions at a time"),
        ("fragmentation", memory.fragmentation_gb, "5 %"),
        ("peak", memory.total_gb, _capacity(plan)),
    )
    return [Row(name=name, value=f"{size:.2f} GB", note=note) for name, size, note in terms]


def sku_rows(
    params: Params, *, every: bool = False, dataset_tokens: int | None = None
) -> list[SkuRow]:
    """List the SKUs that the job fits on, cheapest first; `every` adds the others, with reasons.

    Hours and cost are of the whole run where `dataset_tokens`, those of one epoch, or the config's
    max_steps determine its length; else of ten million tokens. The SKU that the parameters name is
    always included. Raises ParamsError as make_plan does, but not for an unusable SKU.
    """
    request = read_request(params)
    named = request.sku.name if request.sku is not None else None
    return [
        _sku_row(fit, request.job, dataset_tokens, chosen=fit.sku.name == named)
        for fit in fits(request.job)
        if every or fit.choice is not None or fit.sku.name == named
    ]


def what_hours_are_of(plan: TrainingPlan, *, dataset_tokens: int | None = None) -> str:
    """Say what the hours of these tables count, for their heading."""
    training = plan.training
    if training.max_steps is not None:
        return f"of {counted(training.max_steps, 'step')}"
    if dataset_tokens is not None:
        return f"of {counted(training.epochs, 'epoch')} of {dataset_tokens:,} tokens"
    return "per 10 million tokens trained on"


def speed_sources(method: Method) -> str:
    """Name the published runs with this method, which are the source of all speeds."""
    return "; ".join(
        f"{anchor.tokens_per_second:g} with {anchor.model} on {anchor.gpu_model} ({anchor.source})"
        for anchor in anchors_of(method)
    )


def several_gpus_line(rows: Sequence[SkuRow]) -> list[str]:
    """Say what the speeds of machines with several GPUs assume; empty without such a machine."""
    if all(row.gpus == 1 for row in rows):
        return []
    return [
        f"Several GPUs: each adds {SEVERAL_GPUS_SHARE:g} of its speed alone, an assumption: a step "
        "ends with the slowest, and then sums the adapter's gradients. Weights that GPUs share out "
        "(fsdp) take longer, the more so without NVLink."
    ]


def price_lines(catalogs: Sequence[SkuCatalog]) -> list[str]:
    """List where and when the prices of these catalogs hold."""
    return [
        f"Prices{'' if len(catalogs) == 1 else f' of {each.cloud}'}: {each.price_region}, "
        f"{each.price_source}"
        for each in catalogs
    ]


def _sku_row(fit: Fit, job: Job, dataset_tokens: int | None, *, chosen: bool) -> SkuRow:
    choice, sku = fit.choice, fit.sku
    speed = speed_of(job, choice, sku.gpu_model, sku.gpus) if choice else None
    taken = None
    if choice and speed:
        settings = job.settings
        tokens = _tokens(choice, settings, dataset_tokens)
        taken = hours(tokens, speed)
    price = sku.price_usd_per_hour
    return SkuRow(
        name=sku.name,
        cloud=sku.cloud,
        gpus=sku.gpus,
        gpu_model=sku.gpu_model,
        gpu_memory_gib=sku.gpu_memory_gib,
        fits=choice is not None,
        peak_gb=choice.memory.total_gb if choice else None,
        micro_batch_tokens=choice.micro_batch_tokens if choice else None,
        gradient_checkpointing=choice.gradient_checkpointing if choice else None,
        price_usd_per_hour=price,
        tokens_per_second=speed,
        hours=taken,
        cost_usd=taken.times(price) if taken and price is not None else None,
        reason=fit.reason or "",
        chosen=chosen,
    )


def _tokens(
    batch: Choice | Training, length: Settings | Training, dataset_tokens: int | None
) -> float:
    """Tokens that a run trains on, each epoch's again; ten million where it is not known."""
    known = trained_tokens(batch, length, dataset_tokens=dataset_tokens)
    return UNKNOWN_RUN_TOKENS if known is None else known


def _expected_speed(plan: TrainingPlan) -> Span | None:
    speed = plan.hardware.expected_tokens_per_second
    return None if speed is None else Span(low=speed.low, high=speed.high)


def expected_hours(plan: TrainingPlan, *, dataset_tokens: int | None = None) -> Span | None:
    """Hours of what `what_hours_are_of` says; None where the speed is not known."""
    speed = _expected_speed(plan)
    if speed is None:
        return None
    return hours(_tokens(plan.training, plan.training, dataset_tokens), speed)


def _speed_rows(plan: TrainingPlan, dataset_tokens: int | None) -> list[Row]:
    hardware, speed = plan.hardware, _expected_speed(plan)
    taken = expected_hours(plan, dataset_tokens=dataset_tokens)
    if speed is None or taken is None:
        return []
    price = hardware.price_usd_per_hour
    cost = f", {taken.times(price)} USD" if price is not None else ""
    of = what_hours_are_of(plan, dataset_tokens=dataset_tokens)
    return [
        Row(name="expected", value=f"{speed} tokens/s", note=f"class, {taken} h{cost} {of}"),
    ]


def _activations(plan: TrainingPlan) -> str:
    training = plan.training
    if not training.gradient_checkpointing:
        return "kept"
    if not training.kept_blocks:
        return "recomputed"
    blocks = plan.model.shape["num_hidden_layers"]
    return f"recomputed in {blocks - training.kept_blocks} of {blocks} blocks"


def _weights_note(plan: TrainingPlan) -> str:
    if plan.quantization is None:
        return "bfloat16"
    double = " with double quantisation" if plan.quantization.double_quant else ""
    return f"4 bits, {plan.quantization.quant_type}{double}"


def _batch_note(training: Training) -> str:
    if training.rows_per_micro_batch is not None:
        rows = training.rows_per_micro_batch * training.accumulation_steps
        return f"{counted(rows, 'row')} per optimizer step, as the config says"
    most = training.micro_batch_tokens * training.accumulation_steps
    if training.min_steps is None:
        return f"{most} tokens per optimizer step, rows packed"
    return f"at most {most} tokens per step, fewer for little data"


def _run_length(plan: TrainingPlan, dataset_tokens: int | None) -> str:
    training = plan.training
    if training.max_steps is not None:
        return counted(training.max_steps, "step")
    epochs = counted(training.epochs, "epoch")
    if dataset_tokens is None or training.rows_per_micro_batch is not None:
        return epochs
    return f"{epochs}, about {counted(steps_of_tokens(dataset_tokens, training), 'step')}"


def _early_stop(plan: TrainingPlan) -> str:
    patience = plan.training.early_stopping_patience
    if patience is None:
        return ""
    return f"ends after {counted(patience, 'evaluation')} without a better loss"


def _start(start_from: str) -> list[Row]:
    if start_from == NONE:
        return []
    what = "the adapter in service, if there is one" if start_from == LIVE else "an adapter's image"
    return [Row(name="begins with", value=start_from, note=f"the weights of {what}")]


def _held_out(data: Data) -> Row:
    if data.has_validation_files:
        return Row(name="held out", value="the validation files", note="all of their rows")
    return Row(
        name="held out",
        value=f"{data.validation_share:.0%} of the rows",
        note=f"seed {data.split_seed}",
    )


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
