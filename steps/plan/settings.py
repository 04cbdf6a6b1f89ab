"""The settings of a training config, with argotune's defaults and those of the preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from argotune.presets.schema import ModelPreset
from argotune.steps.contracts.checks import Check
from argotune.steps.contracts.training_plan import Evaluation, Watch

ROWS_PER_STEP = 16
"""Most rows of full length per optimizer step. LoRA is worse with batches of 32 and more (LoRA
Without Regret); the recipes of QLoRA and axolotl use 16."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Resolved settings: values of the config, else defaults."""

    target_modules: str | list[str]
    """Layer names as the user wrote them, or their role."""
    r: int
    alpha: int
    dropout: float
    learning_rate: float
    scheduler: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    epochs: float
    max_length: int
    """Longest row, tokens."""
    tokens_per_step: int
    """Most tokens per optimizer step."""
    min_steps: int | None
    """Optimizer steps that the epochs take at least; None: the batch does not shrink."""
    early_stopping_patience: int | None

    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    load_in_4bit: bool | None = None
    """load_in_4bit of the config; None: not set."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True

    messages_column: str | None = None
    context_column: str | None = None
    response_column: str | None = None
    ignore_columns: tuple[str, ...] = ()
    validation_share: float = 0.05
    """Enough rows to measure the loss, and few enough not to weaken training."""
    train_share: float | None = None
    """Kaito's train_test_split, 1 - validation_share; None: not set."""
    has_validation_files: bool = False
    """Whether the run has files of held-out rows, which the config does not name."""
    split_seed: int = 42
    max_rejected_share: float = 0.05
    """With more unusable rows than this, the file or its columns are probably the wrong ones."""
    max_truncated_share: float = 0.1
    """If more rows than this would be truncated, max_length is too small for the data."""

    rows_per_micro_batch: int | None = None
    micro_batch_tokens: int | None = None
    accumulation_steps: int | None = None
    max_steps: int | None = None
    warmup_steps: float = 0
    optim: str = "adamw_torch_fused"
    scheduler_kwargs: Mapping[str, float | int | str | None] | None = None
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    neftune_noise_alpha: float | None = None
    gradient_checkpointing: bool | None = None
    """None: only if the memory requires it."""
    seed: int = 42
    eval_steps: float | None = None
    save_steps: float | None = None

    processes: int | None = None
    shard: bool = False
    liger: bool = False
    compile: bool = False
    cache_quantized: bool = False
    report_to: Sequence[Literal["mlflow", "wandb"]] = ()
    project: str | None = None
    run_name: str | None = None
    sample_prompts: Sequence[str] = ()
    samples: int = Watch().samples
    sample_tokens: int = Watch().sample_tokens
    checks: Sequence[Check] = ()
    check_rows: int = Evaluation().check_rows
    check_tokens: int = Evaluation().check_tokens

    gpus: int | None = None
    gpu_memory_gib: float | None = None
    gpu_model: str | None = None
    disk_gib: int | None = None

    @property
    def holds_out(self) -> bool:
        """Whether some rows are not trained on, but tell the held-out loss."""
        return self.has_validation_files or self.validation_share > 0


def preset_defaults(preset: ModelPreset) -> dict[str, object]:
    """The settings that depend on the model."""
    defaults = preset.defaults
    return {
        "target_modules": "all-linear",
        "r": defaults.r,
        "alpha": defaults.lora_alpha,
        "dropout": defaults.lora_dropout,
        "learning_rate": defaults.learning_rate,
        "scheduler": defaults.lr_scheduler_type,
        "warmup_ratio": defaults.warmup_ratio,
        "weight_decay": defaults.weight_decay,
        "max_grad_norm": defaults.max_grad_norm,
        "epochs": defaults.num_train_epochs,
        "max_length": defaults.max_length,
        "tokens_per_step": defaults.tokens_per_step,
        "min_steps": defaults.min_steps,
        "early_stopping_patience": defaults.early_stopping_patience,
    }
