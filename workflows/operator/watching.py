"""kopf's watches: what they see goes to `seen.py`, and its Workspaces into the queue.

kopf keeps no state in the objects here: a handler of events does nothing but remember and queue,
and the reconciliation looks at what is, not at what has changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import kopf

from argotune.steps.cluster.kinds import kind_of
from argotune.steps.cluster.kube import Kube
from argotune.workflows.cli.remote.runs import SERVICES
from argotune.workflows.cli.show.workflow_json import WORKSPACE_LABEL
from argotune.workflows.operator.queue import WorkQueue
from argotune.workflows.operator.seen import Key, Seen

Event = Mapping[str, Any]
"""Of a watch: type (None for what was there before) and object."""
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[None]])
_DELETED = "DELETED"


def fill(seen: Seen, kube: Kube, namespace: str | None) -> None:
    """Read the runs and services that are there, before any Workspace is looked at.

    Without a `namespace` they are those of all. Raises ApiError.
    """
    for workflow in kube.list("Workflow", namespace, labels=WORKSPACE_LABEL):
        seen.put_run(workflow)
    for deployment in kube.list("Deployment", namespace, labels=SERVICES):
        seen.put_service(deployment)


def registry_of(seen: Seen, queue: WorkQueue) -> kopf.OperatorRegistry:
    """Build the handlers."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf.login_via_client)

    @_on_event("Workspace", registry)
    async def workspace(event: Event, **_: Any) -> None:
        if event["type"] == _DELETED:
            seen.drop_workspace(event["object"])
            return
        # kopf takes kind and version from the list, whose items have none.
        kind = kind_of("Workspace")
        api_version = f"{kind.group}/{kind.version}"
        found = {"apiVersion": api_version, "kind": kind.name, **event["object"]}
        before = seen.workspaces.get((found["metadata"]["namespace"], found["metadata"]["name"]))
        key = seen.put_workspace(found)
        if before is None or _is_of_person(before, found):
            queue.add(key, whole=True)

    @_on_event("Workflow", registry, labels={WORKSPACE_LABEL: kopf.PRESENT})
    async def run(event: Event, **_: Any) -> None:
        change = seen.drop_run if event["type"] == _DELETED else seen.put_run
        _queue_known(queue, seen, [change(event["object"])])

    @_on_event("Deployment", registry, labels=dict(_labels(SERVICES)))
    async def service(event: Event, **_: Any) -> None:
        change = seen.drop_service if event["type"] == _DELETED else seen.put_service
        _queue_known(queue, seen, change(event["object"]))

    @_on_event("ConfigMap", registry)
    async def config_map(event: Event, **_: Any) -> None:
        metadata = event["object"]["metadata"]
        for key in seen.keys_with_config_map(metadata["namespace"], metadata["name"]):
            queue.add(key, whole=True)

    return registry


def settings() -> kopf.OperatorSettings:
    """Build kopf's settings: it writes no events and no annotations, and needs no peers."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    # Without it kopf asks for the right to watch all definitions of the cluster.
    made.scanning.disabled = True
    return made


def _on_event(
    kind: str, registry: kopf.OperatorRegistry, **filters: Any
) -> Callable[[Handler], Handler]:
    found = kind_of(kind)
    decorator: Any = kopf.on.event(
        found.group, found.version, found.plural, registry=registry, **filters
    )
    return cast("Callable[[Handler], Handler]", decorator)


def _labels(selector: str) -> Iterable[tuple[str, str]]:
    for part in selector.split(","):
        name, _, text = part.partition("=")
        yield name, text


def _queue_known(queue: WorkQueue, seen: Seen, keys: Iterable[Key]) -> None:
    for key in keys:
        if key in seen.workspaces:
            queue.add(key)


def _is_of_person(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether more than the status has changed, which only the operator writes."""
    return _without_status(before) != _without_status(after)


def _without_status(workspace: Mapping[str, Any]) -> dict[str, Any]:
    ignored = ("resourceVersion", "managedFields")
    metadata = {name: it for name, it in workspace["metadata"].items() if name not in ignored}
    return {**{n: it for n, it in workspace.items() if n != "status"}, "metadata": metadata}
