"""Why a service has fewer servers that answer than it is to have, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from argotune.steps.cluster.kube import Object
from argotune.steps.contracts.service_note import read_note, replicas_of
from argotune.steps.nodes.made_node import node_of_service
from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import SERVICE_LABEL, host_of


def service_obstacles(cluster: Cluster, service: Object) -> Iterator[str]:
    """Say to whom the service gave its GPU, and why its pods find no node.

    Without the right to list pods it is less.
    """
    wanted = replicas_of(service)
    with suppress(ValueError):
        note = read_note(service)
        if note is not None and note.run:
            how = "it answers on a CPU" if wanted else "it is down"
            yield f"its GPU has a run of the workspace, and {how} until that has ended"
    if (service.get("status", {}).get("readyReplicas") or 0) >= wanted:
        return
    reasons = list(_unscheduled(cluster, host_of(service)))
    yield from dict.fromkeys(reasons)
    node = node_of_service(service["metadata"].get("annotations") or {})
    if reasons and node is not None:
        yield (
            f"its own node, {node.placement}, is gone or takes no pod, and nothing replaces it: the"
            " file submitted again makes another, and this one goes"
        )


def _unscheduled(cluster: Cluster, name: str) -> Iterator[str]:
    try:
        pods = cluster.list("Pod", f"{SERVICE_LABEL}={name}")
    except ClusterError:
        return
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"a server waits for a node: {condition.get('message')}"
