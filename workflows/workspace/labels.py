"""metadata.labels: what the file's runs are labelled with, such as the team that pays for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from argotune.steps.common.values import is_label_key, is_label_value
from argotune.workflows.workspace.fields import Fields

_PATH = "metadata.labels"
_OTHERS = ("argotune.dev", "argoproj.io", "kubernetes.io", "k8s.io")
"""Domains whose labels of a Workflow are read by argotune, Argo or Kubernetes."""


def read_labels(fields: Fields) -> dict[str, str]:
    """The labels that the runs get; those of reserved domains stay with the file."""
    labels = fields.mapping(_PATH)
    fields.problems += _problems(labels)
    reserved = [key for key in labels if _is_reserved(key)]
    fields.warnings += [f"{_PATH}.{key}: not handed on to runs" for key in reserved]
    return {key: value for key, value in labels.items() if key not in reserved}


def labelled(document: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """A Workflow with these labels beside its own, or a CronWorkflow whose Workflows get them."""
    if document["kind"] == "CronWorkflow":
        handed_on = {"workflowMetadata": {"labels": dict(labels)}} if labels else {}
        return {**document, "spec": {**document["spec"], **handed_on}}
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {**labels, **metadata["labels"]}}}


def _problems(labels: Mapping[str, str]) -> Iterator[str]:
    for key, value in labels.items():
        if not (is_label_key(key) and is_label_value(value)):
            yield (
                f"{_PATH}.{key}: {value!r}; accepted are names and values of labels, at most 63 "
                "letters, digits, '-', '_' and '.', the name with a domain and '/' before it or "
                "without"
            )


def _is_reserved(key: str) -> bool:
    domain = key.rpartition("/")[0]
    return any(domain == each or domain.endswith(f".{each}") for each in _OTHERS)
