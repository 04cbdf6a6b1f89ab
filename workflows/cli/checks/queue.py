"""Whether Kueue holds the run's pods in the queue that the file names.

Without Kueue, or where it leaves the namespace's pods alone, its label means nothing: the run would
start at once, and a node would be made that the queue was to hold back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from argotune.steps.cluster.kinds import KUEUE, Kind
from argotune.steps.cluster.kube import Object
from argotune.steps.cluster.scheduling import ADMISSION_GATE, QUEUE_LABEL
from argotune.workflows.cli.checks.finding import Finding, ok, problem, warning
from argotune.workflows.cli.checks.subject import Subject

_NOT_QUEUED = "so the run would not wait in queue"
_LEAVE_OUT = "or leave argotune.dev/queue out of the file"


def local_queue(subject: Subject) -> Iterator[Finding]:
    """Check whether the file's LocalQueue is in the namespace and takes pods."""
    name = subject.needs.arguments.get("queue")
    if not name:
        return
    api = subject.kube.api(KUEUE)
    if api is None:
        yield warning(
            f"Kueue is not installed, {_NOT_QUEUED} {name}",
            f"install it with the integration pod, {_LEAVE_OUT}",
        )
        return
    kind = Kind("LocalQueue", "localqueues", KUEUE, api["preferredVersion"]["version"])
    queue = subject.kube.get(kind, subject.namespace, name)
    if queue is None:
        others = subject.kube.list(kind, subject.namespace)
        there = ", ".join(sorted(item["metadata"]["name"] for item in others)) or "none"
        yield problem(
            f"LocalQueue {name} is not in namespace {subject.namespace}, which has {there}: Kueue "
            "would hold the run for ever",
            "make it, or name another one in argotune.dev/queue",
        )
        return
    yield _state_of(queue)


def _state_of(queue: Object) -> Finding:
    what = f"LocalQueue {queue['metadata']['name']}"
    conditions = queue.get("status", {}).get("conditions", [])
    active: Object = next((each for each in conditions if each["type"] == "Active"), {})
    if active.get("status") == "True":
        return ok(f"{what} is active")
    why = active.get("message") or "Kueue has not looked at it yet"
    return problem(
        f"{what} is not active: {why}",
        "let its ClusterQueue be there and active, with quotas for all that the pods ask for",
    )


def unheld(subject: Subject, pods: Mapping[str, Object]) -> Iterator[Finding]:
    """Report the pods, as the server answers to a trial, whose queue nothing holds them for."""
    free = [
        step
        for step, pod in pods.items()
        if (pod["metadata"].get("labels") or {}).get(QUEUE_LABEL)
        and {"name": ADMISSION_GATE} not in (pod["spec"].get("schedulingGates") or [])
    ]
    if free:
        yield warning(
            f"Kueue does not hold the pods of {', '.join(free)}, {_NOT_QUEUED} "
            f"{subject.needs.arguments['queue']}",
            "let Kueue's configuration have pod among integrations.frameworks, and a "
            f"managedJobsNamespaceSelector that selects the namespace, {_LEAVE_OUT}",
        )
