"""The training plan: one YAML file that `plan` writes and the later steps read.

Keys have the names of PEFT and transformers where these have one. Unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from argotune.steps.common import strict_yaml
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.checks import AnswerCheck, Check, LmEval, Scorer

UNKNOWN_LICENSE = "unknown"
"""License of a model of which no source states one."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Model(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base model and where its weights come from."""

    preset: str
    """Name of the preset, e.g. phi-3-mini-4k-instruct."""
    family: str
    """transformers' model_type, one of presets/families.py."""
    repository: str
    """Hub repository, e.g. microsoft/Phi-3-mini-4k-instruct."""
    revision: str
    """Pinned commit of the repository."""
    license: str
    """SPDX identifier or the Hub's name, copied into the adapter image's annotations; `unknown`:
    no source states one."""
    gated: bool = False
    """Whether the Hub gives its files only to accounts that accepted the license."""
    source: str
    """Where the weights come from: `hub`, `oci:IMAGE`, `dir:DIRECTORY`, or `cache` (they must
    already be in the model cache, as for preset tiny)."""
    max_position_embeddings: int
    """Longest sequence that the model supports, tokens."""
    original_max_position_embeddings: int | None = None
    """LongRoPE switches to its long factors above this many tokens; None without LongRoPE."""
    sliding_window: int | None = None
    """Attention window in tokens; None for full attention."""
    chat_template: str | None = None
    """Jinja template for a tokenizer that has none of its own, as of a base model."""
    parameters: int = 0
    """Number of weights and biases; 0 in plans of earlier versions."""
    shape: dict[str, int] = {}
    """Keys of config.json from which memory was planned, which the weights must have too; empty in
    plans of earlier versions."""

    @property
    def title(self) -> str:
        """What will be tuned: REPOSITORY@REVISION, or the source of other weights."""
        if self.source in ("hub", "cache"):
            return f"{self.repository}@{self.revision}"
        return self.source


