"""Selection and checks of a model's files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.model_cache import Marker
from argotune.steps.contracts.model_source import (
    CONFIG,
    INDEX,
    is_model_file,
    missing_files,
)
from argotune.steps.contracts.safetensors_file import safetensors_problem
from argotune.steps.contracts.training_plan import Model

MAY_NAME_CODE = (CONFIG, "tokenizer_config.json")
"""Files that `check_model` may change."""

_logger = logging.getLogger(__name__)


def model_files(names: Iterable[str], where: str) -> list[str]:
    """The files to use from a repository or directory, the small ones first.

    Raises PermanentError if required files are missing.
    """
    available = set(names)
    problem = missing_files(available)
    if problem:
        raise PermanentError(f"{where}: {problem}")
    wanted = sorted(name for name in available if is_model_file(name))
    return sorted(wanted, key=lambda name: name.endswith(".safetensors"))


def check_space(
    directory: Path, sizes: Mapping[str, int], free_bytes: Callable[[Path], int]
) -> None:
    """Raise PermanentError unless the files that are not in the directory yet fit the volume."""
    need = sum(size for name, size in sizes.items() if not (directory / name).exists())
    free = free_bytes(directory)
    if need > free:
        raise PermanentError(
            f"{directory.parent}: the model needs {need / 1e9:.1f} GB more, {free / 1e9:.1f} GB "
            "are free; free space, or request a larger volume for the model cache"
        )


def check_model(directory: Path, model: Model) -> None:
    """Check the downloaded configuration and weights, and remove references to code.

    Raises PermanentError with all problems.
    """
    where = _where(model)
    model_files((path.name for path in directory.iterdir()), where)
    problems = [
        *_config_problems(directory, model),
        *_index_problems(directory),
        *filter(None, map(safetensors_problem, sorted(directory.glob("*.safetensors")))),
    ]
    if problems:
        raise PermanentError(f"{where}: {'; '.join(problems)}")
    remove_code(directory)


def remove_code(directory: Path) -> None:
    """Remove references to code from a model's configuration and tokenizer."""
    for name in MAY_NAME_CODE:
        _remove_auto_map(directory / name)


def damaged_files(marker: Marker, expected: Mapping[str, str]) -> list[str]:
    """Names of the files whose SHA-256 is not the one that their source has."""
    return [
        name
        for name, sha256 in expected.items()
        if marker.files[name].sha256 != sha256 and name not in MAY_NAME_CODE
    ]


def arrived_damaged(model: Model, names: Iterable[str]) -> TransientError:
    """The error for files that are not what their source has."""
    return TransientError(
        f"{_where(model)}: {', '.join(names)} arrived damaged or changed meanwhile; a retry "
        "fetches them again"
    )


def check_config(directory: Path, model: Model) -> None:
    """Check that a model of the cache is one of the preset's architecture.

    Raises PermanentError with all problems.
    """
    problems = list(_config_problems(directory, model))
    if problems:
        raise PermanentError(f"{_where(model)}: {'; '.join(problems)}")


def _where(model: Model) -> str:
    return f"{model.repository} from {model.source}"


def _config_problems(directory: Path, model: Model) -> Iterator[str]:
    config = _json_object(directory / CONFIG)
    if config is None:
        yield f"{CONFIG} is not a JSON object"
        return
    if config.get("model_type") != model.family:
        yield (
            f"{CONFIG} has model_type {config.get('model_type')!r}, but the preset's family is "
            f"{model.family!r}; only models that transformers supports without custom code can be "
            "tuned"
        )
        return
    for key, wanted in model.shape.items():
        # Without num_key_value_heads there are as many as heads.
        if config.get(key, wanted) != wanted:
            yield (
                f"{CONFIG} has {key} {config.get(key)}, but preset {model.preset} has "
                f"{wanted}; name the preset of these weights, or make one with `argotune presets "
                "add`"
            )


def _index_problems(directory: Path) -> Iterator[str]:
    path = directory / INDEX
    if not path.exists():
        return
    index = _json_object(path) or {}
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        yield f"{INDEX} has no weight_map"
        return
    for name in sorted(set(map(str, weight_map.values()))):
        if not (directory / name).is_file():
            yield f"{name} is missing, but {INDEX} names it"


def _remove_auto_map(path: Path) -> None:
    """Remove `auto_map`, which names Python files of the repository.

    Microsoft's Phi-3 and Phi-4-mini have it although transformers supports them without. Some
    servers run such code even with trust_remote_code off (CVE-2025-66448).
    """
    config = _json_object(path) if path.exists() else None
    if config is None:
        return
    cleaned = _without_auto_map(config)
    if cleaned != config:
        log.event(_logger, "auto-map-removed", file=path.name)
        atomic_write(path, json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n")


def _without_auto_map(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_auto_map(item) for key, item in value.items() if key != "auto_map"}
    return value


def _json_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
