"""What `argotune evaluate` measured: models on the same rows, beside each other."""

from __future__ import annotations

from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.checks import CheckResult


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much a model is better than the first one, on the same rows."""

    gain: float
    """By how much its loss is lower, nats per token."""
    low: float | None = None
    """Lower end of the gain's confidence interval; None: the rows are too few for one."""
    high: float | None = None
    """Its upper end."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model."""

    name: str
    """As the user named it."""
    adapter: str
    """Its adapter's image by digest; empty: it is the base model."""
    loss: float | None
    """Nats per token; None: it is no finite number."""
    difference: Difference | None = None
    """None for the first model, and where one of the losses is no finite number."""
    answers: list[str] = []
    """To the questions, in their order."""
    checks: list[CheckResult] = []


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prompt of a row and the row's own answer; long texts are cut."""

    prompt: str
    reference: str


class SideBySide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file."""

    base: str
    """The base model of all, REPOSITORY@REVISION."""
    rows: int
    tokens: int
    """Learned tokens of the rows, by which losses are divided."""
    confidence: float
    """Of the intervals."""
    questions: list[Question] = []
    models: list[Measured]


def write_side_by_side(path: Path, found: SideBySide) -> None:
    """Write the file, atomically."""
    atomic_write(path, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


def read_side_by_side(path: Path) -> SideBySide:
    """Read the file. Raises PermanentError if it is another one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SideBySide)
    except (OSError, msgspec.DecodeError) as error:
        raise PermanentError(f"{path}: no measurement of models: {error}") from error
