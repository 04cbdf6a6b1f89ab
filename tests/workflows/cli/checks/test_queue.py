"""The queue that a file names, on a cluster with Kueue's webhooks or without them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from argotune.workflows.cli.checks import queue, step_pods
from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.cli.checks.workspace import needs_of
from argotune.workflows.workspace.planned import load
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import SPACE, healthy, look, manifest, messages
from tests.workflows.cli.checks.test_step_pods import STEPS
from tests.workflows.workspace.helpers import changed

PODS = f"ok: the cluster takes the pods of {', '.join(STEPS)}, tried without making them"
LABEL, GATE = "kueue.x-k8s.io/queue-name", {"name": "kueue.x-k8s.io/admission"}
API = "kueue.x-k8s.io/v1beta2"


def kueue(*, active: bool = True, name: str = "gpus") -> ApiServer:
    """A cluster whose pods Kueue manages, with a LocalQueue."""
    server = healthy()
    version = {"groupVersion": API, "version": "v1beta2"}
    server.discovery["/apis/kueue.x-k8s.io"] = {"preferredVersion": version}
    state = {"type": "Active", "status": str(active), "message": "ClusterQueue c is missing"}
    local = manifest(API, "LocalQueue", name, namespace=SPACE)
    server.put({**local, "status": {"conditions": [state]}})
    server.admit = hold
    return server


def hold(pod: Object) -> str | None:
    """What Kueue's webhooks do with a pod: pkg/controller/jobs/pod/pod_webhook.go."""
    name = pod["metadata"].get("labels", {}).get(LABEL)
    if name == "":
        return f'metadata.labels[{LABEL}]: Invalid value: "": a lowercase RFC 1123 subdomain'
    if name:
        pod["spec"]["schedulingGates"] = [GATE]
    return None


def needs(name: str = "gpus") -> Needs:
    text = changed({"metadata/annotations": {"argotune.dev/queue": name} if name else {}})
    return needs_of(load([("one.yaml", text)], overrides={}, allow_loopback=False), None)


def found(server: ApiServer, **changes: Any) -> list[str]:
    given = {"needs": needs(), **changes}
    return messages(
        [*look(server, queue.local_queue, **given), *look(server, step_pods.pods, **given)]
    )


def test_pods_of_a_run_wait_in_an_active_queue() -> None:
    assert found(kueue()) == ["ok: LocalQueue gpus is active", PODS]


def test_a_run_without_a_queue_is_taken_where_kueue_is() -> None:
    assert found(kueue(), needs=needs("")) == [PODS]
    without = dataclasses.replace(needs(), arguments={})
    assert found(kueue(), needs=without) == [PODS]


def test_without_kueue_the_file_is_told_that_nothing_waits() -> None:
    kueue_is_missing, _, not_held = found(healthy())
    assert kueue_is_missing == (
        "warning: Kueue is not installed, so the run would not wait in queue gpus"
    )
    assert not_held == (
        "warning: Kueue does not hold the pods of provision, tune, answer, evaluate, so the run"
        " would not wait in queue gpus"
    )


def test_a_namespace_that_kueue_leaves_alone_is_told() -> None:
    server = kueue()
    server.admit = lambda pod: None
    active, _, not_held = found(server)
    assert (active, not_held.partition(" the pods")[0]) == (
        "ok: LocalQueue gpus is active",
        "warning: Kueue does not hold",
    )


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            kueue(name="others"),
            f"problem: LocalQueue gpus is not in namespace {SPACE}, which has others: Kueue would "
            "hold the run for ever",
        ),
        (
            kueue(active=False),
            "problem: LocalQueue gpus is not active: ClusterQueue c is missing",
        ),
    ],
)
def test_a_queue_that_admits_nothing_is_a_problem(server: ApiServer, message: str) -> None:
    assert found(server) == [message, PODS]
