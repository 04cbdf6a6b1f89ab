"""resource: the machine, and the labels of its nodes."""

from __future__ import annotations

import re

from argotune.steps.common.values import is_label_key, is_label_value
from argotune.workflows.workspace.fields import Fields

# Kaito and Karpenter set these on nodes themselves, so Kaito removes them from the selector.
_RESERVED_LABELS = (
    "kaito.sh/",
    "karpenter.sh/",
    "karpenter.azure.com/",
    "karpenter.k8s.aws/",
    "karpenter.k8s.gcp/",
)
_PLACEHOLDER = re.compile(r"<.*>")
V1ALPHA1_INSTANCE_TYPE = "Standard_NC24ads_A100_v4"
"""What a missing resource.instanceType means in v1alpha1."""
ONE_NODE = "accepted is 1, one node"
NO_SELECTOR = "missing; accepted is matchLabels, whose labels the GPU nodes have"


def read_instance_type(fields: Fields) -> str | None:
    """Read the cloud SKU; None for existing nodes and this machine."""
    count = fields.get("resource.count")
    if count is not None and (isinstance(count, bool) or count != 1):
        fields.problems.append(f"resource.count: {count!r}; {ONE_NODE}")
    if "instance-type" in fields.overrides or fields.get("resource.instanceType") is not None:
        found = fields.text("resource.instanceType", flag="instance-type")
        if found is None or not _PLACEHOLDER.fullmatch(found):
            return found
        fields.placeholders.append(
            f"resource.instanceType: {found!r}; accepted is a SKU of the cloud, or an empty text"
        )
        return None
    if fields.document.get("apiVersion") != "kaito.sh/v1alpha1":
        return None
    fields.warnings.append(
        f"resource.instanceType: missing, which is {V1ALPHA1_INSTANCE_TYPE} in v1alpha1; "
        "write an empty text for existing nodes or this machine"
    )
    return V1ALPHA1_INSTANCE_TYPE


def read_label_selector(fields: Fields, *, is_needed: bool) -> dict[str, str]:
    """Read the labels that the GPU nodes have; they may be left out where no node is chosen."""
    selector = fields.get("resource.labelSelector")
    if selector is None and is_needed:
        fields.problems.append(f"resource.labelSelector: {NO_SELECTOR}")
    labels = fields.mapping("resource.labelSelector.matchLabels")
    return {key: value for key, value in labels.items() if _is_usable(fields, key, value)}


def _is_usable(fields: Fields, key: str, value: str) -> bool:
    path = f"resource.labelSelector.matchLabels.{key}"
    if not is_label_key(key) or not is_label_value(value):
        fields.problems.append(f"{path}: {value!r}; accepted are a label's key and value")
        return False
    if key.startswith(_RESERVED_LABELS):
        fields.warnings.append(f"{path}: left out, as in Kaito; every node has it anyway")
        return False
    return True
