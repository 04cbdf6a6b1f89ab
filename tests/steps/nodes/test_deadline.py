from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.nodes.deadline import FIRST_ASKED, first_asked, note_first_asked, within
from argotune.steps.nodes.provider import NodeRequest
from tests.fakes.kube import Cluster, serving

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
REQUEST = NodeRequest(run="uid", gpus=1, timeout_seconds=3300.0)


def workflow(**metadata: Any) -> dict[str, Any]:
    named = {"name": "phi-abc", "namespace": "team", "uid": "uid"}
    return {"kind": "Workflow", "metadata": {**named, **metadata}, "spec": {}}


def note(cluster: Cluster, now: datetime, run: str = "uid") -> datetime:
    with serving(cluster) as kube:
        return note_first_asked(kube, namespace="team", workflow="phi-abc", run=run, now=now)


def clock_at(now: datetime) -> Clock:
    return Clock(wall=now.timestamp)


def test_the_first_time_is_written_down_once() -> None:
    cluster = Cluster()
    cluster.put(workflow())
    assert note(cluster, NOON) == NOON
    assert note(cluster, NOON + HOUR) == NOON
    assert sum(each.startswith("PATCH") for each in cluster.requests) == 1
    found = cluster.objects["Workflow", "team", "phi-abc"]["metadata"]["annotations"]
    assert found == {FIRST_ASKED: "2026-01-01T12:00:00Z"}


def test_a_time_that_argo_resubmit_copied_from_another_run_does_not_count() -> None:
    copied = workflow(
        annotations={FIRST_ASKED: "2026-01-01T12:00:00Z"}, creationTimestamp="2026-01-02T00:00:00Z"
    )
    assert first_asked(copied) is None
    cluster = Cluster()
    cluster.put(copied)
    now = datetime(2026, 1, 2, 1, tzinfo=UTC)
    assert note(cluster, now) == now


@pytest.mark.parametrize("text", ["", "soon", "2026"])
def test_what_is_no_time_does_not_count(text: str) -> None:
    assert first_asked(workflow(annotations={FIRST_ASKED: text})) is None


def test_no_node_is_asked_for_a_run_that_was_deleted() -> None:
    cluster = Cluster()
    with pytest.raises(PermanentError, match="was deleted, so no node is asked for"):
        note(cluster, NOON)
    cluster.put(workflow())
    with pytest.raises(PermanentError, match="Workflow team/phi-abc of run other was deleted"):
        note(cluster, NOON, run="other")


def test_a_request_waits_no_longer_than_the_run_may_have_nodes() -> None:
    early = within(REQUEST, asked=NOON, lifetime_seconds=7200.0, clock=clock_at(NOON + HOUR))
    assert (early.deadline, early.timeout_seconds) == (NOON + 2 * HOUR, 3300.0)
    late = within(REQUEST, asked=NOON, lifetime_seconds=7200.0, clock=clock_at(NOON + 1.5 * HOUR))
    assert (late.deadline, late.timeout_seconds) == (NOON + 2 * HOUR, 1800.0)


def test_nothing_is_asked_for_when_the_time_is_over() -> None:
    with pytest.raises(PermanentError) as caught:
        within(REQUEST, asked=NOON, lifetime_seconds=3600.0, clock=clock_at(NOON + HOUR))
    assert str(caught.value) == (
        "the run first asked for a node at 2026-01-01T12:00:00Z and may have nodes for 3600 s "
        "(node-lifetime-seconds), which are over"
    )
