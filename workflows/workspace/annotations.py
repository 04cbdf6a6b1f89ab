"""The annotations `argotune.dev/...` of a Workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from argotune.presets.loader import nearest
from argotune.steps.common.fields import Field, fields_of
from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.labels import labels_in
from argotune.workflows.workspace.checks import (
    is_azure_id,
    is_dns_subdomain,
    is_list_of_names,
    is_number,
    is_positive_number,
    is_quantity,
    is_whole_number,
)
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import PREFIX, Options


def _reads(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """Whether a reader takes the text."""

    def reads(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return reads


_CHECKS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "aks-cluster-id": (_reads(ClusterId.parse), "what `az aks show --query id` prints"),
    "aks-subnet-id": (is_azure_id, "an Azure resource ID, /subscriptions/..."),
    "alternative-instance-types": (is_list_of_names, "SKUs with commas between, or none"),
    "karpenter-node-class": (_reads(NodeClass.parse), "KIND/NAME or GROUP/KIND/NAME"),
    "keep-node-seconds": (is_number, "a number of seconds or 0, in quotes"),
    "model-cache-claim": (is_dns_subdomain, "the name of a PersistentVolumeClaim"),
    "node-lifetime-seconds": (is_positive_number, "a number of seconds, in quotes"),
    "service-gpus": (is_whole_number, "a whole number such as 1, in quotes"),
    "service-label-selector": (_reads(labels_in), "KEY=VALUE,KEY=VALUE"),
    "service-memory": (is_quantity, "a quantity such as 16Gi"),
    "spot-max-price-usd-per-hour": (is_positive_number, "a price such as 1.5, in quotes"),
    "storage-class": (is_dns_subdomain, "the name of a StorageClass"),
    "tune-cpu": (is_quantity, "a quantity such as 4"),
    "tune-memory": (is_quantity, "a quantity such as 32Gi"),
    "volume-size": (is_quantity, "a quantity such as 100Gi"),
    "zones": (is_list_of_names, "zones with commas between, such as 1,2"),
}


def known_annotations() -> list[Field]:
    """Every annotation with what it does, for the reference and the README."""
    return fields_of(Options)


def read_options(fields: Fields) -> Options:
    """The options of the annotations, or of the flags in their place."""
    known = {field.kebab: field for field in known_annotations()}
    annotations, overrides = fields.mapping("metadata.annotations"), fields.overrides
    ours = {
        name.removeprefix(PREFIX): text
        for name, text in annotations.items()
        if name.startswith(PREFIX)
    }
    values: dict[str, Any] = {}
    for name in [*ours, *(flag for flag in overrides if flag in known and flag not in ours)]:
        path = f"--{name}" if name in overrides else f"metadata.annotations.{PREFIX}{name}"
        text = overrides.get(name, ours.get(name, ""))
        if name not in known:
            fields.problems.append(f"{path}: unknown annotation; {_advice(name, known)}")
            continue
        problem = _problem(known[name], text)
        if problem is not None:
            fields.problems.append(f"{path}: {text!r}; accepted is {problem}")
        elif text:
            values[known[name].name] = text
    return Options(**values)


def _problem(field: Field, text: str) -> str | None:
    if text == "":
        return None
    if field.choices and text not in field.choices:
        return " or ".join(field.choices)
    check, accepted = _CHECKS.get(field.kebab, (bool, ""))
    return None if check(text) else accepted


def _advice(name: str, known: Mapping[str, Field]) -> str:
    found = nearest(name, known)
    if found is not None:
        return f"did you mean {PREFIX}{found}?"
    return f"known are {', '.join(f'{PREFIX}{each}' for each in known)}"
