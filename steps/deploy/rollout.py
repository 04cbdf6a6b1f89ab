"""Wait until a Deployment's new pods are ready, or fail with the reason why they are not."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.cluster.scheduling import GPU_RESOURCE
from argotune.steps.common import log
from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import ADAPTER
from argotune.steps.contracts.served import SERVICE_LABEL
from argotune.steps.deploy.params import Params

_LOGGER = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_PATIENCE_SECONDS = 45.0
"""How long a container may fail to start. The kubelet retries, and a registry may become available
again, but a wrong image name should not use up the whole timeout."""
_LOG_LINES = 15
_STUCK = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "RunContainerError",
)
_HOPELESS = re.compile(
    r"InvalidImageName|not found|manifest unknown|unauthorized|authentication required|denied"
    r"|no such host|no match for platform",
    re.IGNORECASE,
)


@dataclass
class Rollout:
    """One rollout."""

    kube: Kube
    params: Params
    clock: Clock
    progress: Progress
    tell: Callable[[str, str], None]
    """Takes what each look finds, in one word and whole, for people who watch the run."""
    has_given_way: bool = False
    """Whether the old server may end before the new one is ready."""
    stuck_since: dict[str, float] = field(default_factory=dict)
    """Pod and reason -> time of its first observation, seconds of the clock."""

    def wait(self) -> None:
        """Wait until all pods have the new template and are ready.

        Raises PermanentError at once for a reason that waiting does not change, and with the last
        reason at the timeout.
        """
        start, reason = self.clock.now(), ""
        while True:
            deployment = self._deployment()
            if _complete(deployment):
                return
            found = self._reason(deployment)
            if found != reason:
                log.event(_LOGGER, "waiting", service=self.params.name, reason=found)
                reason = found
            self.tell("WaitingForService", found)
            waited = self.clock.now() - start
            left = self.params.timeout_seconds - waited
            if left <= 0:
                raise PermanentError(
                    f"service {self.params.name} was not ready within "
                    f"{self.params.timeout_seconds:.0f} s: {reason}"
                )
            self.progress.update(int(waited), int(self.params.timeout_seconds) + 1)
            self.clock.sleep(min(_LOOK_SECONDS, left))

    def _deployment(self) -> Object:
        deployment = self.kube.get("Deployment", self.params.namespace, self.params.name)
        if deployment is None:
            raise PermanentError(f"Deployment {self.params.name} was deleted during the rollout")
        return deployment

    def _reason(self, deployment: Object) -> str:
        """Why the rollout is not complete. Raises PermanentError if it cannot complete."""
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                raise PermanentError(f"no pod can be created: {condition.get('message')}")
        has_old = int(deployment.get("status", {}).get("availableReplicas", 0)) > 0
        pods = list(self._new_pods())
        if not pods:
            return "no new pod yet"
        reasons = [self._pod_reason(pod, has_old) for pod in pods if not _is_ready(pod)]
        return "; ".join(dict.fromkeys(reasons)) or "the new pods are ready, old ones are stopping"

    def _new_pods(self) -> Iterator[Object]:
        selector = f"{SERVICE_LABEL}={self.params.name}"
        for pod in self.kube.pods(self.params.namespace, selector):
            metadata = pod["metadata"]
            annotations = metadata.get("annotations") or {}
            is_new = annotations.get(ADAPTER) == self.params.served
            if is_new and not metadata.get("deletionTimestamp"):
                yield pod

    def _pod_reason(self, pod: Object, has_old: bool) -> str:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        if status.get("phase") == "Failed":
            return (
                f"pod {name} failed: {status.get('reason')} {status.get('message') or ''}".strip()
            )
        for container in status.get("containerStatuses") or []:
            self._refuse_crash(name, container)
            waiting = container.get("state", {}).get("waiting")
            if waiting:
                return self._waiting_reason(name, waiting)
            return "loading the model" if container.get("started") is False else "not ready yet"
        return self._unscheduled_reason(name, status, has_old)

    def _refuse_crash(self, pod: str, container: Mapping[str, Any]) -> None:
        """Raise PermanentError if the server crashed twice or was killed for its memory use."""
        states = (container.get("state", {}), container.get("lastState", {}))
        ended = next((state["terminated"] for state in states if state.get("terminated")), None)
        if ended is None:
            return
        if ended.get("reason") == "OOMKilled":
            raise PermanentError(
                f"the server of pod {pod} ran out of memory; it requests "
                f"{self.params.server_memory()} (parameter service-memory)"
            )
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") == "CrashLoopBackOff" or container.get("restartCount", 0) > 1:
            raise PermanentError(
                f"the server of pod {pod} exited with code {ended.get('exitCode')}; "
                f"its log ends with: {self._log_end(pod)}"
            )

    def _log_end(self, pod: str) -> str:
        try:
            text = self.kube.pod_log(
                self.params.namespace, pod, previous=True, tail_lines=_LOG_LINES
            )
        except (PermanentError, TransientError) as error:
            return f"({error})"
        return " | ".join(line.strip() for line in text.strip().splitlines()) or "nothing"

    def _waiting_reason(self, pod: str, waiting: Mapping[str, Any]) -> str:
        reason = str(waiting.get("reason"))
        message = str(waiting.get("message") or "")
        if reason not in _STUCK and not _HOPELESS.search(reason):
            warning = self._last_warning(pod)
            return f"{reason} ({warning})" if warning else reason
        message_text = f"{reason}: {message or self._last_warning(pod)}"
        since = self.stuck_since.setdefault(f"{pod} {_family(reason)}", self.clock.now())
        if _HOPELESS.search(message_text) or self.clock.now() - since >= _PATIENCE_SECONDS:
            raise PermanentError(f"pod {pod} cannot start: {message_text}")
        return message_text

    def _unscheduled_reason(self, pod: str, status: Mapping[str, Any], has_old: bool) -> str:
        for condition in status.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                advice = ""
                if has_old and GPU_RESOURCE in str(condition.get("message")):
                    advice = f"; {self._give_way()}"
                return f"{condition.get('reason')}: {condition.get('message')}{advice}"
        return self._last_warning(pod) or "the pod is starting"

    def _give_way(self) -> str:
        """Let the old server end first, if it may; returns what it does."""
        params = self.params
        if params.service_during_tuning == "wait":
            return (
                "the old server keeps its GPU until the new one is ready; with"
                " service-during-tuning hand-over or cpu it ends first"
            )
        if not self.has_given_way:
            change = {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}}
            self.kube.patch("Deployment", params.namespace, params.name, change)
            log.event(_LOGGER, "old-server-ends-first", service=params.name)
            self.has_given_way = True
        return "the old server gives its GPU to the new one"

    def _last_warning(self, pod: str) -> str:
        """The newest warning event of the pod; empty if events cannot be read."""
        try:
            warnings = self.kube.warnings(self.params.namespace, pod)
        except (PermanentError, TransientError):
            return ""
        return warnings[-1] if warnings else ""


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _family(reason: str) -> str:
    """The reason, with one name for the two that alternate while an image cannot be pulled."""
    return "image" if "Image" in reason else reason


def _complete(deployment: Object) -> bool:
    """Whether the rollout is complete, by the rule of `kubectl rollout status`."""
    status = deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return False
    wanted = int(deployment["spec"].get("replicas", 1))
    names = ("replicas", "updatedReplicas", "availableReplicas")
    pods, updated, available = (int(status.get(name, 0)) for name in names)
    return updated >= wanted and pods <= updated <= available
