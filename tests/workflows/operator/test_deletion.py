"""The end of a Workspace: its run, its node, its schedule, its service, and the finalizer."""

from __future__ import annotations

import json

import pytest

from argotune.steps.cluster.errors import ApiError
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.installation.operator import FINALIZER
from argotune.workflows.operator import deletion
from tests.fakes.kube import Cluster, Fault
from tests.workflows.operator.acting import KEY, NAME, NAMESPACE, Acting

SERVICE = {"argotune.dev/service": NAME, "app.kubernetes.io/part-of": "argotune"}
LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture
def serving(acting: Acting, cluster: Cluster) -> Acting:
    """A Workspace whose run goes on while its service answers."""
    cluster.today = deletion_time
    acting.apply()
    acting.look()
    labels = {**SERVICE, "app.kubernetes.io/component": "inference"}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    cluster.put({"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1}})
    cluster.put({"kind": "Service", "metadata": {**metadata, "labels": SERVICE}, "spec": {}})
    return acting


def deletion_time() -> str:
    return f"{deletion.utc_now():%Y-%m-%dT%H:%M:%SZ}"


def is_there(acting: Acting) -> bool:
    return ("Workspace", *KEY) in acting.cluster.objects


def end_run(acting: Acting, phase: str = "Failed") -> None:
    (run,) = acting.runs
    acting.play(run["metadata"]["name"], phase=phase)


def test_the_run_stops_before_anything_goes(serving: Acting, cluster: Cluster) -> None:
    serving.delete()
    wait = serving.look()
    (run,) = serving.runs
    assert run["spec"]["shutdown"] == "Stop"
    assert cluster.of_kind("Deployment") != []
    assert is_there(serving)
    assert wait is not None
    end_run(serving)
    assert serving.look() is None
    assert not is_there(serving)
    assert cluster.of_kind("Deployment") == cluster.of_kind("Service") == []
    assert [reason for reason, _ in serving.said][-2:] == ["Stopping", "ServiceRemoved"]


def test_a_run_that_does_not_end_keeps_it_for_ten_minutes_only(
    serving: Acting, cluster: Cluster
) -> None:
    (run,) = serving.runs
    node = {
        "placement": "Standard_NC24ads_A100_v4 regular",
        "priceUsdPerHour": 3.67,
        "since": LONG_AGO,
        "until": None,
    }
    made = json.dumps({"run": run["metadata"]["uid"], "nodes": [node]})
    annotations = {**run["metadata"]["annotations"], "argotune.dev/made-nodes": made}
    cluster.put({**run, "metadata": {**run["metadata"], "annotations": annotations}})
    cluster.today = lambda: LONG_AGO
    serving.delete()
    serving.look()
    assert not is_there(serving)
    assert [message for reason, message in serving.said if reason == "NodeLeftToGc"] == [
        f"node Standard_NC24ads_A100_v4 regular of run {run['metadata']['name']} was not given"
        " back in 600 s; schedule gc of the namespace deletes it"
    ]


def test_what_cannot_be_deleted_keeps_it_for_ten_minutes_only(
    serving: Acting, cluster: Cluster
) -> None:
    end_run(serving)
    fault = Fault(method="DELETE", path="/deployments/", status=403, message="not you", times=99)
    cluster.faults.append(fault)
    serving.delete()
    with pytest.raises((ApiError, CliError)):
        serving.look()
    assert is_there(serving)
    there = serving.workspace
    cluster.put({**there, "metadata": {**there["metadata"], "deletionTimestamp": LONG_AGO}})
    serving.look()
    assert not is_there(serving)
    assert serving.said[-1][0] == "LeftBehind"
    assert "not you" in serving.said[-1][1]


def test_in_a_namespace_that_is_deleted_nothing_is_waited_for(
    serving: Acting, cluster: Cluster
) -> None:
    cluster.ending_namespaces.add(NAMESPACE)
    serving.delete()
    serving.look()
    assert not is_there(serving)


def test_what_is_not_deleted_yet_is_held_no_more_in_such_a_namespace(serving: Acting) -> None:
    serving.reconciler.ending_namespaces.add(NAMESPACE)
    for _ in range(2):
        serving.look()
        assert serving.workspace["metadata"]["finalizers"] == []


def test_a_service_of_another_stays(serving: Acting, cluster: Cluster) -> None:
    end_run(serving)
    for kind in ("Deployment", "Service"):
        item = cluster.objects[kind, NAMESPACE, NAME]
        labels = {"app": "theirs"}
        cluster.put({**item, "metadata": {**item["metadata"], "labels": labels}})
    serving.delete()
    serving.look()
    assert not is_there(serving)
    assert cluster.of_kind("Deployment") != []


def test_finalizers_of_others_stay(acting: Acting, cluster: Cluster) -> None:
    acting.apply()
    acting.look()
    there = acting.workspace
    finalizers = ["example.com/theirs", FINALIZER]
    cluster.put({**there, "metadata": {**there["metadata"], "finalizers": finalizers}})
    end_run(acting)
    acting.delete()
    acting.look()
    assert acting.workspace["metadata"]["finalizers"] == ["example.com/theirs"]
    assert acting.look() is None


def test_one_that_is_managed_no_more_goes_at_once_and_leaves_all_as_it_is(
    serving: Acting, cluster: Cluster
) -> None:
    serving.annotate(managed="false")
    serving.look()
    assert serving.workspace["metadata"]["finalizers"] == []
    serving.delete()
    assert not is_there(serving)
    assert "shutdown" not in serving.runs[0]["spec"]
    assert len(cluster.of_kind("Deployment")) == 1
