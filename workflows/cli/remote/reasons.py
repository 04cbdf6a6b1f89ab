"""Why a step of a run on a cluster waits for a node, from the events of its Workflow."""

from __future__ import annotations

from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.workflow_json import Workflow, node_of_step

_STEPS = ("provision", "watch")
_COMPONENT = "argotune-"


def reasons(cluster: Cluster, run: Workflow) -> dict[str, str]:
    """Map each running step to its last reason.

    It is empty without the right to list events, and where the cluster has deleted them.
    """
    running = [step for step in _STEPS if node_of_step(run, step).get("phase") == "Running"]
    if not running:
        return {}
    try:
        events = cluster.events_about(run["metadata"]["uid"])
    except ClusterError:
        return {}
    events.sort(key=lambda event: str(event.get("lastTimestamp") or ""))
    said = {
        str(event.get("reportingComponent")).removeprefix(_COMPONENT): str(event.get("message"))
        for event in events
    }
    return {step: said[step] for step in running if step in said}
