"""Parameters and results of a measurement of several models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError


@dataclass(frozen=True, kw_only=True)
class Params:
    """Measure models on the same rows: losses, checks and answers."""

    plan_file: Path
    """The plan step's file; its model is the base of all models."""
    model_dir: Path
    """Directory of the base model."""
    rows_file: Path
    """Parquet file of the dataset step; all of its rows are used."""
    output_file: Path
    """File to write (steps/contracts/side_by_side.py)."""
    names: tuple[str, ...]
    """What each model is called, as a JSON list."""
    adapters: tuple[str, ...]
    """Directory of each model's adapter, as a JSON list; empty: the base model itself."""
    images: tuple[str, ...]
    """Image of each adapter by digest, as a JSON list; empty: the base model itself."""
    checks_file: Path | None = None
    """Checks of the answers, a JSON list as in the plan file; empty: none."""
    check_rows: int = 200
    """Most rows whose prompts are answered for the checks, the first of them."""
    check_tokens: int = 256
    """Longest answer for the checks, tokens."""
    answers: int = 3
    """Number of rows whose answers are recorded."""
    confidence: float = 0.95
    """Confidence of the intervals of the differences."""
    allow_cpu: bool = False
    """Compute on the CPU where torch can use none of the GPUs that the plan is for."""
    allow_loopback: bool = False
    """Allow judges of answers on this machine (127.0.0.0/8, ::1)."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of judges inside the network, as a JSON list."""

    def __post_init__(self) -> None:
        if not self.names or len({len(self.names), len(self.adapters), len(self.images)}) != 1:
            raise ParamsError("--names, --adapters and --images: accepted are one of each a model")


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the measurement."""

    rows: int
    """Rows that were measured."""
