"""Parameters and results of the evaluate step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.values import Measured

JUDGE_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
"""Environment variables with the key of judges and the API that it is for."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Compare the new adapter with the base model and the adapter in service, on held-out rows."""

    plan_file: Path
    """The plan step's file."""
    model_dir: Path
    """Directory of the base model."""
    work_dir: Path
    """Volume of the run; reads work-dir/dataset, work-dir/adapter and work-dir/live-adapter, writes
    work-dir/report/evaluation.json."""
    gate: Literal["on", "off"] = "on"
    """off: nothing is measured, and every adapter passes."""
    min_improvement: float = 0.0
    """By how much the new adapter's loss must be below the base model's, nats per token."""
    min_improvement_over_live: float = 0.0
    """Likewise below that of the adapter in service; below 0: so much worse is accepted."""
    confidence: float = 0.95
    """Confidence of the intervals, 0.5 to below 1; their lower ends must be above the two margins
    above."""
    without_rows: Literal["pass", "reject"] = "pass"
    """What becomes of an adapter where no row was held out, so that nothing can be measured."""
    answers: int = 8
    """Number of held-out rows whose prompts are answered; 0: none."""
    answer_tokens: int = 128
    """Longest answer, tokens."""
    part: Literal["all", "answers"] = "all"
    """answers: nothing is measured; the rows for the plan's scorers are written, whose scores the
    part `all` then wants."""
    allow_cpu: bool = False
    """Compute on the CPU where torch can use none of the GPUs that the plan is for."""
    allow_loopback: bool = False
    """Allow judges of answers on this machine (127.0.0.0/8, ::1)."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of judges inside the network, as a JSON list."""
    ca_file: Path | None = None
    """Certificate authority of such judges, PEM, trusted in addition to the public ones; may not
    exist."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("min_improvement", "min_improvement_over_live"):
            value = getattr(self, name)
            if not math.isfinite(value):
                problems.append(f"--{name.replace('_', '-')}: {value} is not a finite number")
        if not 0.5 <= self.confidence < 1:
            problems.append(f"--confidence: {self.confidence:g} is not between 0.5 and below 1")
        if self.answers < 0:
            problems.append(f"--answers: {self.answers} is less than 0")
        if self.answer_tokens < 1:
            problems.append(f"--answer-tokens: {self.answer_tokens} is less than 1")
        if problems:
            raise ParamsError(problems)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the evaluate step."""

    summary: str
    """Outcome and reason in one line, which the command line shows beside the step."""
    verdict: Literal["passed", "rejected", "undecided"]
    """Whether the adapter may go into service; undecided: of the part `answers`."""
    reason: str
    """Why, in one sentence."""
    outcome: str
    """What a rejected adapter leaves in service: `kept v3`; empty: the adapter passed."""
    warning: str
    """What weakens the verdict, such as very few held-out rows; empty: nothing."""
    base_loss: Measured
    """Loss per token of the base model on the held-out rows, nats; `not measured` without such
    rows."""
    new_loss: Measured
    """Loss per token of the new adapter on the same rows, as base-loss."""
    live_loss: Measured
    """Loss per token of the adapter in service on the same rows; `not measured` too where there is
    none, or none of the same base model."""
