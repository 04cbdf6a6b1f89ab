"""Models that are measured on the same rows beside each other: which they are, and what was found.

The plan step of an evaluation finds the models and puts their adapters onto the volume; a later one
measures them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.checks import CheckResult

ADAPTERS = "adapters"
"""Directory on the run's volume with the adapters, each in one below it."""
MODELS, FILE = "models.json", "side-by-side.json"
"""Files on the run's volume: the models, and what was found."""


class ComparedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that is to be measured."""

    name: str
    """As the user named it."""
    image: str = ""
    """Its adapter's image by digest; empty: it is the base model."""


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


def adapter_dir(work_dir: Path, image: str) -> Path:
    """Return where the files of an adapter are, whose image is named by digest."""
    return work_dir / ADAPTERS / image.rpartition("@sha256:")[2]


def write_models(work_dir: Path, models: Sequence[ComparedModel]) -> None:
    """Write which models are to be measured, atomically."""
    atomic_write(work_dir / MODELS, msgspec.json.encode(models) + b"\n")


def read_models(work_dir: Path) -> list[ComparedModel]:
    """Read which models are to be measured. Raises PermanentError if nothing says so."""
    path = work_dir / MODELS
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ComparedModel])
    except (OSError, msgspec.DecodeError) as error:
        raise PermanentError(f"{path}: not the plan step's list of models: {error}") from error


def write_side_by_side(work_dir: Path, found: SideBySide) -> None:
    """Write what was found, atomically."""
    text = msgspec.json.format(msgspec.json.encode(found), indent=2)
    atomic_write(work_dir / FILE, text + b"\n")


def parse_side_by_side(content: bytes) -> SideBySide:
    """Parse what was found. Raises PermanentError if it is something else."""
    try:
        return msgspec.json.decode(content, type=SideBySide)
    except msgspec.DecodeError as error:
        raise PermanentError(f"no measurement of models: {error}") from error


def dump_in_brief(found: SideBySide, *, most_bytes: int) -> str:
    """Write what was found as JSON, without answers and examples where it is longer than that."""
    text = msgspec.json.encode(found)
    if len(text) > most_bytes:
        text = msgspec.json.encode(_without_texts(found))
    return text.decode()


def _without_texts(found: SideBySide) -> SideBySide:
    models = [
        msgspec.structs.replace(
            model,
            answers=[],
            checks=[msgspec.structs.replace(each, examples=[]) for each in model.checks],
        )
        for model in found.models
    ]
    return msgspec.structs.replace(found, questions=[], models=models)
