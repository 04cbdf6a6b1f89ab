"""Parameters and results of the reject step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError


@dataclass(frozen=True, kw_only=True)
class Params:
    """Record a rejected adapter, so that a schedule does not tune again on the same data."""

    plan_file: Path
    """The plan step's file."""
    work_dir: Path
    """Volume of the run, with what evaluate found out about the adapter."""
    model_dir: Path
    """Directory of the base model."""
    dataset_digest: str
    """Digest of the data."""
    reference: str
    """The push step's reference of the adapter image, by digest."""
    history_file: Path
    """Record of the last deployment (steps/contracts/history.py); that of the last rejection is
    written beside it."""
    verdict: Literal["passed", "rejected"]
    """Of the evaluate step; passed: a person rejected the adapter."""
    gate: str = ""
    """Digest of the gate's settings, an output of the plan step."""
    reason: str = ""
    """Why evaluate rejected it, for the message of a run that fails for it."""
    outcome: str = ""
    """What a rejected adapter leaves in service, for the same message."""
    on_rejected: Literal["keep", "fail"] = "keep"
    """What becomes of the step when evaluate rejected the adapter. keep: it succeeds; fail: it
    fails once the record is written."""

    def __post_init__(self) -> None:
        if not self.reference:
            raise ParamsError(["--reference: empty; give the adapter image that push sent"])


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the reject step."""

    rejected_by: Literal["gate", "person"]
    """Who rejected the adapter."""
