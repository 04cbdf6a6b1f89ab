"""Until when a run may have nodes: one time and one amount for all of them, whatever replaces what.

The time is counted from when the run first asked for a node, the amount by what it had since when
and at what price (`ledger.py`). Both are written down at its Workflow: another try of provision, a
watch that is started again, a replacement and `argo retry` find them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from argotune.steps.cluster.kube import Kube
from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.nodes.cost_limit import STOPPING_SECONDS, price_problem, reserve_seconds
from argotune.steps.nodes.ledger import made_nodes
from argotune.steps.nodes.made_node import Made, running_node
from argotune.steps.nodes.node_params import NodeParams
from argotune.steps.nodes.provider import NodeRequest

FIRST_ASKED = "argotune.dev/first-node-asked-at"
"""Annotation of the Workflow."""
_SECONDS_PER_HOUR = 3600
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def first_request_time(workflow: Mapping[str, Any]) -> datetime | None:
    """Read when the run first asked for a node; None where it has not.

    `argo resubmit` copies annotations: a time before the Workflow was created is another run's.
    """
    metadata = workflow["metadata"]
    asked = _time((metadata.get("annotations") or {}).get(FIRST_ASKED))
    created = _time(metadata.get("creationTimestamp"))
    if asked is not None and created is not None and asked < created:
        return None
    return asked


def note_first_asked(
    kube: Kube, *, namespace: str, workflow: str, run: str, now: datetime
) -> Mapping[str, Any]:
    """Record when the run first asked for a node, `now` if it has not before.

    Returns the run's Workflow with that annotation.

    Raises PermanentError where the run's Workflow was deleted, because nothing would use its node.
    """
    found = kube.workflow(namespace, workflow)
    if found is None or found["metadata"].get("uid") != run:
        raise PermanentError(
            f"Workflow {namespace}/{workflow} of run {run} was deleted, so no node is asked for"
        )
    if first_request_time(found) is not None:
        return found
    written = {FIRST_ASKED: f"{now:{_TIME}}"}
    kube.annotate_workflow(namespace, workflow, written)
    metadata = found["metadata"]
    annotations = {**(metadata.get("annotations") or {}), **written}
    return {**found, "metadata": {**metadata, "annotations": annotations}}


@dataclass(frozen=True, kw_only=True)
class Over:
    """Why a run may have no node any more."""

    reason: str
    setting: str
    """What more of permits it again."""
    unit: str
    """Of the setting's value, for a command."""
    event: str
    """Reason of the event that tells it."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """For how long, and for how much, a run may have nodes that are made for it."""

    asked: datetime
    """When it first asked for one."""
    lifetime_seconds: float
    """Counted from then."""
    max_cost_usd: float | None = None
    """Of all its nodes together; None: no limit."""
    made: Made = ()
    """The nodes that it had and has."""

    def by(self, workflow: Mapping[str, Any]) -> Allowance:
        """The same as its Workflow says it now."""
        asked = first_request_time(workflow) or self.asked
        return replace(self, asked=asked, made=made_nodes(workflow))

    def within(self, request: NodeRequest, now: datetime) -> NodeRequest:
        """The request for the time and the money that are left to the run.

        Raises PermanentError where one of them is used up, and ParamsError as `refuse_unpriced`.
        """
        self.refuse_unpriced(request)
        if over := self.over(now):
            raise PermanentError(over.reason)
        deadline = self.asked + timedelta(seconds=self.lifetime_seconds)
        return replace(
            request,
            deadline=deadline,
            affordable_seconds={
                sku: self._affordable_seconds(price, now)
                for sku, price in request.prices_usd_per_hour.items()
                if self.max_cost_usd is not None
            },
            timeout_seconds=min(request.timeout_seconds, (deadline - now).total_seconds()),
        )

    def refuse_unpriced(self, request: NodeRequest) -> None:
        """Raise ParamsError where nobody knows how long the money lasts on one of the machines."""
        if self.max_cost_usd is None:
            return
        if problem := price_problem(self.max_cost_usd, request):
            raise ParamsError(f"--max-cost-usd: {problem}")

    def over(self, now: datetime) -> Over | None:
        """Why the run may have no node any more; None while it may."""
        if now < self.asked + timedelta(seconds=self.lifetime_seconds):
            return self._too_dear(now)
        return Over(
            reason=(
                f"the run first asked for a node at {self.asked:{_TIME}} and may have nodes for "
                f"{self.lifetime_seconds:g} s (node-lifetime-seconds), which are over"
            ),
            setting="node-lifetime-seconds",
            unit="SECONDS",
            event="NodeTimeOver",
        )

    def training_ends_at(self) -> datetime | None:
        """When tune has to have ended for the run to spend no more than it may.

        None where there is no limit of cost, or no node that costs anything.
        """
        running = running_node(self.made)
        if self.max_cost_usd is None or running is None or not running.price_usd_per_hour:
            return None
        left_usd = self.max_cost_usd - self._spent_usd(running.since)
        seconds = left_usd / running.price_usd_per_hour * _SECONDS_PER_HOUR
        return running.since + timedelta(seconds=seconds - reserve_seconds(ends_by_itself=True))

    def _too_dear(self, now: datetime) -> Over | None:
        if self.max_cost_usd is None:
            return None
        running, spent = running_node(self.made), self._spent_usd(now)
        price = running.price_usd_per_hour if running else None
        reserve = (price or 0.0) * STOPPING_SECONDS / _SECONDS_PER_HOUR
        if spent + reserve < self.max_cost_usd:
            return None
        return Over(
            reason=(
                f"the run's nodes have cost {spent:.2f} USD and may cost {self.max_cost_usd:g} USD "
                f"(max-cost-usd), of which {reserve:.2f} USD are kept back for stopping"
            ),
            setting="max-cost-usd",
            unit="USD",
            event="CostLimitReached",
        )

    def _affordable_seconds(self, price_usd_per_hour: float, now: datetime) -> float:
        left_usd = (self.max_cost_usd or 0.0) - self._spent_usd(now)
        seconds = left_usd / price_usd_per_hour * _SECONDS_PER_HOUR
        return min(seconds, self.lifetime_seconds)

    def _spent_usd(self, now: datetime) -> float:
        return sum(node.cost_usd(now) or 0.0 for node in self.made)


def allowance_of(params: NodeParams, asked: datetime) -> Allowance:
    """What the parameters allow a run that first asked for a node then."""
    return Allowance(
        asked=asked, lifetime_seconds=params.lifetime_seconds, max_cost_usd=params.max_cost_usd
    )


def wall_time(clock: Clock) -> datetime:
    """Return the clock's time in UTC, which is the form that is stored."""
    return datetime.fromtimestamp(clock.wall(), UTC)


def _time(text: object) -> datetime | None:
    """Parse a time; None where it is malformed, because people may change annotations."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
