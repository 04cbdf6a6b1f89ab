"""What a cluster says of a file that names a machine and not who makes it."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.presets.clouds import cloud_of_nodes
from argotune.steps.nodes.providers import MAKING_NODES, PROVIDERS
from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.model import TEMPLATE
from argotune.workflows.workspace.nodes import NO_CLUSTER, ClusterDefaults, FindClusterDefaults


def defaults_of(
    cluster: Cluster, *, is_installed: bool = True, for_any_machine: bool = False
) -> FindClusterDefaults:
    """Return what asks the cluster for the defaults of a file.

    Args:
        cluster: The one that is asked.
        is_installed: Whether the run is of the namespace's installation, whose settings it has.
        for_any_machine: Whether a file without an instance type needs to know the cloud too.
    """

    def find(namespace: str | None, instance_type: str | None) -> ClusterDefaults:
        if instance_type is None and not for_any_machine:
            return NO_CLUSTER
        there = cluster.within(namespace)
        values = _installed(there) if is_installed else {}
        return ClusterDefaults(
            providers=tuple(
                name for name in MAKING_NODES if values.get(PROVIDERS[name].needed_setting)
            ),
            cloud=_cloud_of_nodes(there),
        )

    return find


def _installed(cluster: Cluster) -> Mapping[str, str]:
    """Read the installation's settings; none where there is none to be read."""
    try:
        template = cluster.get("WorkflowTemplate", TEMPLATE)
        return {} if template is None else manifests.installed_values(template)
    except (ClusterError, WorkspaceError):
        # Submitting says what is wrong with it.
        return {}


def _cloud_of_nodes(cluster: Cluster) -> str:
    try:
        nodes = cluster.list("Node", "")
    except ClusterError:
        # An account that may submit need not see the cluster's nodes.
        return ""
    return cloud_of_nodes(str(node["spec"].get("providerID", "")) for node in nodes)
