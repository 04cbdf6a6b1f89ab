from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from argotune.steps.cluster.kube import Kube
from argotune.steps.cluster.run_events import RunEvents
from argotune.steps.common.clock import Clock
from tests.fakes.kube import Cluster, Fault, serving


class Time:
    def __init__(self) -> None:
        self.seconds = 1_790_000_000.0

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.seconds)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def kube(cluster: Cluster) -> Iterator[Kube]:
    with serving(cluster) as client:
        yield client


def events(kube: Kube | None, time: Time, workflow: str = "tune-x7k2p") -> RunEvents:
    return RunEvents(
        kube, namespace="team", workflow=workflow, uid="uid", step="provision", clock=time.clock()
    )


def test_an_event_says_why_a_step_of_the_workflow_waits(cluster: Cluster, kube: Kube) -> None:
    events(kube, Time()).waiting("see https://x.example/a?token=secret")
    (event,) = cluster.events
    assert event["involvedObject"] == {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "namespace": "team",
        "name": "tune-x7k2p",
        "uid": "uid",
    }
    assert event["metadata"]["namespace"] == "team"
    assert (event["type"], event["reason"]) == ("Normal", "WaitingForNode")
    assert event["message"] == "see https://x.example/a"
    assert event["reportingComponent"] == event["source"]["component"] == "argotune-provision"
    assert event["count"] == 1
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-09-21T14:13:20+00:00"


def test_a_reason_that_lasts_is_repeated_every_five_minutes(cluster: Cluster, kube: Kube) -> None:
    time = Time()
    said = events(kube, time)
    for _ in range(61):
        said.waiting("queued")
        time.seconds += 10
    (event,) = cluster.events
    assert (event["count"], event["lastTimestamp"]) == (3, "2026-09-21T14:23:20+00:00")
    assert len(cluster.requests) == 3


def test_a_reason_that_comes_back_is_the_same_event_again(cluster: Cluster, kube: Kube) -> None:
    time = Time()
    said = events(kube, time)
    for reason in ("queued", "starting", "queued"):
        said.waiting(reason)
        time.seconds += 10
    assert [(event["message"], event["count"]) for event in cluster.events] == [
        ("queued", 2),
        ("starting", 1),
    ]


def test_an_event_that_the_cluster_forgot_is_made_anew(cluster: Cluster, kube: Kube) -> None:
    time = Time()
    said = events(kube, time)
    said.waiting("queued")
    cluster.events.clear()
    time.seconds += 300
    said.waiting("queued")
    assert [event["count"] for event in cluster.events] == [1]


def test_a_refusal_is_logged_once_and_the_next_event_is_posted(
    cluster: Cluster, kube: Kube, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.faults = [
        Fault("POST", "/events", 403, "no right", times=1),
        Fault("POST", "/events", 503, "away", times=1),
    ]
    said = events(kube, Time())
    for _ in range(3):
        said.say("NodeLost", "it went", is_warning=True)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.message for record in warnings] == [
        'no-events reason="cannot create Event in team: no right"'
    ]
    assert [event["type"] for event in cluster.events] == ["Warning"]


def test_outside_of_a_workflows_pod_nobody_is_told(cluster: Cluster, kube: Kube) -> None:
    events(None, Time()).waiting("queued")
    events(kube, Time(), workflow="").waiting("queued")
    assert cluster.requests == []


def test_a_long_reason_is_cut(cluster: Cluster, kube: Kube) -> None:
    events(kube, Time()).waiting("x" * 5000)
    assert len(cluster.events[0]["message"]) == 1000
