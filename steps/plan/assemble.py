"""Assemble the plan from the job, the GPU and the chosen batch, and add its warnings."""

from __future__ import annotations

import math

from argotune.presets.families import layout_of
from argotune.presets.schema import SHAPE, ModelPreset
from argotune.presets.sizes import expert_parameters
from argotune.steps.contracts.start_adapter import NONE
from argotune.steps.contracts.training_plan import (
    UNKNOWN_LICENSE,
    Data,
    Evaluation,
    Execution,
    Hardware,
    Lora,
    Model,
    Quantization,
    Speed,
    Training,
    TrainingPlan,
    Watch,
)
from argotune.steps.plan.choose import COMFORTABLE_SHARE, Choice, Job, workers
from argotune.steps.plan.evaluation_memory import answer_batch_tokens
from argotune.steps.plan.hardware import GIB, Card
from argotune.steps.plan.memory import BFLOAT16_BYTES, BOUNDED_QUERIES, GB
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import needs_gpu
from argotune.steps.plan.settings import Settings
from argotune.steps.plan.speed import speed_of

BASE_DISK_GIB = 64
"""Operating system, container runtime, the unpacked CUDA image, and space for a second version."""
LEAST_DISK_GIB = 128
"""Default OS disk of an AKS node."""


def assemble(
    params: Params, job: Job, card: Card, choice: Choice, warnings: list[str]
) -> TrainingPlan:
    """Build the plan; `warnings` are those of the config, to which the plan's own are appended."""
    settings = job.settings
    return TrainingPlan(
        name=params.name,
        method=job.method,
        model=model_of(job.preset, params.model_source),
        quantization=_quantization(job),
        lora=Lora(
            r=settings.r,
            alpha=settings.alpha,
            dropout=settings.dropout,
            target_modules=job.targets,
            use_rslora=settings.use_rslora,
            use_dora=settings.use_dora,
            init_lora_weights=settings.init_lora_weights,
            start_from=params.start_from,
        ),
        data=_data(settings),
        training=_training(settings, choice),
        hardware=_hardware(job, card, choice),
        memory=choice.memory,
        execution=Execution(
            processes=settings.processes,
            shard=settings.shard,
            liger=settings.liger,
            compile=settings.compile,
            cache_quantized=settings.cache_quantized,
        ),
        watch=Watch(
            report_to=list(settings.report_to),
            project=settings.project,
            run_name=settings.run_name,
            sample_prompts=list(settings.sample_prompts),
            samples=settings.samples,
            sample_tokens=settings.sample_tokens,
        ),
        evaluation=Evaluation(
            checks=list(settings.checks),
            check_rows=settings.check_rows,
            check_tokens=settings.check_tokens,
            batch_tokens=answer_batch_tokens(job, card),
        ),
        warnings=[*warnings, *_start_warnings(params, settings), *_warnings(job, card, choice)],
    )


def _start_warnings(params: Params, settings: Settings) -> list[str]:
    if params.start_from == NONE or settings.init_lora_weights is True:
        return []
    return [
        f"training_config.LoraConfig.init_lora_weights: {settings.init_lora_weights} has no effect"
        f" where training begins with an adapter (start-from {params.start_from})"
    ]


def model_of(preset: ModelPreset, source: str | None) -> Model:
    """The preset's model as plans name it; `source` is another one than the preset's."""
    architecture = preset.architecture
    return Model(
        preset=preset.name,
        family=preset.family,
        repository=preset.repository,
        revision=preset.revision,
        license=preset.license,
        gated=preset.gated,
        source=source or preset.source,
        max_position_embeddings=architecture.max_position_embeddings,
        original_max_position_embeddings=architecture.original_max_position_embeddings,
        sliding_window=architecture.sliding_window,
        chat_template=preset.chat.template,
        parameters=preset.parameters,
        shape={key: number for key in SHAPE if (number := getattr(architecture, key)) is not None},
    )


def _quantization(job: Job) -> Quantization | None:
    if job.method == "lora":
        return None
    return Quantization(quant_type=job.settings.quant_type, double_quant=job.settings.double_quant)


def _data(settings: Settings) -> Data:
    return Data(
        messages_column=settings.messages_column,
        context_column=settings.context_column,
        response_column=settings.response_column,
        validation_share=settings.validation_share,
        split_seed=settings.split_seed,
        has_validation_files=settings.has_validation_files,
        max_rejected_share=settings.max_rejected_share,
        ignore_columns=list(settings.ignore_columns),
    )


