"""The plan of a service without training: one YAML file that its plan step writes.

The model step, deploy and the server read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from argotune.steps.common import strict_yaml
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.serving import Rope
from argotune.steps.contracts.training_plan import Hardware, Model
from argotune.steps.contracts.vllm import Engine

T = TypeVar("T")

ADAPTERS = "adapters"
"""Directory with the adapters of a service, each in one of its name below it."""
MOST_ADAPTERS = 10
"""As in Kaito."""
PLAN = "service-plan.yaml"
"""Name of the file, beside that directory."""


class AskedAdapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An adapter as the user names it."""

    name: str
    """Its name in requests, a DNS label."""
    image: str = ""
    """REGISTRY/REPOSITORY:TAG, by digest, or oci:DIRECTORY; empty: its files are on the claim."""
    strength: float = 1.0
    """By what its weights are multiplied, 0 to 1."""


class ServedAdapter(AskedAdapter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An adapter as it was found."""

    digest: str = ""
    """sha256:HEX of its image, or of its files; empty: it was not looked for yet."""


def directory_of(adapter: ServedAdapter) -> str:
    """Name of its directory on the run's volume, below ADAPTERS: another digest has another one."""
    return f"{adapter.name}-{adapter.digest.removeprefix('sha256:')[:16]}"


class ServiceMemory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms of the estimate for one GPU, decimal GB (10^9 bytes)."""

    weights_gb: float
    adapters_gb: float
    """Known when the plan step has fetched them; 0 before."""
    step_gb: float = 0.0
    """What vLLM computes at once, which it sets apart at its start."""
    context_gb: float
    """CUDA context and libraries."""
    answer_gb: float
    """Keys and values of one answer of the longest length, question included."""
    total_gb: float
    """Least that the service needs: the sum, with one answer."""


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file."""

    name: str
    """Name of the workspace and of the service; requests without a model mean the base by it."""
    model: Model
    load_in_4bit: bool
    engine: Engine = "transformers"
    """What the servers compute with; plans of earlier versions, which do not say it, had that."""
    max_length: int
    """Longest question and answer together, tokens."""
    rope: Rope
    answers: int | None
    """Answers of the longest length that the GPU's memory holds at once; None without a GPU whose
    memory is known."""
    adapters: list[ServedAdapter] = []
    hardware: Hardware
    memory: ServiceMemory
    warnings: list[str] = []


class _HasModel(msgspec.Struct, frozen=True):
    """What both kinds of plans have."""

    model: Model


def read_adapters(text: str) -> list[AskedAdapter]:
    """Parse a JSON list of adapters. Raises ValueError for another text."""
    try:
        return msgspec.json.decode(text, type=list[AskedAdapter])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(
            f'{text!r}; accepted is a JSON list such as [{{"name": "a", "image":'
            f' "REGISTRY/REPOSITORY:v1", "strength": 0.5}}]: {error}'
        ) from error


def dump_adapters(adapters: Sequence[AskedAdapter]) -> str:
    """Write the list that `read_adapters` reads."""
    return msgspec.json.encode(adapters).decode()


def write_service_plan(path: Path, plan: ServicePlan) -> None:
    """Write the plan as YAML, atomically."""
    atomic_write(path, dump_service_plan(plan))


def dump_service_plan(plan: ServicePlan) -> str:
    """The plan as YAML text."""
    return strict_yaml.dump(msgspec.to_builtins(plan))


def read_service_plan(path: Path) -> ServicePlan:
    """Read a plan file. Raises PermanentError if it is missing or invalid."""
    return _read(path, ServicePlan)


def read_planned_model(path: Path) -> Model:
    """Read the model of a service's plan or of a training's. Raises PermanentError likewise."""
    return _read(path, _HasModel).model


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(strict_yaml.load(path.read_text()), kind)
    except OSError as error:
        raise PermanentError(
            f"{path}: {error.strerror}; the plan step writes this file first"
        ) from error
    except (strict_yaml.YamlProblem, msgspec.ValidationError) as error:
        raise PermanentError(f"{path}: not a plan: {error}") from error
