"""Selection and checks of a model's files."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.safetensors_file import safetensors_problem

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
MAY_NAME_CODE = (CONFIG, "tokenizer_config.json")
"""Files that `check_model` may change."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PLAIN_FILES = frozenset(
    {
        CONFIG,
        INDEX,
        *_TOKENIZERS,
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        "NOTICE",
        "NOTICE.md",
        "NOTICE.txt",
    }
)
# Mistral's repositories have the same weights a second time as consolidated*.safetensors.
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_logger = logging.getLogger(__name__)


def is_model_file(name: str) -> bool:
    """Whether a file with this name belongs to a model: weights, configuration, tokenizer."""
    return name in _PLAIN_FILES or _WEIGHTS.fullmatch(name) is not None


def model_files(names: Iterable[str], where: str) -> list[str]:
    """The files to use from a repository or directory, the small ones first.

    Raises PermanentError if required files are missing.
    """
    available = set(names)
    problem = _missing(available)
    if problem:
        raise PermanentError(f"{where}: {problem}")
    wanted = sorted(name for name in available if is_model_file(name))
    return sorted(wanted, key=lambda name: name.endswith(".safetensors"))


def _missing(available: set[str]) -> str | None:
    if CONFIG not in available:
        return f"{CONFIG} is missing; is it a transformers model?"
    if not any(_WEIGHTS.fullmatch(name) for name in available):
        pickles = sorted(name for name in available if name.endswith(_PICKLES))
        if pickles:
            return (
                f"the weights are pickle files ({pickles[0]}), which can run code when they are "
                "loaded; only safetensors are accepted"
            )
        return "there are no weights model*.safetensors"
    if not available.intersection(_TOKENIZERS):
        return f"there is no tokenizer: none of {', '.join(_TOKENIZERS)}"
    return None


def check_model(directory: Path, family: str, where: str) -> None:
    """Check the downloaded configuration and weights, and remove references to code.

    Raises PermanentError with all problems.
    """
    model_files((path.name for path in directory.iterdir()), where)
    problems = [
        *_config_problems(directory, family),
        *_index_problems(directory),
        *filter(None, map(safetensors_problem, sorted(directory.glob("*.safetensors")))),
    ]
    if problems:
        raise PermanentError(f"{where}: {'; '.join(problems)}")
    for name in MAY_NAME_CODE:
        _remove_auto_map(directory / name)


def _config_problems(directory: Path, family: str) -> Iterator[str]:
    config = _json_object(directory / CONFIG)
    if config is None:
        yield f"{CONFIG} is not a JSON object"
    elif config.get("model_type") != family:
        yield (
            f"{CONFIG} has model_type {config.get('model_type')!r}, but the preset's family is "
            f"{family!r}; only models that transformers supports without custom code can be tuned"
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
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
