"""Parameters and results of the tune step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.values import Measured

TRACKER_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
)
"""Environment variables with addresses and logins of the trackers of report_to."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Train the adapter on the train rows and evaluate it on the held-out rows."""

    plan_file: Path
    """The plan step's file."""
    model_dir: Path
    """Directory of the base model."""
    work_dir: Path
    """Volume of the run; reads work-dir/dataset, writes work-dir/checkpoints, work-dir/adapter
    and work-dir/report."""
    dataset_digest: str
    """Digest from the dataset step; a checkpoint of other data is refused."""
    dataset_summary: str = ""
    """What became of all rows, from the dataset step, for report and README; empty: not said."""
    run_name: str = ""
    """Name of the Workflow that runs this step, for report and README; empty: not said."""
    created: str = ""
    """When that Workflow was made, RFC 3339, for report and README; empty: not said."""
    stop_at_file: Path | None = None
    """File with the time by which training has to have ended, its last evaluation included: at a
    cost limit, `watch` writes it. It may not exist, and may change while the step runs."""
    end_after_step: int | None = None
    """Optimizer step after which training ends as it does at a cost limit, for the replay of a run
    that ended so; empty: the last step of the plan."""
    allow_cpu: bool = False
    """Train on the CPU where torch can use none of the GPUs that the plan is for."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the tune step."""

    base_loss: Measured
    """Loss per token of the base model on the held-out rows, nats; `not measured` without such
    rows."""
    tuned_loss: Measured
    """Loss per token of the tuned model on the held-out rows, nats; `not measured` without such
    rows."""
    train_loss: float
    """Loss per token of the last optimizer steps, nats."""
    steps: int
    """Optimizer steps done, including those of earlier attempts."""
    tokens_per_step: int
    """Mean number of tokens of an optimizer step."""
    warning: str
    """What is likely to be wrong with the run, such as very few steps; empty: nothing."""
    tokens_per_second: float
    """Training speed of this attempt, without padding."""
    peak_memory_gb: float
    """Peak memory of the GPU in training, evaluations included, decimal GB; on a CPU that of the
    process, loading included."""
    loading_memory_gb: float
    """Peak memory of the GPU, or of the process on a CPU, until the model was loaded, GB."""
    kept_blocks: int
    """Number of blocks whose activations were kept in the last step: fewer than planned where the
    GPU's memory was too small."""
    resumed_from_step: int
    """Step of the checkpoint from which this attempt resumed; 0: none."""
    stopped_early: str
    """Why training ended before its last step: `held-out loss` after evaluations without a better
    one, or `cost limit`; empty: it did all steps."""
