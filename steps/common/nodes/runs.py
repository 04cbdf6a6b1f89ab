"""Whether a run goes on, for the collection of what runs left behind."""

from __future__ import annotations

from steps.common.kube import Kube
from steps.common.nodes.provider import RunIsAlive

_OVER = ("Succeeded", "Failed", "Error")


def run_is_alive(kube: Kube) -> RunIsAlive:
    """The question for `Provider.collect`, asked of the cluster's Workflows.

    A run whose Workflow is not known by name counts as alive: only its time can take it away.
    """

    def is_alive(run: str, namespace: str, workflow: str) -> bool:
        if not (namespace and workflow):
            return True
        found = kube.workflow(namespace, workflow)
        if found is None or found["metadata"].get("uid") != run:
            return False
        return (found.get("status") or {}).get("phase") not in _OVER

    return is_alive
