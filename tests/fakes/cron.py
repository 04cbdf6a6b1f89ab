"""Argo's CronWorkflow controller, for schedules whose runs exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from argotune.workflows.workspace.schedule import next_time
from tests.fakes.clock import VirtualClock


@dataclass
class CronController:
    """Begins the runs of a CronWorkflow, one after the other, on a virtual clock.

    By Argo's documentation of cron-workflows: a time that comes while a run goes on has none
    (`Forbid`); of those that the controller missed, the last one still has one until
    `startingDeadlineSeconds` are over. The run of one time ends before the next is looked at.
    """

    cron: dict[str, Any]
    clock: VirtualClock
    begin: Callable[[dict[str, Any]], None]
    """Runs the CronWorkflow to its end."""
    last: datetime
    """Time up to which all is done, in the zone of the schedule."""
    down: list[tuple[datetime, datetime]] = field(default_factory=list)
    """When the controller itself did not run."""

    def go_on_to(self, time: datetime) -> None:
        """Do what is due until then."""
        for due in self._due(time):
            self.last = due
            begins = self._begins(due)
            if begins is not None:
                self.clock.go_on_to(begins)
                self.begin(self.cron)
        self.last = time
        self.clock.go_on_to(time)

    def _due(self, until: datetime) -> Iterator[datetime]:
        spec, time = self.cron["spec"], self.last
        while (time := next_time(spec["schedules"], spec["timezone"], time)) <= until:
            yield time

    def _begins(self, due: datetime) -> datetime | None:
        """When the run of a scheduled time begins; None: never."""
        spec = self.cron["spec"]
        assert spec["concurrencyPolicy"] == "Forbid"
        if spec.get("suspend") or due.timestamp() < self.clock.now():
            return None
        back = next((end for begin, end in self.down if begin <= due < end), due)
        is_last = next_time(spec["schedules"], spec["timezone"], due) > back
        in_time = back - due <= timedelta(seconds=spec["startingDeadlineSeconds"])
        return back if is_last and in_time else None
