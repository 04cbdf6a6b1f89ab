"""Whether a run goes on, or its service has its node, for the collection of nodes."""

from __future__ import annotations

from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.cluster.this_run import OVER
from argotune.steps.nodes.labels import NODE_RUN_LABEL
from argotune.steps.nodes.provider import RunIsAlive


def run_is_alive(kube: Kube, *, namespace: str = "") -> RunIsAlive:
    """Return the question of `Provider.collect`, which asks for the Workflow of a run.

    A run whose Workflow has no known name counts as alive, and only its deadline ends it. So does a
    run of another namespace, where `namespace` is given, because the caller may not read the
    others. The node of an ended run is not stray while a service has it.
    """

    def is_alive(run: str, runs_namespace: str, workflow: str) -> bool:
        if not (runs_namespace and workflow):
            return True
        if namespace and runs_namespace != namespace:
            return True
        found = kube.workflow(runs_namespace, workflow)
        is_there = found is not None and found["metadata"].get("uid") == run
        if found is not None and is_there and _phase_of(found) not in OVER:
            return True
        return bool(kube.deployments(runs_namespace, f"{NODE_RUN_LABEL}={run}"))

    return is_alive


def _phase_of(workflow: Object) -> str | None:
    return (workflow.get("status") or {}).get("phase")
