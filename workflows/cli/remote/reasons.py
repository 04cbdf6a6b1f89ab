"""Why a run on a cluster waits: its steps for a node, and the run itself for what is above them.

A Workflow says little of it: the rest is in the events about it and in its volume claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from argotune.steps.cluster.kube import Objects
from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.storage_class import advice_on
from argotune.workflows.cli.show.approval import approval_advice
from argotune.workflows.cli.show.rows import NOT_TRIED_AGAIN, seconds_between
from argotune.workflows.cli.show.workflow_json import (
    Workflow,
    has_ended,
    message_of,
    name_of,
    node_of_step,
    nodes_of,
)

TAKEN_SECONDS = 60.0
"""A controller takes a new run within seconds; on a busy cluster it was seen to take 40."""
_CLAIM_SECONDS = 30.0
"""How long nothing is said of a new claim: each is Pending until the run's first pod is placed and
its disk is made."""
_STEPS = ("provision", "watch", "deploy")
_COMPONENT = "argotune-"


def reasons(cluster: Cluster, run: Workflow) -> dict[str, str]:
    """Map each running step to its last reason.

    It is empty without the right to list events, and where the cluster has deleted them.
    """
    running = [step for step in _STEPS if node_of_step(run, step).get("phase") == "Running"]
    if not running:
        return {}
    said = {
        str(event.get("reportingComponent")).removeprefix(_COMPONENT): str(event["message"])
        for event in _events(cluster, run["metadata"]["uid"])
    }
    return {step: said[step] for step in running if step in said}


def obstacles(cluster: Cluster, run: Workflow, now: datetime) -> list[str]:
    """List what keeps the run as a whole from going on, with what to do where that is known."""
    if has_ended(run):
        return []
    found = [*_of_the_run(cluster, run, now)]
    if not any(_is_running(node) for node in nodes_of(run).values()):
        found += _of_its_claims(cluster, run, now)
        found += _of_its_events(cluster, run)
    return found


def is_untaken(run: Workflow, now: datetime) -> bool:
    """Whether no controller of Argo has begun with a run that is old enough for it."""
    if run.get("status", {}).get("phase"):
        return False
    age = seconds_between(run["metadata"].get("creationTimestamp"), None, now)
    return age is not None and age >= TAKEN_SECONDS


def _of_the_run(cluster: Cluster, run: Workflow, now: datetime) -> Iterator[str]:
    spec, status = run["spec"], run.get("status", {})
    if is_untaken(run, now):
        yield (
            "no controller of Argo has taken it, so nothing of it begins; `argotune doctor"
            f" {cluster.flags}` says whether one runs"
        )
    if spec.get("suspend"):
        yield f"suspended; `argo resume {name_of(run)} {cluster.flags}` lets it go on"
    if waits := approval_advice(run, cluster.flags):
        yield waits
    if message := message_of(run):
        yield message
    for condition in status.get("conditions") or []:
        kind = str(condition.get("type"))
        if condition.get("status") == "True" and kind.endswith(("Error", "Warning")):
            yield f"{kind}: {condition.get('message', '')}"


def _of_its_claims(cluster: Cluster, run: Workflow, now: datetime) -> Iterator[str]:
    """Say which volume of the run is not there yet, and the last that was said of it.

    Of a new claim that is news only where the cluster warns of it.
    """
    status = run.get("status", {})
    volumes = [
        *(status.get("persistentVolumeClaims") or []),
        *((status.get("storedWorkflowTemplateSpec") or run["spec"]).get("volumes") or []),
    ]
    for volume in volumes:
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        try:
            claim = cluster.get("PersistentVolumeClaim", name) if name else None
        except ClusterError:
            return
        if claim is None or claim.get("status", {}).get("phase") != "Pending":
            continue
        events = _events(cluster, claim["metadata"]["uid"])
        age = seconds_between(claim["metadata"].get("creationTimestamp"), None, now)
        is_new = age is not None and age < _CLAIM_SECONDS
        if is_new and not any(event.get("type") == "Warning" for event in events):
            continue
        said = str(events[-1]["message"]) if events else ""
        why = "; ".join(filter(None, [said, advice_on(cluster, said)]))
        yield f"its volume is not there, claim {name} is Pending{f': {why}' if why else ''}"


def _of_its_events(cluster: Cluster, run: Workflow) -> Iterator[str]:
    """Give the last warning of Argo's controller about the run, unless a step says it."""
    warnings = [
        str(event["message"])
        for event in _events(cluster, run["metadata"]["uid"])
        if event.get("type") == "Warning"
    ]
    if warnings and not warnings[-1].endswith(NOT_TRIED_AGAIN):
        yield warnings[-1]


def _events(cluster: Cluster, uid: str) -> Objects:
    """List the events about an object that say something, the last one last.

    There are none without the right to see them.
    """
    try:
        events = cluster.events_about(uid)
    except ClusterError:
        return []
    return sorted(
        filter(lambda event: event.get("message"), events),
        key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""),
    )


def _is_running(node: Workflow) -> bool:
    return bool(node["type"] == "Pod" and node["phase"] == "Running")
