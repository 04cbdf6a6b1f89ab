"""kopf's watches: what they see goes to `seen.py`, and its Workspaces into the queue.

kopf keeps no state in the objects here: a handler of events does nothing but remember and queue,
and the reconciliation looks at what is, not at what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import kopf

from argotune.steps.cluster.kinds import kind_of
from argotune.steps.cluster.kube import Kube
from argotune.workflows.cli.remote.runs import SERVICES
from argotune.workflows.cli.show.workflow_json import WORKSPACE_LABEL
from argotune.workflows.operator.queue import WorkQueue
from argotune.workflows.operator.seen import Key, Seen

Event = Mapping[str, Any]
"""Of a watch: type (None for what was there before) and object."""
_DELETED = "DELETED"
_PAGE_OBJECTS = 20


def fill(seen: Seen, kube: Kube, namespace: str | None) -> None:
    """Read the runs and services that are there, before any Workspace is looked at.

    Without a `namespace` they are those of all. Raises ApiError.
    """
    for workflow in kube.list("Workflow", namespace, labels=WORKSPACE_LABEL):
        seen.put_run(workflow)
    for deployment in kube.list("Deployment", namespace, labels=SERVICES):
        seen.put_service(deployment)


class Watcher:
    """Remembers what a watch tells, and queues the Workspaces that it is about."""

    def __init__(self, seen: Seen, queue: WorkQueue) -> None:
        self._seen = seen
        self._queue = queue

    async def workspace(self, event: Event, **_: Any) -> None:
        """Look at a Workspace whole, where more of it has changed than its status."""
        if event["type"] == _DELETED:
            self._seen.drop_workspace(event["object"])
            return
        # The items of a list have neither version nor kind.
        kind = kind_of("Workspace")
        api_version = f"{kind.group}/{kind.version}"
        found = {"apiVersion": api_version, "kind": kind.name, **event["object"]}
        metadata = found["metadata"]
        before = self._seen.workspaces.get((metadata["namespace"], metadata["name"]))
        key = self._seen.put_workspace(found)
        now = self._seen.workspaces[key]
        if before is None or _without_status(before) != _without_status(now):
            self._queue.add(key, whole=True)

    async def run(self, event: Event, **_: Any) -> None:
        """Look at the Workspace of a run."""
        change = self._seen.drop_run if event["type"] == _DELETED else self._seen.put_run
        self._queue_known([change(event["object"])])

    async def service(self, event: Event, **_: Any) -> None:
        """Look at the Workspaces of a service."""
        change = self._seen.drop_service if event["type"] == _DELETED else self._seen.put_service
        self._queue_known(change(event["object"]))

    async def config_map(self, event: Event, **_: Any) -> None:
        """Look at the Workspaces that name the ConfigMap whole."""
        metadata = event["object"]["metadata"]
        for key in self._seen.keys_with_config_map(metadata["namespace"], metadata["name"]):
            self._queue.add(key, whole=True)

    def _queue_known(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key in self._seen.workspaces:
                self._queue.add(key)


def registry_of(watcher: Watcher) -> kopf.OperatorRegistry:
    """Build kopf's handlers."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_via_client)
    _on_event("Workspace", registry)(watcher.workspace)
    _on_event("Workflow", registry, labels={WORKSPACE_LABEL: kopf.PRESENT})(watcher.run)
    _on_event("Deployment", registry, labels=dict(_labels(SERVICES)))(watcher.service)
    _on_event("ConfigMap", registry)(watcher.config_map)
    return registry


def settings() -> kopf.OperatorSettings:
    """Build kopf's settings: it writes no events and no annotations, and needs no peers."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    # Without it kopf asks for the right to watch all definitions of the cluster.
    made.scanning.disabled = True
    # A page of the largest objects that the API server takes has to fit into the pod's memory.
    made.watching.chunk_size = _PAGE_OBJECTS
    made.persistence.diffbase_storage = _NoEssence()
    return made


class _NoEssence(kopf.DiffBaseStorage):
    """Spares kopf the copy of each object that handlers of changes would be given, by recursion."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return that nothing was stored."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


def _on_event(kind: str, registry: kopf.OperatorRegistry, **filters: Any) -> Any:
    found = kind_of(kind)
    return kopf.on.event(found.group, found.version, found.plural, registry=registry, **filters)


def _labels(selector: str) -> Iterable[tuple[str, str]]:
    for part in selector.split(","):
        name, _, text = part.partition("=")
        yield name, text


def _without_status(workspace: Mapping[str, Any]) -> dict[str, Any]:
    """Return what others than the operator write."""
    metadata = {n: it for n, it in workspace["metadata"].items() if n != "resourceVersion"}
    return {**{n: it for n, it in workspace.items() if n != "status"}, "metadata": metadata}
