"""Waiting with a reason: its log line, its listener, and the deadline of each phase."""

from __future__ import annotations

import logging
from enum import IntEnum

from argotune.steps.common import log
from argotune.steps.common.clock import Clock
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.provider import OnWait, ignore_wait

LOOK_SECONDS = 10.0
"""Seconds between two looks at a node."""
_LOGGER = logging.getLogger(__name__)


class Stage(IntEnum):
    """How far the making of a node is."""

    ASKED = 1
    """The cloud accepted the request."""
    MADE = 2
    """The cloud made the machine."""
    JOINED = 3
    """The machine is a node of the cluster."""
    USABLE = 4
    """Its GPUs can be allocated."""


class Waiting:
    """All waiting for one request: one deadline and one progress over every alternative."""

    def __init__(
        self,
        timeout_seconds: float,
        *,
        clock: Clock,
        progress: Progress,
        on_wait: OnWait = ignore_wait,
    ) -> None:
        self.clock = clock
        self._progress = progress
        self._on_wait = on_wait
        self._timeout_seconds = timeout_seconds
        self._start = clock.now()
        self._reason = ""
        self._stages = 1

    @property
    def left_seconds(self) -> float:
        """Seconds that are left for everything."""
        return self._timeout_seconds - (self.clock.now() - self._start)

    def phase(self, what: str, timeout_seconds: float) -> Phase:
        """Begin a phase with its own deadline; `what` begins the message when it is missed."""
        return Phase(self, what, min(timeout_seconds, max(self.left_seconds, 0.0)))

    def extra_phase(self, what: str, timeout_seconds: float) -> Phase:
        """Begin a phase that may exceed the whole, such as the deletion of a failed node."""
        return Phase(self, what, timeout_seconds)

    def reach(self, stage: Stage) -> None:
        """Report how far the node is; the next alternative begins at the first stage again."""
        self._stages = len(Stage)
        self._progress.update(stage, self._stages)

    def sleep(self, reason: str, seconds: float) -> None:
        """Log the reason, once for each, and let `seconds` pass."""
        if reason != self._reason:
            log.event(_LOGGER, "waiting", reason=reason)
            self._reason = reason
        while seconds > 0:
            self._on_wait(reason)
            self.clock.sleep(min(seconds, LOOK_SECONDS))
            seconds -= LOOK_SECONDS

    def done(self) -> None:
        """Report the end of the wait."""
        self._progress.update(self._stages, self._stages)


class Phase:
    """One phase of waiting."""

    def __init__(self, waiting: Waiting, what: str, timeout_seconds: float) -> None:
        self._waiting = waiting
        self._what = what
        self._timeout_seconds = timeout_seconds
        self._start = waiting.clock.now()

    def wait(self, reason: str, seconds: float = LOOK_SECONDS) -> None:
        """Sleep before the next look.

        Raises PlacementRefused after the deadline, with the reason.
        """
        waited = self._waiting.clock.now() - self._start
        left = self._timeout_seconds - waited
        if left <= 0:
            raise PlacementRefused(f"{self._what} after {waited:.0f} s: {reason}")
        self._waiting.sleep(reason, min(seconds, left))
