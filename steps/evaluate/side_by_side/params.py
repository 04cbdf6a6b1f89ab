"""Parameters and results of a measurement of several models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError

MOST_ANSWERS = 100


@dataclass(frozen=True, kw_only=True)
class Params:
    """Measure models on the same rows: losses, checks and answers."""

    plan_file: Path
    """The plan step's file; its model is the base of all models, and its checks are those of the
    answers."""
    model_dir: Path
    """Directory of the base model."""
    work_dir: Path
    """Volume of the run with the models, their adapters and the rows; what is found goes to
    work-dir/side-by-side.json."""
    shown_answers: int = 3
    """Number of rows whose answers are recorded."""
    confidence: float = 0.95
    """Confidence of the intervals of the differences, 0.5 to below 1."""
    allow_cpu: bool = False
    """Compute on the CPU where torch can use none of the GPUs that the plan is for."""
    ca_file: Path | None = None
    """Certificate authority of judges, PEM, trusted in addition to the public ones; may not
    exist."""
    allow_loopback: bool = False
    """Allow judges of answers on this machine (127.0.0.0/8, ::1)."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of judges inside the network, as a JSON list."""

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.shown_answers <= MOST_ANSWERS:
            problems.append(
                f"--shown-answers: {self.shown_answers}; accepted are 0 to {MOST_ANSWERS}"
            )
        if not 0.5 <= self.confidence < 1:
            problems.append(f"--confidence: {self.confidence}; accepted are 0.5 to below 1")
        if problems:
            raise ParamsError(problems)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the measurement."""

    summary: str
    """Loss of each model, and by how much it is better than the first, in one line."""
    found: str
    """What was found (steps/contracts/side_by_side.py) as JSON, without the answers where they are
    long; the file on the volume and the report have all of it."""
