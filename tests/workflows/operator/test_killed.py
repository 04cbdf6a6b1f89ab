"""The operator killed at every request of a creation, an update, a run for another Secret and a
deletion: another replica goes on, and there are never two runs where one is meant, none is lost,
and nothing stays behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from argotune.steps.cluster.connection import Connection
from argotune.steps.cluster.kube import Kube
from argotune.workflows.operator.seen import HELD
from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.conftest import install, storage_class
from tests.workflows.cli.status import node
from tests.workflows.operator.acting import KEY, NAMESPACE, Acting
from tests.workflows.operator.test_reconcile import WITH_TOKEN

State = dict[str, Any]


class Killed(BaseException):
    """The process is gone; nothing in it may catch this."""


class Mortal(Connection):
    """A connection whose process is killed before its nth request: to the server, that is after the
    one before."""

    left: int | None = None
    """Requests that are still sent; None: all."""

    def request(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        if self.left == 0:
            raise Killed
        if self.left is not None:
            self.left -= 1
        return super().request(*arguments, **options)


@pytest.fixture
def mortal() -> Iterator[tuple[Acting, Mortal]]:
    cluster = Cluster()
    with serving(cluster) as kube:
        # The same connection, of a class that can be killed.
        connection: Any = kube._connection
        connection.__class__ = Mortal
        yield Acting(cluster, Kube(connection)), connection


def begin(acting: Acting) -> None:
    """Bring the cluster to its first state, with argotune installed."""
    acting.cluster.objects.clear()
    acting.cluster.events.clear()
    # So that versions are those of the first time.
    acting.cluster.changes.clear()
    install(acting.cluster, NAMESPACE)
    acting.cluster.put(storage_class("standard", default=True))
    metadata = {"name": "my-secret", "namespace": NAMESPACE}
    acting.cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
    acting.restart()
    acting.apply(WITH_TOKEN)


def settled(acting: Acting) -> None:
    for _ in range(3):
        acting.look()


def state_of(acting: Acting) -> State:
    """What there is in the end, without versions and times."""
    return {
        "workflows": sorted(
            (
                run["metadata"]["name"],
                HELD in run["metadata"]["annotations"],
                run["spec"].get("suspend"),
                run["spec"].get("shutdown"),
            )
            for run in acting.runs
        ),
        # That of a schedule has a random end.
        "secrets": sorted(
            re.sub(r"(?<=my-model-urls-)\w+", "", item["metadata"]["name"])
            for item in acting.cluster.of_kind("Secret")
        ),
        "schedules": [item["spec"]["schedules"] for item in acting.cluster.of_kind("CronWorkflow")],
        "services": len(acting.cluster.of_kind("Deployment")),
        "workspaces": [
            (item["metadata"].get("annotations"), item["status"]["argotune"]["run"])
            for item in acting.cluster.of_kind("Workspace")
        ],
    }


def creation(acting: Acting) -> None:
    """Nothing before the first look."""


def update(acting: Acting) -> None:
    settled(acting)
    acting.apply({**WITH_TOKEN, "tuning/method": "qlora"})
    acting.annotate(schedule="@daily")


def another_secret(acting: Acting) -> None:
    settled(acting)
    (run,) = acting.runs
    acting.play(run["metadata"]["name"], phase="Failed", nodes={"push": node("push", "Failed")})
    acting.cluster.put(acting.cluster.objects["Secret", NAMESPACE, "my-secret"])


def deletion(acting: Acting) -> None:
    settled(acting)
    acting.annotate(schedule="@daily")
    settled(acting)
    labels = {
        "argotune.dev/service": KEY[1],
        "app.kubernetes.io/part-of": "argotune",
        "app.kubernetes.io/component": "inference",
    }
    metadata = {"name": KEY[1], "namespace": NAMESPACE, "labels": labels}
    acting.cluster.put({"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}})
    (run,) = acting.runs
    acting.play(run["metadata"]["name"], phase="Succeeded")
    acting.delete()


@pytest.mark.parametrize("prepare", [creation, update, another_secret, deletion])
def test_whoever_goes_on_after_a_kill_comes_to_the_same_end(
    mortal: tuple[Acting, Mortal], prepare: Callable[[Acting], None]
) -> None:
    acting, connection = mortal
    begin(acting)
    prepare(acting)
    settled(acting)
    expected = state_of(acting)
    sent, has_ended = 0, False
    while not has_ended:
        begin(acting)
        prepare(acting)
        connection.left = sent
        try:
            acting.look()
            # Killed after the last request, then.
            has_ended = True
        except Killed:
            pass
        connection.left = None
        acting.restart()
        settled(acting)
        assert state_of(acting) == expected, f"killed after {sent} requests"
        sent += 1
    assert sent > 5