class Quantization(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """4-bit settings of bitsandbytes; only in plans with method qlora."""

    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True


class Lora(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the adapter, as in PEFT's LoraConfig."""

    r: int
    alpha: int
    dropout: float
    target_modules: list[str]
    """Module names of the model, e.g. qkv_proj for Phi-3."""
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    start_from: str = "none"
    """`none`; `live`, the adapter in service; or an image, with whose weights training begins
    instead (`steps/contracts/start_adapter.py`)."""


class Data(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How dataset rows are converted into messages, and which rows are held out."""

    messages_column: str | None = None
    """Column with a list of {role, content}; None: detected by its name."""
    context_column: str | None = None
    """Column with the prompt; None: detected by its name."""
    response_column: str | None = None
    """Column with the answer; None: detected by its name."""
    validation_share: float
    """Share of the questions whose rows are held out, 0 to 0.5."""
    split_seed: int
    """Seed of the split, which is by the hash of a row's question."""
    has_validation_files: bool = False
    """Whether the held-out rows are those of files of their own; then validation_share is 0."""
    max_rejected_share: float
    """The dataset step fails if a larger share of rows is unusable."""
    ignore_columns: list[str] = []
    """Columns that are left out on purpose."""

    def __post_init__(self) -> None:
        if problem := columns_problem(
            self.messages_column, self.context_column, self.response_column
        ):
            raise ValueError(problem)


def columns_problem(messages: str | None, context: str | None, response: str | None) -> str:
    """Why these names of columns contradict each other; empty where they do not."""
    if messages and (context or response):
        return (
            "messages_column is for rows with lists of messages, context_column and "
            "response_column are for rows of texts; name one kind"
        )
    if context and not response:
        return "context_column needs response_column, the column with the answer"
    return ""


class Training(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters of the training loop."""

    max_length: int
    """Longest row in tokens; longer rows are truncated and counted."""
    max_truncated_share: float
    """The tune step fails if a larger share of rows would be truncated."""
    micro_batch_tokens: int
    """Most tokens of one packed micro-batch, the input of one forward pass."""
    accumulation_steps: int
    """Most micro-batches per optimizer step, over all GPUs."""
    rows_per_micro_batch: int | None = None
    """Rows of a micro-batch, as the user set them; None: as many as its tokens hold."""
    min_steps: int | None = None
    """Optimizer steps that the epochs take at least: tune makes the batch smaller for less data
    (`steps/contracts/steps_of_run.py`). None: the batch is the user's and stays."""
    epochs: float
    max_steps: int | None
    """Optimizer steps of the run, whatever the epochs; None: as many as the epochs take."""
    optim: str = "adamw_torch_fused"
    """Optimizer, by its name in transformers."""
    learning_rate: float
    scheduler: str
    """Schedule of the learning rate, by its name in transformers."""
    scheduler_kwargs: dict[str, float | int | str | None] = {}
    """Further arguments of the schedule, as transformers' lr_scheduler_kwargs."""
    warmup_ratio: float
    """Share of the steps over which the learning rate rises from 0."""
    warmup_steps: int = 0
    """Number of these steps; 0: by warmup_ratio."""
    weight_decay: float
    max_grad_norm: float
    """Norm at which gradients are clipped; 0: they are not."""
    adam_beta1: float = 0.9
    adam_beta2: float
    adam_epsilon: float = 1e-8
    neftune_noise_alpha: float | None = None
    """Scale of NEFTune's noise on the embeddings of training; None: no noise."""
    gradient_checkpointing: bool
    kept_blocks: int = 0
    """With gradient_checkpointing, the number of last blocks whose activations are kept and not
    recomputed, because the GPU has the memory."""
    seed: int
    eval_steps: float | None
    """Optimizer steps between evaluations on held-out rows; below 1: their share of the run's
    steps; None: one evaluation per epoch."""
    save_steps: float | None
    """Optimizer steps between checkpoints, as eval_steps; None: one per evaluation."""
    early_stopping_patience: int | None
    """Evaluations without a better held-out loss before the run ends; None: never."""

    @property
    def warmup(self) -> str:
        """Length of the warm-up in words: its number of steps, or their share."""
        return f"{self.warmup_steps} steps" if self.warmup_steps else f"{self.warmup_ratio:.0%}"


class Execution(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the work is distributed on the machine.

    The results of a run do not depend on it, so an interrupted run may resume with other values.
    """

    processes: int | None = None
    """Number of training processes, one per GPU; None: as many as there are GPUs."""
    shard: bool = False
    """Shard the base weights over the processes (FSDP2), for models too large for one GPU."""
    liger: bool = False
    """Liger's fused kernels for norms, rotary embedding and MLP."""
    compile: bool = False
    """torch.compile of each block: minutes at the start, for runs of hours."""
    cache_quantized: bool = False
    """Store the 4-bit weights beside the model's own, for the next run with method qlora."""


class Watch(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Experiment trackers, and the questions that the model answers at each evaluation."""

    report_to: list[Literal["mlflow", "wandb"]] = []
    """Trackers in addition to metrics.jsonl, the curves and the TensorBoard files."""
    project: str | None = None
    """W&B's project or MLflow's experiment; None: argotune, or the trackers' own variables."""
    run_name: str | None = None
    """Name of the run in the trackers; None: the workspace's name."""
    sample_prompts: list[str] = []
    """Questions at each evaluation; empty: those of the first held-out rows."""
    samples: int = 3
    """Number of held-out rows whose questions are used; 0: none."""
    sample_tokens: int = 48
    """Longest sample answer, tokens."""


MOST_BATCH_TOKENS = 32_768
"""Of one batch of answers: more at once are no faster, and a check of 32 rows seldom has more."""


class Evaluation(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's own checks of the adapter's answers, beside its losses."""

    checks: list[Check] = []
    """Checks that the adapter has to pass; empty: none."""
    check_rows: int = 200
    """Most held-out rows whose prompts are answered for the checks, the first of them."""
    check_tokens: int = 256
    """Longest answer, tokens; a longer one is checked as far as it came."""
    batch_tokens: int = MOST_BATCH_TOKENS
    """Most tokens of prompts and answers that are answered at once, by the memory of the GPU."""

    @property
    def answer_checks(self) -> list[AnswerCheck]:
        """Those that look at answers to held-out prompts."""
        return [check for check in self.checks if not isinstance(check, LmEval | Scorer)]

    @property
    def checked_rows(self) -> int:
        """Most prompts whose answers are checked; 0 without such a check."""
        return self.check_rows if self.answer_checks else 0

    @property
    def lm_eval_checks(self) -> list[LmEval]:
        """Those whose rows are lm-eval's."""
        return [check for check in self.checks if isinstance(check, LmEval)]

    @property
    def scorers(self) -> list[Scorer]:
        """Those whose scores come from programs of their own."""
        return [check for check in self.checks if isinstance(check, Scorer)]


class Speed(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A range of training speeds of the whole machine, tokens per second without padding."""

    low: float
    high: float


class Hardware(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine that the plan is made for."""

    instance_type: str | None
    """Cloud SKU, e.g. Standard_NC24ads_A100_v4; None: this machine."""
    gpus: int
    """Number of GPUs of the node; 0 on a machine without GPUs."""
    gpu_model: str | None
    gpu_memory_gib: float | None
    """Memory of one GPU, GiB."""
    price_usd_per_hour: float | None
    disk_gib: int
    """OS disk of the GPU node for image, weights and checkpoints, GiB."""
    expected_tokens_per_second: Speed | None = None
    """From published measurements; None: not known for this machine or model."""


class Memory(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms of the memory estimate for one GPU, decimal GB (10^9 bytes)."""

    weights_gb: float
    lora_gb: float
    """Adapter weights, gradients and both Adam moments."""
    context_gb: float
    """CUDA context and libraries, decimal GB."""
    activations_gb: float
    logits_gb: float
    fragmentation_gb: float
    total_gb: float


class TrainingPlan(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the plan file."""

    name: str
    """Name of the workspace, which is also that of the service and of the served adapter."""
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
    evaluation: Evaluation = Evaluation()
    warnings: list[str] = []
    """What the plan changed, and other warnings, one sentence each."""


def tuning_bytes(plan: TrainingPlan) -> int:
    """Bytes that tune and push write on the run's volume, beside the tokens of the data.

    They are two checkpoints and one that is being written, each with the adapter, the best one and
    both moments of Adam, 16 bytes for each weight; and as much again for the adapter and its image.
    """
    return round(4 * plan.memory.lora_gb * 1e9)


def write_plan(path: Path, plan: TrainingPlan) -> None:
    """Write the plan as YAML, atomically."""
    atomic_write(path, dump_plan(plan))


def dump_plan(plan: TrainingPlan) -> str:
    """The plan as YAML text; equal plans give equal texts.

    Mappings are sorted, because schedules and `argotune verify` compare the text's digest, and a
    plan that was read from the statement of an adapter has them in another order.
    """
    return strict_yaml.dump(msgspec.to_builtins(plan, order="deterministic"))


def read_plan(path: Path) -> TrainingPlan:
    """Read a plan file. Raises PermanentError if it is missing or invalid."""
    try:
        return parse_plan(path.read_text())
    except OSError as error:
        raise PermanentError(
            f"{path}: {error.strerror}; the plan step writes this file first"
        ) from error


def parse_plan(text: str) -> TrainingPlan:
    """Parse a plan from YAML text. Raises PermanentError that names the invalid key."""
    try:
        return msgspec.convert(strict_yaml.load(text), TrainingPlan)
    except (strict_yaml.YamlProblem, msgspec.ValidationError) as error:
        raise PermanentError(f"not a training plan: {error}") from error
