"""What keeps a run as a whole waiting, above its steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argotune.workflows.cli.remote.cluster import Cluster as Client
from argotune.workflows.cli.remote.reasons import obstacles
from tests.fakes.kube import Cluster, Fault, Object
from tests.workflows.cli.cluster_workflows import NAME, run_of, step
from tests.workflows.cli.status import START

NOW = datetime.fromisoformat(START) + timedelta(minutes=5)
UNTAKEN = (
    "no controller of Argo has taken it, so nothing of it begins; `argotune doctor -n team-a` says"
    " whether one runs"
)


def found(cluster: Cluster, run: Object, now: datetime = NOW) -> list[str]:
    return obstacles(Client(namespace="team-a"), cluster.put(run), now)


def untaken() -> Object:
    """A run as it was created, which Argo has not touched."""
    run = run_of()
    del run["status"]
    return run


def with_claim(cluster: Cluster, phase: str = "Pending", name: str = f"{NAME}-work") -> str:
    metadata = {"name": name, "namespace": "team-a", "uid": f"uid-of-{name}"}
    cluster.put({"kind": "PersistentVolumeClaim", "metadata": metadata, "status": {"phase": phase}})
    return name


def event(uid: str, message: str, *, last: str = START, kind: str = "Warning") -> Object:
    return {
        "metadata": {"name": f"event-{message}"},
        "involvedObject": {"uid": uid},
        "type": kind,
        "message": message,
        "lastTimestamp": last,
    }


def mounting(name: str) -> dict[str, Any]:
    return {
        "persistentVolumeClaims": [{"name": "work", "persistentVolumeClaim": {"claimName": name}}]
    }


def test_a_run_that_goes_on_or_has_ended_meets_none(cluster: Cluster) -> None:
    assert found(cluster, run_of(*step("tune", "Running"))) == []
    assert found(cluster, run_of(phase="Failed", message="child failed")) == []


def test_a_run_that_no_controller_takes(cluster: Cluster) -> None:
    assert found(cluster, untaken()) == [UNTAKEN]
    moment_after = datetime.fromisoformat(START) + timedelta(seconds=20)
    assert found(cluster, untaken(), moment_after) == []


def test_a_run_that_is_suspended(cluster: Cluster) -> None:
    run = run_of()
    run["spec"]["suspend"] = True
    assert found(cluster, run) == [f"suspended; `argo resume {NAME} -n team-a` lets it go on"]


def test_a_run_that_argo_puts_off(cluster: Cluster) -> None:
    said = "Workflow processing has been postponed because too many workflows are already running"
    assert found(cluster, run_of(phase="Pending", message=said)) == [said]


def test_what_argos_conditions_say_is_wrong(cluster: Cluster) -> None:
    conditions = [
        {"type": "SpecWarning", "status": "True", "message": "deprecated"},
        {"type": "PodRunning", "status": "False"},
        {"type": "SpecError", "status": "False", "message": "of old"},
    ]
    assert found(cluster, run_of(conditions=conditions)) == ["SpecWarning: deprecated"]


def test_a_run_whose_volume_is_not_made(cluster: Cluster) -> None:
    claim = with_claim(cluster)
    cluster.events += [
        event(f"uid-of-{claim}", 'storageclass "fast" not found', last="2026-01-01T00:00:09Z"),
        event(f"uid-of-{claim}", "of before"),
    ]
    run = run_of(*step("plan", "Pending"), **mounting(claim))
    assert found(cluster, run) == [
        f'its volume is not there, claim {claim} is Pending: storageclass "fast" not found'
    ]
    with_claim(cluster, "Bound")
    assert found(cluster, run) == []


def test_a_volume_that_has_just_been_asked_for_is_no_news(cluster: Cluster) -> None:
    claim = with_claim(cluster)
    stored = cluster.objects["PersistentVolumeClaim", "team-a", claim]
    stored["metadata"]["creationTimestamp"] = START
    run = run_of(*step("plan", "Pending"), **mounting(claim))
    start = datetime.fromisoformat(START)
    waits = "waiting for first consumer to be created before binding"
    cluster.events.append(event(f"uid-of-{claim}", waits, kind="Normal"))
    assert found(cluster, run, start + timedelta(seconds=1)) == []
    (told,) = found(cluster, run, start + timedelta(seconds=31))
    assert told.endswith(f"claim {claim} is Pending: {waits}")
    cluster.events.append(event(f"uid-of-{claim}", "no quota", last="2026-01-01T00:00:01Z"))
    (told,) = found(cluster, run, start + timedelta(seconds=1))
    assert told.endswith("is Pending: no quota")


@pytest.mark.parametrize(
    "said",
    [
        'storageclass.storage.k8s.io "fast" not found',
        "no persistent volumes available for this claim and no storage class is set",
    ],
)
def test_a_volume_without_a_class_says_how_to_name_one(cluster: Cluster, said: str) -> None:
    claim = with_claim(cluster)
    cluster.events.append(event(f"uid-of-{claim}", said))
    (told,) = found(cluster, run_of(*step("plan", "Pending"), **mounting(claim)))
    assert told.endswith(
        f"is Pending: {said}; name one with `argotune install -n team-a --storage-class NAME` for"
        " all runs, or --storage-class NAME for this one"
    )


def test_a_claim_of_the_template_that_is_pending(cluster: Cluster) -> None:
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": with_claim(cluster)}}]
    run = run_of(*step("plan", "Pending"), storedWorkflowTemplateSpec={"volumes": volumes})
    assert found(cluster, run) == [f"its volume is not there, claim {NAME}-work is Pending"]


def test_the_last_warning_of_argo_about_the_run(cluster: Cluster) -> None:
    uid = run_of()["metadata"]["uid"]
    cluster.events += [
        event(uid, "exceeded quota: pods=0", last="2026-01-01T00:00:09Z"),
        event(uid, "of before"),
        event(uid, "Workflow Running", last="2026-01-01T00:00:10Z", kind="Normal"),
    ]
    assert found(cluster, run_of()) == ["exceeded quota: pods=0"]
    end = f"Failed node {NAME}.plan: retryStrategy.expression evaluated to false"
    cluster.events.append(event(uid, end, last="2026-01-01T00:00:11Z"))
    assert found(cluster, run_of()) == []


@pytest.mark.parametrize("what", ["persistentvolumeclaims", "events"])
def test_what_may_not_be_seen_is_left_out(cluster: Cluster, what: str) -> None:
    claim = with_claim(cluster)
    cluster.faults = [Fault("GET", f"/{what}", 403, "forbidden", times=9)]
    said = found(cluster, run_of(*step("plan", "Pending"), **mounting(claim)))
    assert said == (
        [] if what != "events" else [f"its volume is not there, claim {claim} is Pending"]
    )


def test_the_age_of_a_run_is_that_of_its_object(cluster: Cluster) -> None:
    assert found(cluster, untaken(), datetime.now(UTC)) == [UNTAKEN]
