from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.watch.loss import LossDetector

Object = dict[str, Any]


class Time:
    seconds = 0.0


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def loss(time: Time) -> LossDetector:
    return LossDetector(60.0, lambda: time.seconds)


def node(ready: str = "True", **metadata: Any) -> Object:
    condition = {"type": "Ready", "status": ready, "message": "kubelet stopped posting"}
    return {"metadata": {"name": "gpu-1", **metadata}, "status": {"conditions": [condition]}}


DELETED = node(deletionTimestamp="2026-01-01T00:00:00Z")


def test_a_deleted_node_counts_on_the_second_check(loss: LossDetector) -> None:
    assert [loss.reason([]), loss.reason([])] == ["", "was deleted"]


def test_a_node_that_was_missing_once_does_not_count(loss: LossDetector) -> None:
    reasons = [loss.reason(nodes) for nodes in ([], [node()], [], [node()])]
    assert reasons == [""] * 4


def test_a_node_that_is_being_deleted_counts_as_deleted(loss: LossDetector) -> None:
    assert [loss.reason([DELETED]), loss.reason([DELETED])] == ["", "is being deleted"]
    assert loss.reason([DELETED, node()]) == ""


def test_a_node_that_is_not_ready_counts_after_the_grace(loss: LossDetector, time: Time) -> None:
    reasons = []
    for time.seconds in (0.0, 30.0, 59.0, 60.0):
        reasons.append(loss.reason([node("Unknown")]))
    assert reasons == ["", "", "", "is not Ready (kubelet stopped posting) for 60 s"]


def test_a_node_that_becomes_ready_again_gets_the_whole_grace(
    loss: LossDetector, time: Time
) -> None:
    reasons = []
    for time.seconds, ready in ((0.0, "False"), (50.0, "True"), (60.0, "False"), (110.0, "False")):
        reasons.append(loss.reason([node(ready)]))
    assert reasons == [""] * 4


def test_a_cordoned_node_is_not_lost_for_its_pods_go_on(loss: LossDetector, time: Time) -> None:
    cordoned = node() | {"spec": {"unschedulable": True}}
    for time.seconds in (0.0, 100.0):
        assert loss.reason([cordoned]) == ""


def test_it_knows_whether_there_ever_was_a_node(loss: LossDetector) -> None:
    known = []
    for nodes in ([], [node("False")], []):
        loss.reason(nodes)
        known.append(loss.node_existed)
    loss.reset()
    assert [*known, loss.node_existed] == [False, True, True, False]
