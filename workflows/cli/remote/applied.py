"""A Workspace that was applied with kubectl, and that the operator works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argotune.steps.common.values import is_dns_label
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.cli.installation.operator import is_held
from argotune.workflows.cli.remote.api_errors import ClusterRefusal, explain_errors
from argotune.workflows.cli.remote.cluster import Cluster


def owner_of(run: Mapping[str, Any]) -> str:
    """Return the Workspace that owns a run; empty for a run of a person or a schedule."""
    owners = run["metadata"].get("ownerReferences") or []
    return next((str(each["name"]) for each in owners if each["kind"] == "Workspace"), "")


def annotate_applied(cluster: Cluster, name: str, annotations: Mapping[str, str | None]) -> bool:
    """Set annotations of argotune's at the Workspace of that name; None deletes one.

    Returns False, with nothing changed, where there is none that the operator works on.
    """
    if not is_dns_label(name):
        return False
    try:
        with explain_errors(f"Workspace {name}"):
            found = cluster.kube.get("Workspace", cluster.namespace, name)
    except ClusterRefusal:
        # Who may not see Workspaces works on what stands below them.
        return False
    if found is None or not is_held(found):
        return False
    change = {f"{PREFIX}{annotation}": text for annotation, text in annotations.items()}
    cluster.patch("Workspace", name, {"metadata": {"annotations": change}})
    return True
