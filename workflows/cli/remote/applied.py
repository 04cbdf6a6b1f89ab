"""A Workspace that was applied with kubectl, and that the operator works on."""

from __future__ import annotations

from argotune.steps.common.values import is_dns_label
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.cli.installation.operator import is_held
from argotune.workflows.cli.remote.api_errors import ClusterRefusal, explain_errors
from argotune.workflows.cli.remote.cluster import Cluster


def annotate_applied(cluster: Cluster, name: str, annotation: str, text: str | None) -> bool:
    """Set an annotation of argotune's, or delete it, at the Workspace of that name.

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
    cluster.patch("Workspace", name, {"metadata": {"annotations": {f"{PREFIX}{annotation}": text}}})
    return True
