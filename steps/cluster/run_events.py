"""What a step reports about a run while it goes on: core/v1 Events about the run's Workflow.

Argo cannot show why a running pod waits. Its UI, `kubectl describe workflow` and `argotune status`
show Events; the cluster deletes them after an hour.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import PermanentError, TransientError

_LOGGER = logging.getLogger(__name__)
_MOST_CHARACTERS = 1000
"""The newer API of events takes 1 kB."""
_REPEAT_SECONDS = 300.0
"""Often enough that the cluster does not delete an Event that is still true."""


@dataclass
class _Posted:
    name: str
    count: int
    at_seconds: float


class RunEvents:
    """Events about one Workflow by one step.

    An Event that cannot be written is logged once and never fails the step.
    """

    def __init__(
        self,
        kube: Kube | None,
        *,
        namespace: str,
        workflow: str,
        uid: str,
        step: str,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self._kube = kube
        """None: no Event is written."""
        self._namespace = namespace
        self._workflow = workflow
        self._uid = uid
        self._step = step
        self._clock = clock
        self._posted: dict[tuple[str, str], _Posted] = {}
        self._last: tuple[str, str] | None = None
        self._has_complained = False

    def waiting(self, why: str) -> None:
        """Report that the step waits for a node."""
        self.say("WaitingForNode", why)

    def say(self, reason: str, message: str, *, is_warning: bool = False) -> None:
        """Write an Event; the same one again at most every five minutes until another is written.

        `reason` is one word in upper camel case.
        """
        if self._kube is None or not (self._namespace and self._workflow):
            return
        key = (reason, log.redact_urls(message)[:_MOST_CHARACTERS])
        known = self._posted.get(key)
        now = self._clock.wall()
        if key == self._last and known and now - known.at_seconds < _REPEAT_SECONDS:
            return
        try:
            self._post(self._kube, key, known, now, is_warning=is_warning)
        except (PermanentError, TransientError) as error:
            if not self._has_complained:
                log.warn(_LOGGER, "no-events", reason=error)
                self._has_complained = True
        else:
            self._last = key

    def _post(
        self,
        kube: Kube,
        key: tuple[str, str],
        known: _Posted | None,
        now: float,
        *,
        is_warning: bool,
    ) -> None:
        if known is not None:
            count, last = known.count + 1, _time(now)
            if kube.repeat_event(self._namespace, known.name, count=count, last=last):
                self._posted[key] = _Posted(name=known.name, count=count, at_seconds=now)
                return
        event = kube.create_event(self._event(*key, now, "Warning" if is_warning else "Normal"))
        self._posted[key] = _Posted(name=event["metadata"]["name"], count=1, at_seconds=now)

    def _event(self, reason: str, message: str, now: float, kind: str) -> dict[str, Any]:
        component = f"argotune-{self._step}"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{self._workflow}-", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Workflow",
                "namespace": self._namespace,
                "name": self._workflow,
                "uid": self._uid,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": _time(now),
            "lastTimestamp": _time(now),
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": platform.node(),
        }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