def _training(settings: Settings, choice: Choice) -> Training:
    return Training(
        max_length=settings.max_length,
        max_truncated_share=settings.max_truncated_share,
        micro_batch_tokens=choice.micro_batch_tokens,
        accumulation_steps=choice.accumulation_steps,
        rows_per_micro_batch=settings.rows_per_micro_batch,
        min_steps=settings.min_steps,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        optim=settings.optim,
        learning_rate=settings.learning_rate,
        scheduler=settings.scheduler,
        scheduler_kwargs=dict(settings.scheduler_kwargs or {}),
        warmup_ratio=settings.warmup_ratio,
        warmup_steps=int(settings.warmup_steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        neftune_noise_alpha=settings.neftune_noise_alpha,
        gradient_checkpointing=choice.gradient_checkpointing,
        kept_blocks=choice.kept_blocks,
        seed=settings.seed,
        eval_steps=settings.eval_steps,
        save_steps=settings.save_steps,
        early_stopping_patience=settings.early_stopping_patience if settings.holds_out else None,
    )


def _hardware(job: Job, card: Card, choice: Choice) -> Hardware:
    speed = speed_of(job, choice, card.gpu_model, card.gpus)
    return Hardware(
        instance_type=card.instance_type,
        gpus=card.gpus,
        gpu_model=card.gpu_model,
        gpu_memory_gib=card.gpu_memory_gib,
        price_usd_per_hour=card.price_usd_per_hour,
        disk_gib=job.settings.disk_gib or disk_of(job.preset),
        expected_tokens_per_second=None
        if speed is None
        else Speed(low=round(speed.low, 3), high=round(speed.high, 3)),
    )


def disk_of(preset: ModelPreset) -> int:
    """Disk for system, image and 16-bit weights (with 10 % reserve), in steps of 32 GiB."""
    needed = BASE_DISK_GIB + 1.1 * 2 * preset.parameters / GIB
    return max(LEAST_DISK_GIB, 32 * math.ceil(needed / 32))


def _warnings(job: Job, card: Card, choice: Choice) -> list[str]:
    candidates = (
        _memory_warning(card, choice),
        _rope_warning(job),
        _held_out_rows_warning(job.settings),
        _gpus_warning(job.settings, card, choice),
        _cpu_warning(job.preset, card),
        license_warning(job.preset),
        _template_warning(job.preset),
        _experts_warning(job.preset),
        _blocks_warning(job.preset),
        _dora_warning(job.settings),
        _accumulation_warning(job.settings, choice),
    )
    return [warning for warning in candidates if warning is not None]


def _memory_warning(card: Card, choice: Choice) -> str | None:
    if card.usable_gb is None:
        return None
    needed_gb = choice.memory.total_gb
    if needed_gb <= COMFORTABLE_SHARE * card.usable_gb:
        return None
    return (
        f"the run needs an estimated {needed_gb:.1f} GB of the {card.usable_gb:.1f} GB that the "
        "GPU has, and the estimate has an error of 10 %; use a smaller max_length to be safe"
    )


def _rope_warning(job: Job) -> str | None:
    original = job.preset.architecture.original_max_position_embeddings
    length = job.settings.max_length
    if original is None:
        return None
    if length > original:
        return (
            f"max_length {length} is above {original}, so training and serving use LongRoPE's long "
            "factors for rows of any length"
        )
    return (
        f"max_length {length} uses LongRoPE's short factors, so the service accepts at most "
        f"{original} tokens of prompt and answer; with a max_length above {original} it accepts "
        f"{job.preset.architecture.max_position_embeddings}"
    )


def _held_out_rows_warning(settings: Settings) -> str | None:
    if settings.holds_out:
        return None
    return (
        "no rows are held out, so the run has no validation loss and no early stopping; set "
        "training_config.Argotune.validation_share: 0.05 instead of train_test_split: 1"
    )


def _gpus_warning(settings: Settings, card: Card, choice: Choice) -> str | None:
    step_tokens = choice.micro_batch_tokens * choice.accumulation_steps
    if workers(settings, card) < 2 or step_tokens <= 1.5 * settings.tokens_per_step:
        return None
    if settings.accumulation_steps is not None:
        return None
    gpus = workers(settings, card)
    return (
        f"an optimizer step has {step_tokens} tokens, not {settings.tokens_per_step}, because "
        f"each of the {gpus} GPUs processes {choice.micro_batch_tokens}; use a machine with fewer "
        "GPUs for smaller steps"
    )


def _cpu_warning(preset: ModelPreset, card: Card) -> str | None:
    if card.gpus or not needs_gpu(preset):
        return None
    return (
        "no GPU was found or named, so the plan is for a CPU, which takes days for this model; set "
        "an instance type, or the GPU's memory in training_config.Argotune.gpu_memory_gib"
    )


def _experts_warning(preset: ModelPreset) -> str | None:
    if not layout_of(preset.family).experts:
        return None
    gb = BFLOAT16_BYTES * expert_parameters(preset.architecture) / GB
    adapted = ", ".join(preset.lora_target_modules)
    return (
        f"the experts of {preset.name} are neither adapted nor in 4 bits: they stay {gb:.1f} GB in "
        f"16 bits, and the adapter can be on {adapted} alone"
    )


def _blocks_warning(preset: ModelPreset) -> str | None:
    """What is slower than with the models whose speed was published."""
    if preset.architecture.attn_logit_softcapping is not None:
        return (
            f"{preset.name} bounds the logits of its attention, for which torch has no fused "
            f"kernel: {BOUNDED_QUERIES} queries are computed at a time, and once more in the "
            "backward pass, so expect less than the speed below, the more so the longer the rows"
        )
    if layout_of(preset.family).plain:
        return (
            f"the norms and MLPs of {preset.name} are transformers' own, which take more passes "
            "over the activations than those of other families, so expect the lower of the speeds"
        )
    return None


def _dora_warning(settings: Settings) -> str | None:
    if not settings.use_dora:
        return None
    return (
        "vLLM does not serve DoRA adapters, only argotune's own service does; DoRA's norms of "
        "whole weights take time that the plan's estimates leave out"
    )


def _accumulation_warning(settings: Settings, choice: Choice) -> str | None:
    if settings.accumulation_steps is None or settings.rows_per_micro_batch is not None:
        return None
    return (
        f"gradient_accumulation_steps counts packed micro-batches of up to "
        f"{choice.micro_batch_tokens} tokens, and not the 8 rows that transformers takes without "
        "per_device_train_batch_size; set that too for a step of so many rows"
    )


def license_warning(preset: ModelPreset) -> str | None:
    """Say that nobody states the model's license, or None."""
    if preset.license != UNKNOWN_LICENSE:
        return None
    return f"{preset.name} states no license; find out whether you may tune and serve it"


def _template_warning(preset: ModelPreset) -> str | None:
    if preset.chat.template is None:
        return None
    return f"{preset.name} is a base model without a chat template, so the preset's is used"
