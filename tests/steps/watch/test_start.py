from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.watch.start import StartDetector, refusal_of

Object = dict[str, Any]


class Time:
    seconds = 0.0


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def start(time: Time) -> StartDetector:
    return StartDetector(refused_seconds=900.0, start_seconds=3600.0, now=lambda: time.seconds)


def node(ready: str = "True") -> Object:
    condition = {"type": "Ready", "status": ready}
    return {"metadata": {"name": "gpu-1"}, "status": {"conditions": [condition]}}


def pod(phase: str = "Pending", **status: Any) -> Object:
    return {"metadata": {"name": "tune"}, "status": {"phase": phase, **status}}


def unscheduled(reason: str = "Unschedulable") -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason}
    return pod(conditions=[condition | {"message": "1 Insufficient cpu"}])


def waiting(reason: str, kind: str = "containerStatuses") -> Object:
    container = {"name": "main", "state": {"waiting": {"reason": reason, "message": "no such tag"}}}
    return pod(**{kind: [container]})


def test_an_unscheduled_pod_is_given_its_time_and_then_named(
    start: StartDetector, time: Time
) -> None:
    reasons = []
    for time.seconds in (0.0, 600.0, 899.0, 900.0):
        reasons.append(start.reason([unscheduled()], [node()]))
    assert reasons == ["", "", "", "15 min: 1 Insufficient cpu"]


def test_a_pod_that_a_gate_holds_gets_its_whole_time_when_it_is_let_through(
    start: StartDetector, time: Time
) -> None:
    """As Kueue holds a pod until it admits it to its queue."""
    held = unscheduled("SchedulingGated")
    held["spec"] = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}
    for time.seconds in (0.0, 100_000.0):
        assert start.reason([held], [node()]) == ""
    reasons = []
    for time.seconds in (100_015.0, 100_914.0, 100_915.0):
        reasons.append(start.reason([unscheduled()], [node()]))
    assert reasons == ["", "", "15 min: 1 Insufficient cpu"]


@pytest.mark.parametrize(
    ("pods", "nodes"),
    [
        ([unscheduled()], []),
        ([unscheduled()], [node("False")]),
        ([], [node()]),
        ([pod("Running")], [node()]),
        ([{**unscheduled(), "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}], [node()]),
    ],
)
def test_without_a_pod_to_start_or_a_ready_node_for_it_the_time_begins_anew(
    start: StartDetector, time: Time, pods: list[Object], nodes: list[Object]
) -> None:
    assert start.reason([unscheduled()], [node()]) == ""
    time.seconds = 800.0
    assert start.reason(pods, nodes) == ""
    time.seconds = 1000.0
    assert start.reason([unscheduled()], [node()]) == ""


def test_a_pod_that_was_scheduled_meanwhile_begins_anew(start: StartDetector, time: Time) -> None:
    reasons = []
    for time.seconds, found in ((0.0, unscheduled()), (600.0, pod()), (1200.0, unscheduled())):
        reasons.append(start.reason([found], [node()]))
    assert reasons == [""] * 3


def test_an_image_that_cannot_be_pulled_counts_like_a_refusal_of_the_scheduler(
    start: StartDetector, time: Time
) -> None:
    start.reason([waiting("ErrImagePull")], [node()])
    time.seconds = 900.0
    found = start.reason([pod("Failed"), waiting("ImagePullBackOff")], [node()])
    assert found == "15 min: ImagePullBackOff: no such tag"
    assert refusal_of(waiting("CreateContainerConfigError", "initContainerStatuses"))


def test_a_slow_pull_has_an_hour(start: StartDetector, time: Time) -> None:
    reasons = []
    for time.seconds in (0.0, 1800.0, 3599.0, 3600.0):
        reasons.append(start.reason([waiting("ContainerCreating")], [node()]))
    assert reasons == [
        "",
        "",
        "",
        "60 min: its image is being pulled or its volumes are being attached",
    ]


def test_what_holds_a_pod_on_purpose_is_no_refusal() -> None:
    assert refusal_of(unscheduled("SchedulingGated")) == ""
    assert refusal_of(pod()) == ""
