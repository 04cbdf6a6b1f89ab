"""Whether a run goes on, for the collection of what runs left behind."""

from __future__ import annotations

from argotune.steps.cluster.kube import Kube
from argotune.steps.nodes.provider import RunIsAlive

OVER = ("Succeeded", "Failed", "Error")
"""Phases of a Workflow that has ended."""


def run_is_alive(kube: Kube, *, namespace: str = "") -> RunIsAlive:
    """The question for `Provider.collect`, asked of the cluster's Workflows.

    A run whose Workflow is not known by name counts as alive: only its time can take it away. So
    does one of another namespace, where one is named: who asks need not see the others.
    """

    def is_alive(run: str, runs_namespace: str, workflow: str) -> bool:
        if not (runs_namespace and workflow):
            return True
        if namespace and runs_namespace != namespace:
            return True
        found = kube.workflow(runs_namespace, workflow)
        if found is None or found["metadata"].get("uid") != run:
            return False
        return (found.get("status") or {}).get("phase") not in OVER

    return is_alive
