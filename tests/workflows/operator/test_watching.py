"""What kopf's watches tell, and which of it is a reason to look at a Workspace."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.workflows.operator.queue import WorkQueue
from argotune.workflows.operator.seen import Key, Seen
from argotune.workflows.operator.watching import Watcher, fill
from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.cluster_workflows import run_of
from tests.workflows.operator.acting import KEY, NAME, NAMESPACE

Queued = list[tuple[Key, bool]]
DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": NAME,
        "namespace": NAMESPACE,
        "uid": "uid-2",
        "labels": {
            "argotune.dev/service": NAME,
            "app.kubernetes.io/part-of": "argotune",
            "app.kubernetes.io/component": "inference",
        },
    },
    "spec": {"replicas": 1},
    "status": {"readyReplicas": 1},
}


def workspace(version: int = 1, **changes: Any) -> Object:
    metadata = {
        "name": NAME,
        "namespace": NAMESPACE,
        "uid": "uid-1",
        "resourceVersion": str(version),
    }
    return {"metadata": metadata, "tuning": {"config": "my-config"}, **changes}


def test_what_is_there_is_read_before_the_first_look() -> None:
    cluster = Cluster()
    cluster.put(run_of(name="my-model-abcde"))
    cluster.put(copy.deepcopy(DEPLOYMENT))
    seen = Seen()
    with serving(cluster) as kube:
        fill(seen, kube, NAMESPACE)
    assert [run.name for run in seen.runs_of(KEY)] == ["my-model-abcde"]
    assert seen.service_of(KEY) is not None


class Queue(WorkQueue):
    """One that nobody works on."""

    def __init__(self) -> None:
        super().__init__(lambda key, *, whole: None, workers=0, done=str)
        self.queued: Queued = []

    def add(self, key: Key, *, whole: bool = False, after_seconds: float = 0.0) -> None:
        self.queued.append((key, whole))


def told(events: Sequence[tuple[str, str | None, Object]]) -> Queued:
    """What is queued after events, each of a watch, with its type and object."""

    async def tell() -> Queued:
        queue = Queue()
        watcher = Watcher(Seen(), queue)
        for watch, kind, item in events:
            await getattr(watcher, watch)({"type": kind, "object": item})
        return queue.queued

    return asyncio.run(tell())


def test_a_workspace_is_looked_at_whole_where_more_than_its_status_changed() -> None:
    other = workspace(3, tuning={"config": "another"})
    events: list[tuple[str, str | None, Object]] = [
        ("workspace", None, workspace(1)),
        ("workspace", "MODIFIED", workspace(2, status={"conditions": []})),
        ("workspace", "MODIFIED", other),
        ("workspace", "DELETED", other),
    ]
    assert told(events) == [(KEY, True), (KEY, True)]


def test_its_run_its_service_and_its_config_map_are_reasons_to_look() -> None:
    config = {"metadata": {"name": "my-config", "namespace": NAMESPACE}}
    run = run_of(name="my-model-abcde")
    events: list[tuple[str, str | None, Object]] = [
        ("workspace", None, workspace()),
        ("run", "ADDED", run),
        ("run", "DELETED", run),
        ("service", "MODIFIED", DEPLOYMENT),
        ("service", "DELETED", DEPLOYMENT),
        ("config_map", "MODIFIED", config),
        ("config_map", "MODIFIED", {"metadata": {**config["metadata"], "name": "another"}}),
    ]
    looks = told(events)
    assert looks == [(KEY, True), *[(KEY, False)] * 4, (KEY, True)]


def test_what_no_workspace_has_is_no_reason() -> None:
    assert told([("run", "ADDED", run_of()), ("service", "ADDED", DEPLOYMENT)]) == []
