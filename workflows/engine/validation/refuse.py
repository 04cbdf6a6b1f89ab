"""The search for fields that the engine does not support, before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.state.documents import title
from argotune.workflows.engine.state.load import parse_value
from argotune.workflows.engine.validation.fields import OTHERS, TABLES, Ignore, Refuse, Take

_TEMPLATE_KINDS = frozenset({"Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate"})
# What Argo's types demand of plain values; YAML makes a boolean of `no` and a number of `1.0`.
_STRINGS = frozenset(
    {
        "apiVersion", "kind", "name", "entrypoint", "template", "onExit", "when", "withParam",
        "depends", "target", "image", "workingDir", "source", "mountPath", "subPath", "path",
        "parameter", "expression", "key", "namespace", "retryPolicy", "duration", "maxDuration",
        "cap", "timeout", "format", "claimName", "secretName", "fieldPath", "prefix", "globalName",
        "serviceAccountName", "terminationMessagePath", "terminationMessagePolicy", "data",
    }
)  # fmt: skip
_STRING_LISTS = frozenset({"command", "args", "dependencies"})
_BOOLEANS = frozenset({"clusterScope", "failed", "error", "optional", "failFast"})
_ANY_STRINGS = frozenset({"value", "default"})

_DATA_KINDS = frozenset({"ConfigMap", "Secret"})
_RUNNABLE_KINDS = _TEMPLATE_KINDS | {"CronWorkflow"}


_OF_A_TAG = 271828182845
"""Stands for a value that a tag of a patch will have."""


def unsupported_fields(documents: list[dict[str, Any]]) -> list[str]:
    """One line for each unsupported field: its document, its path, and what to do."""
    return [problem for document in documents for problem in _document(document)]


def _document(document: dict[str, Any]) -> Iterator[str]:
    kind = document.get("kind")
    if kind in _DATA_KINDS:
        return
    label = title(document)
    if kind not in _RUNNABLE_KINDS:
        yield (
            f"{label}: kind {kind} is not supported, expected a Workflow, WorkflowTemplate, "
            "ClusterWorkflowTemplate, CronWorkflow, ConfigMap or Secret"
        )
        return
    table = "CronWorkflow" if kind == "CronWorkflow" else "Workflow"
    for problem in _object(document, table, ""):
        yield f"{label}: {problem}"


def _object(value: Any, table_name: str, path: str) -> Iterator[str]:
    if table_name == "Anything":
        return
    if table_name == "PodSpecPatch" and isinstance(value, str):
        yield from _patch(value, path)
        return
    if not isinstance(value, dict):
        if value is not None:
            yield f"{path} must be a map, got {value!r}"
        return
    table = TABLES[table_name]
    for field, inner in value.items():
        where = f"{path}.{field}" if path else field
        match table.get(field, OTHERS.get(table_name)):
            case None:
                yield f"{where} is not a field that Argo 4.0 knows here"
            case Refuse(instead):
                yield f"{where} is not supported by the local engine" + (
                    f": {instead}" if instead else ""
                )
            case Take(shape, many) if shape and inner is not None:
                yield from _inside(inner, shape, many, where)
            case Take("") if inner is not None:
                yield from _plain(field, inner, where)
            case Take() | Ignore():
                pass


def _plain(field: str, value: Any, path: str) -> Iterator[str]:
    """Whether a plain value has the type of Argo's field."""
    if field in _STRINGS and not isinstance(value, str):
        yield f"{path} must be a string, got {value!r}: put it in quotes"
    elif field in _BOOLEANS and not isinstance(value, bool):
        yield f"{path} must be true or false, got {value!r}"
    elif field in _ANY_STRINGS and isinstance(value, dict | list):
        yield f"{path} must be a string, a number or a boolean, got {value!r}"
    elif field in _STRING_LISTS and not (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ):
        yield f"{path} must be a list of strings, got {value!r}"


def _inside(value: Any, shape: str, many: int, path: str) -> Iterator[str]:
    if many == 0:
        yield from _object(value, shape, path)
        return
    if not isinstance(value, list):
        yield f"{path} must be a list, got {value!r}"
        return
    for index, item in enumerate(value):
        yield from _inside(item, shape, many - 1, f"{path}[{index}]")


def _patch(text: str, path: str) -> Iterator[str]:
    """The problems of a podSpecPatch, which is YAML in a string; a tag may have any value here."""
    if re.fullmatch(r"\{\{((?!\}\}).)*\}\}", text.strip(), re.DOTALL):
        # One tag is the whole patch.
        return
    try:
        patch = parse_value(re.sub(r"\{\{.*?\}\}", str(_OF_A_TAG), text), path)
    except EngineError as error:
        yield from error.problems
        return
    yield from _object(_without_tags(patch), "PodSpecPatch", path)


def _without_tags(value: Any) -> Any:
    """The value without what the run alone knows."""
    if isinstance(value, dict):
        known = {key: inner for key, inner in value.items() if inner != _OF_A_TAG}
        return {key: _without_tags(inner) for key, inner in known.items()}
    if isinstance(value, list):
        return [_without_tags(inner) for inner in value if inner != _OF_A_TAG]
    return value
