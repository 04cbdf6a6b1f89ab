"""Whether a run goes on, for the collection of the nodes of ended runs."""

from __future__ import annotations

from argotune.steps.cluster.kube import Kube
from argotune.steps.nodes.provider import RunIsAlive

OVER = ("Succeeded", "Failed", "Error")
"""Phases of a Workflow that has ended."""


def run_is_alive(kube: Kube, *, namespace: str = "") -> RunIsAlive:
    """Return the question of `Provider.collect`, which asks for the Workflow of a run.

    A run whose Workflow has no known name counts as alive, and only its deadline ends it. So does a
    run of another namespace, where `namespace` is given, because the caller may not read the
    others.
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
