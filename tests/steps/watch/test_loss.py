from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.watch.loss import Loss

Object = dict[str, Any]


class Time:
    seconds = 0.0


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def loss(time: Time) -> Loss:
    return Loss(60.0, lambda: time.seconds)


def node(ready: str = "True", **metadata: Any) -> Object:
    condition = {"type": "Ready", "status": ready, "message": "kubelet stopped posting"}
    return {"metadata": {"name": "gpu-1", **metadata}, "status": {"conditions": [condition]}}


DELETED = node(deletionTimestamp="2026-01-01T00:00:00Z")


def test_a_node_that_is_gone_counts_on_the_second_look(loss: Loss) -> None:
    assert [loss.look([]), loss.look([])] == ["", "was taken away"]


def test_a_node_that_was_missing_once_does_not_count(loss: Loss) -> None:
    looks = [loss.look(nodes) for nodes in ([], [node()], [], [node()])]
    assert looks == [""] * 4


def test_a_node_that_is_being_deleted_is_as_good_as_gone(loss: Loss) -> None:
    assert [loss.look([DELETED]), loss.look([DELETED])] == ["", "is being taken away"]
    assert loss.look([DELETED, node()]) == ""


def test_a_node_that_is_not_ready_counts_after_the_grace(loss: Loss, time: Time) -> None:
    said = []
    for time.seconds in (0.0, 30.0, 59.0, 60.0):
        said.append(loss.look([node("Unknown")]))
    assert said == ["", "", "", "is not Ready (kubelet stopped posting) for 60 s"]


def test_a_node_that_becomes_ready_again_gets_the_whole_grace(loss: Loss, time: Time) -> None:
    said = []
    for time.seconds, ready in ((0.0, "False"), (50.0, "True"), (60.0, "False"), (110.0, "False")):
        said.append(loss.look([node(ready)]))
    assert said == [""] * 4


def test_a_cordoned_node_is_not_lost_for_its_pods_go_on(loss: Loss, time: Time) -> None:
    cordoned = node() | {"spec": {"unschedulable": True}}
    for time.seconds in (0.0, 100.0):
        assert loss.look([cordoned]) == ""


def test_it_knows_whether_there_ever_was_a_node(loss: Loss) -> None:
    known = []
    for nodes in ([], [node("False")], []):
        loss.look(nodes)
        known.append(loss.was_there)
    loss.forget()
    assert [*known, loss.was_there] == [False, True, True, False]
