"""Taking a service out of a cluster's namespace."""

from __future__ import annotations

from collections.abc import Callable

from argotune.steps.contracts.in_service import joined_in
from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.steps.nodes.made_node import node_of_service
from argotune.workflows.cli.remote.api_errors import explain_errors
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.rollback import begin_leave
from argotune.workflows.cli.remote.runs import SERVICE_LABEL, deployments, host_of


def remove_service(cluster: Cluster, name: str, tell: Callable[[str], object] = print) -> bool:
    """Delete the objects of the workspace's service, or take its adapter out of another one.

    `tell` hears each thing that was done. Returns whether anything of it was there.
    """
    known = deployments(cluster)
    if name in known and host_of(known[name]) != name:
        run = begin_leave(cluster, name, known[name])
        tell(
            f"{name}: run {run} takes it out of service {host_of(known[name])}, which stays;"
            f" `argotune status {run} {cluster.flags}` shows it"
        )
        return True
    joined = joined_in(known[name]["metadata"].get("annotations") or {}) if name in known else {}
    if joined:
        cluster.warn(
            [
                f"{', '.join(joined)} joined service {name} and go with it; the next run of each,"
                " with another serve-with or none, serves it again"
            ]
        )
    # What serves goes after what stands around it.
    removed = [_remove_object(cluster, kind, name, tell) for kind in reversed(SERVICE_KINDS)]
    return any(removed)


def _remove_object(cluster: Cluster, kind: str, name: str, tell: Callable[[str], object]) -> bool:
    # Some clusters do not have the kinds of Gateway API and Prometheus' operator.
    with explain_errors(f"{kind} {name}"):
        item = cluster.kube.get(kind, cluster.namespace, name)
    if item is None:
        return False
    labels = item["metadata"].get("labels") or {}
    if labels.get(SERVICE_LABEL) != name:
        cluster.warn([f"{kind} {name} is not argotune's, and stays"])
        return False
    cluster.delete(kind, name)
    tell(f"{kind} {name}: deleted from namespace {cluster.namespace}")
    node = node_of_service(item["metadata"].get("annotations") or {})
    if node is not None:
        tell(
            f"node {node.placement}: was the service's own, and is given back within ten minutes;"
            f" at once: argotune gc {cluster.flags}"
        )
    return True
