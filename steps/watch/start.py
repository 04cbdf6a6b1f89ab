"""When a pod that has a Ready node counts as one that will not start by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from argotune.steps.nodes.fit import Object, not_ready

_REFUSALS = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)
"""Reasons of the kubelet for a container that it tries to start again and again."""


class StartDetector:
    """Decides from successive lists of pods and nodes whether the step's pod can start."""

    def __init__(
        self, *, refused_seconds: float, start_seconds: float, now: Callable[[], float]
    ) -> None:
        self._refused_seconds = refused_seconds
        self._start_seconds = start_seconds
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Start over, because there is no pod to start or no Ready node for it.

        A pod that a scheduling gate holds is not to start yet.
        """
        self._pending_since: float | None = None
        self._refused_since: float | None = None

    def reason(self, pods: Sequence[Object], nodes: Sequence[Object]) -> str:
        """Why the pod will not start, with how long that is so; empty while it may start."""
        pending = [pod for pod in pods if _is_pending(pod) and not gates_of(pod)]
        if not pending or all(not_ready(node) for node in nodes):
            self.reset()
            return ""
        now = self._now()
        refusal = next(filter(None, map(refusal_of, pending)), "")
        self._pending_since = now if self._pending_since is None else self._pending_since
        if not refusal:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        if self._refused_since is not None and now - self._refused_since >= self._refused_seconds:
            return f"{_minutes(now - self._refused_since)}: {refusal}"
        if now - self._pending_since >= self._start_seconds:
            said = refusal or "its image is being pulled or its volumes are being attached"
            return f"{_minutes(now - self._pending_since)}: {said}"
        return ""


def gates_of(pod: Object) -> list[str]:
    """Scheduling gates that hold the pod, such as Kueue's until it admits the pod to its queue."""
    gates = (pod.get("spec") or {}).get("schedulingGates") or []
    return [str(gate["name"]) for gate in gates]


def refusal_of(pod: Object) -> str:
    """What the scheduler or the kubelet says against the pod; empty where neither does."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        is_placed = condition["type"] != "PodScheduled" or condition["status"] == "True"
        if not is_placed and condition.get("reason") == "Unschedulable":
            return str(condition.get("message") or "Unschedulable")
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            waiting: Mapping[str, str] = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _REFUSALS:
                return f"{waiting['reason']}: {waiting.get('message', container['name'])}"
    return ""


def _is_pending(pod: Object) -> bool:
    is_going = "deletionTimestamp" in pod["metadata"]
    return not is_going and (pod.get("status") or {}).get("phase") == "Pending"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
