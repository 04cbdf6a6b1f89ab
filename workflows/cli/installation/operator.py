"""The operator of an installation: whose Workspaces it works on, and the definition of their kind.

Kaito's own definition of Workspaces stays as it is; beside it the operator works on those with an
annotation alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from argotune.steps.nodes.labels import labels_in
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.operator_annotations import MANAGED as MANAGED_NAME

Object = dict[str, Any]
Scope = Literal["none", "namespace", "all"]
"""Whose Workspaces it works on; none: there is no operator."""

OPERATOR = "argotune-operator"
"""Name of its Deployment, its account and its Lease."""
DEFINITION = "workspaces.kaito.sh"
"""Name of the CustomResourceDefinition."""
OF_ALL = "argotune-cluster-operator"
"""Beginning of the names of what it takes to work on all namespaces."""
MANAGED = f'{PREFIX}{MANAGED_NAME}: "true"'
"""Annotation of the Workspaces that it works on beside Kaito."""
MONITOR = "ServiceMonitor"
"""Kind of Prometheus' operator, which not every cluster knows."""
PART_OF = {"app.kubernetes.io/part-of": "argotune"}
"""Labels of all that `argotune install` makes."""
FINALIZER = f"{PREFIX}operator"
"""Of the Workspaces that it works on: it takes away what is theirs before they go."""
_ALL, _MANAGED_ONLY = "--all-namespaces", "--managed-only"
_NAMESPACE = "$(NAMESPACE)"


def set_arguments(deployment: Object, scope: Scope, *, managed_only: bool) -> None:
    """Give the operator's container the flags of its scope."""
    (container,) = _containers(deployment)
    module = container["args"][0]
    where = [f"--namespace={_NAMESPACE}"]
    if scope == "all":
        where = [_ALL, f"--lease-namespace={_NAMESPACE}"]
    container["args"] = [module, *where, *([_MANAGED_ONLY] if managed_only else [])]


def scope_of(deployment: Object | None) -> Scope:
    """Read the scope of an installed operator."""
    if deployment is None:
        return "none"
    return "all" if _ALL in _containers(deployment)[0]["args"] else "namespace"


def is_managed_only(deployment: Object) -> bool:
    """Whether it leaves Workspaces without the annotation alone."""
    return _MANAGED_ONLY in _containers(deployment)[0]["args"]


def image_of_operator(deployment: Object) -> str:
    """Return the image of an installed operator."""
    return str(_containers(deployment)[0]["image"])


def is_held(workspace: Mapping[str, Any]) -> bool:
    """Whether the Workspace waits, when it is deleted, for the operator."""
    return FINALIZER in (workspace["metadata"].get("finalizers") or [])


def without_hold(workspace: Mapping[str, Any]) -> Object:
    """Return the change that takes the finalizer away."""
    metadata = workspace["metadata"]
    left = [each for each in metadata["finalizers"] if each != FINALIZER]
    # With the version, since a merge replaces the whole list.
    return {"metadata": {"finalizers": left, "resourceVersion": metadata["resourceVersion"]}}


def is_chosen(workspace: Mapping[str, Any], *, managed_only: bool) -> bool:
    """Whether an operator of this kind works on the Workspace."""
    said = (workspace["metadata"].get("annotations") or {}).get(f"{PREFIX}{MANAGED_NAME}")
    return said == "true" or (not managed_only and said != "false")


def service_monitor(labels: str) -> Object:
    """Build what has Prometheus' operator ask for the figures, with labels by which it is chosen.

    It is in no rendered file, because many clusters do not know the kind.
    """
    named = {"app.kubernetes.io/name": OPERATOR}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": MONITOR,
        "metadata": {"name": OPERATOR, "labels": {**labels_in(labels), **PART_OF, **named}},
        "spec": {
            "selector": {"matchLabels": named},
            "endpoints": [{"port": "http", "path": "/metrics"}],
        },
    }


def _containers(deployment: Object) -> list[Object]:
    found: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    return found
