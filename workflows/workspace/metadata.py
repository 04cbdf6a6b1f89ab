"""metadata of a Workspace: the annotations `argotune.dev/...`, and the labels that its runs get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from argotune.presets.names import nearest
from argotune.steps.common.values import is_label_key, is_label_value
from argotune.steps.settings.run_settings import PREFIX, annotation_settings
from argotune.workflows.workspace.fields import Fields, flag_of
from argotune.workflows.workspace.model import Options
from argotune.workflows.workspace.operator_annotations import OPERATOR_ANNOTATIONS, unread_warning

_LABELS = "metadata.labels"
_RESERVED_DOMAINS = ("argotune.dev", "argoproj.io", "kubernetes.io", "k8s.io")
"""Domains whose labels of a Workflow are read by argotune, Argo or Kubernetes."""


def read_options(fields: Fields) -> Options:
    """Read the settings of the annotations, or of the flags that replace them."""
    known = annotation_settings()
    annotations, overrides = fields.mapping("metadata.annotations"), fields.overrides
    ours = {
        name.removeprefix(PREFIX): text
        for name, text in annotations.items()
        if name.startswith(PREFIX)
    }
    values: dict[str, str] = {}
    for name in [*ours, *(flag for flag in overrides if flag in known and flag not in ours)]:
        path = flag_of(name) if name in overrides else f"metadata.annotations.{PREFIX}{name}"
        text = overrides.get(name, ours.get(name, ""))
        if name in OPERATOR_ANNOTATIONS:
            fields.warnings.append(unread_warning(name))
            continue
        if name not in known:
            fields.problems.append(f"{path}: unknown annotation; {_advice(name, known)}")
            continue
        problem = known[name].problem(text)
        if problem is not None:
            fields.problems.append(f"{path}: {text!r}; accepted is {problem}")
        elif text:
            values[name] = text
    return values


def read_labels(fields: Fields) -> dict[str, str]:
    """The labels that the runs get; those of reserved domains stay with the file."""
    labels = fields.mapping(_LABELS)
    fields.problems += _label_problems(labels)
    reserved = [key for key in labels if _is_reserved(key)]
    fields.warnings += [f"{_LABELS}.{key}: not handed on to runs" for key in reserved]
    return {key: value for key, value in labels.items() if key not in reserved}


def with_labels(document: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """A Workflow with these labels beside its own, or a CronWorkflow whose Workflows get them."""
    if document["kind"] == "CronWorkflow":
        handed_on = {"workflowMetadata": {"labels": dict(labels)}} if labels else {}
        return {**document, "spec": {**document["spec"], **handed_on}}
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {**labels, **metadata["labels"]}}}


def _label_problems(labels: Mapping[str, str]) -> Iterator[str]:
    for key, value in labels.items():
        if not (is_label_key(key) and is_label_value(value)):
            yield (
                f"{_LABELS}.{key}: {value!r}; accepted are names and values of labels, at most 63 "
                "letters, digits, '-', '_' and '.', the name with a domain and '/' before it or "
                "without"
            )


def _is_reserved(key: str) -> bool:
    domain = key.rpartition("/")[0]
    return any(domain == each or domain.endswith(f".{each}") for each in _RESERVED_DOMAINS)


def _advice(name: str, known: Iterable[str]) -> str:
    found = nearest(name, known)
    if found is not None:
        return f"did you mean {PREFIX}{found}?"
    return f"known are {', '.join(f'{PREFIX}{each}' for each in known)}"
