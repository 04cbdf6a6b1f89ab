"""Parameters and results of the tune step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TRACKER_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
)
"""Where the trackers of report_to are, and the logins to them."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Tune the adapter on the train rows and measure it on the held-out ones."""

    plan_file: Path
    """The plan step's file."""
    model_dir: Path
    """Directory of the base model."""
    work_dir: Path
    """Volume of the run; reads work-dir/dataset, writes work-dir/checkpoints, work-dir/adapter
    and work-dir/report."""
    dataset_digest: str
    """Digest from the dataset step; a checkpoint of other data is refused."""


@dataclass(frozen=True, kw_only=True)
class Result:
    base_loss: float
    """Loss per token of the base model on the held-out rows, nats."""
    tuned_loss: float
    """Loss per token of the tuned model on the held-out rows, nats."""
    train_loss: float
    """Loss per token of the last optimizer steps, nats."""
    steps: int
    """Optimizer steps done, those of earlier tries included."""
    tokens_per_second: float
    """Real tokens trained per second in this try, padding not counted."""
    peak_memory_gb: float
    """Peak memory of the GPU, or of the process on a CPU, decimal GB."""
    resumed_from_step: int
    """Step of the checkpoint that this try began with; 0 for none."""
