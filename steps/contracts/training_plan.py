"""The plan of a run: what `plan` resolved, in one YAML file that a person can read and that
model, dataset, tune, push and deploy follow.

The names are PEFT's and transformers' where they have one. Unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import yaml

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Model(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    preset: str
    """Name of the preset, e.g. phi-3-mini-4k-instruct."""
    family: Literal["phi3", "mistral", "qwen2"]
    """transformers' model_type."""
    repository: str
    """Hub repository, e.g. microsoft/Phi-3-mini-4k-instruct."""
    revision: str
    """Pinned commit of the repository."""
    license: str
    """SPDX identifier, copied into the adapter image's annotations."""
    source: str
    """Where the weights come from: `hub`, `oci:IMAGE`, `dir:DIRECTORY`, or `cache` (they must
    be in the model cache already, as for preset tiny)."""
    max_position_embeddings: int
    """Longest sequence that the model knows, tokens."""
    original_max_position_embeddings: int | None = None
    """LongRoPE switches to its long factors above this many tokens; None without LongRoPE."""
    sliding_window: int | None = None
    """Attention window in tokens; None for full attention."""
    chat_template: str | None = None
    """Jinja text for a tokenizer that has no template of its own, as a base model's."""


class Quantization(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bitsandbytes' 4-bit settings; the plan has none of it for plain LoRA."""

    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True


class Lora(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    r: int
    alpha: int
    dropout: float
    target_modules: list[str]
    """Real module names of the model, e.g. qkv_proj for Phi-3."""
    use_rslora: bool = False


class Data(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How dataset rows become messages, and which are held out."""

    messages_column: str | None = None
    """Column with a list of {role, content}; None: found by its name."""
    context_column: str | None = None
    """Column with the prompt; None: found by its name."""
    response_column: str | None = None
    """Column with the answer; None: found by its name."""
    validation_share: float
    """Share of distinct rows that are held out, 0 to 0.5."""
    split_seed: int
    """Seed of the split by content."""
    max_rejected_share: float
    """The dataset step fails when a larger share of rows is unusable."""


class Training(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_length: int
    """Longest row in tokens; longer ones are cut and counted."""
    max_truncated_share: float
    """The tune step fails when a larger share of rows would be cut."""
    micro_batch_tokens: int
    """Tokens of one packed micro-batch: what one forward pass holds."""
    accumulation_steps: int
    """Micro-batches per optimizer step, of all GPUs together."""
    epochs: float
    max_steps: int | None
    """Optimizer steps at most; None: as many as the epochs take."""
    learning_rate: float
    scheduler: Literal["cosine", "linear", "constant"]
    warmup_ratio: float
    """Share of the steps over which the rate rises from 0."""
    weight_decay: float
    max_grad_norm: float
    adam_beta2: float
    gradient_checkpointing: bool
    kept_blocks: int = 0
    """With gradient_checkpointing, the last blocks whose activations are kept all the same, for
    the GPU has the memory."""
    seed: int
    eval_steps: int | None
    """Held-out loss each so many optimizer steps; None: after each epoch."""
    save_steps: int | None
    """Checkpoint each so many optimizer steps; None: at each evaluation."""
    early_stopping_patience: int | None
    """Evaluations without a better held-out loss before the run ends; None: never."""


class Execution(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the work is laid out on the machine; the numbers of a run do not depend on it, so an
    interrupted run may go on with another."""

    processes: int | None = None
    """Processes that share the work, one for each GPU; None: as many as there are GPUs."""
    shard: bool = False
    """Each process keeps a part of the base weights (FSDP2), for models too large for one GPU."""
    liger: bool = False
    """Liger's fused kernels for norms, rotary embedding and MLP."""
    compile: bool = False
    """torch.compile of each block: minutes at the start, for runs of hours."""
    cache_quantized: bool = False
    """The 4-bit weights are kept beside the model's own, for the next run with method qlora."""


class Watch(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who else is told how the run goes, and what it is asked while it learns."""

    report_to: list[Literal["mlflow", "wandb"]] = []
    """Trackers beside metrics.jsonl, the curves and the TensorBoard files."""
    project: str | None = None
    """W&B's project or MLflow's experiment; None: argotune, or what their variables say."""
    run_name: str | None = None
    """Name of the run there; None: the workspace's."""
    sample_prompts: list[str] = []
    """Questions asked at each evaluation; empty: those of the first held-out rows."""
    samples: int = 3
    """Held-out rows whose questions are asked; 0: none."""
    sample_tokens: int = 48
    """Longest answer to them."""


class Hardware(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    instance_type: str | None
    """Cloud SKU, e.g. Standard_NC24ads_A100_v4; None: whatever this machine has."""
    gpus: int
    """GPUs of the node; 0 on a machine without one."""
    gpu_model: str | None
    gpu_memory_gib: float | None
    """Memory of one GPU."""
    price_usd_per_hour: float | None
    disk_gib: int
    """OS disk of the GPU node: image, weights and checkpoints."""


class Memory(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The estimate's terms, decimal GB of one GPU (10^9 bytes)."""

    weights_gb: float
    lora_gb: float
    """Adapter weights, gradients and both Adam moments."""
    context_gb: float
    """CUDA context and libraries."""
    activations_gb: float
    logits_gb: float
    fragmentation_gb: float
    total_gb: float


class TrainingPlan(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    """Name of the workspace; also of the service and of the served adapter."""
    method: Literal["lora", "qlora"]
    model: Model
    quantization: Quantization | None
    lora: Lora
    data: Data
    training: Training
    hardware: Hardware
    memory: Memory
    execution: Execution = Execution()
    watch: Watch = Watch()
    warnings: list[str] = []
    """What the plan changed or wants known, one sentence each."""


def write_plan(path: Path, plan: TrainingPlan) -> None:
    """Write the plan as YAML, whole or not at all."""
    atomic_write(path, dump_plan(plan))


def dump_plan(plan: TrainingPlan) -> str:
    """The plan as YAML text."""
    return yaml.safe_dump(msgspec.to_builtins(plan), sort_keys=False, allow_unicode=True, width=100)


def read_plan(path: Path) -> TrainingPlan:
    """Read a plan back. Raises PermanentError when it is missing or not a plan."""
    try:
        return parse_plan(path.read_text())
    except OSError as error:
        raise PermanentError(
            f"{path}: {error.strerror}; the plan step writes this file first"
        ) from error


def parse_plan(text: str) -> TrainingPlan:
    """Parse `dump_plan`'s text. Raises PermanentError naming the key that is wrong."""
    try:
        return msgspec.convert(yaml.safe_load(text), TrainingPlan)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise PermanentError(f"not a training plan: {error}") from error
