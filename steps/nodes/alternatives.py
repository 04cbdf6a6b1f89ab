"""The order in which alternatives are tried, and the effect of a refusal on the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from argotune.steps.common import log
from argotune.steps.common.errors import CapacityError
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.provider import ANY_ZONE, Attempt, Node, NodeRequest, Placement
from argotune.steps.nodes.waiting import Waiting

_LOGGER = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 600.0


def placements(request: NodeRequest) -> tuple[Placement, ...]:
    """List every placement in order.

    All of the first capacity type come before any of the second; within one, they go instance type
    by instance type, zone by zone.
    """
    zones = [None if zone == ANY_ZONE else zone for zone in request.zones] or [None]
    return tuple(
        Placement(instance_type=instance_type, capacity_type=capacity_type, zone=zone)
        for capacity_type in request.capacity_types
        for instance_type in request.instance_types
        for zone in zones
    )


def place(
    request: NodeRequest,
    attempt: Callable[[Placement], Node],
    waiting: Waiting,
    *,
    first: Placement | None = None,
) -> Node:
    """Return the node of the first placement that gives one.

    `first`, if it is one of the request's, is tried before the others. A machine too small for the
    tune pod is not requested, because its node would stand idle. Placements that lacked machines
    are tried again, later and later, until the time of the request is over. Raises CapacityError
    with the table of all tries, and every other error of `attempt` at once.
    """
    outcomes = _Outcomes()

    def attempt_if_it_fits(placement: Placement) -> Node:
        if reason := request.too_small.get(placement.instance_type):
            raise PlacementRefused(f"not requested: {reason}", alike=("instance_type",))
        return attempt(placement)

    left: Sequence[Placement] = sorted(placements(request), key=lambda each: each != first)
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        again: list[Placement] = []
        node = _round(left, again, attempt_if_it_fits, waiting, outcomes)
        if node is not None:
            waiting.done()
            return replace(node, tried=outcomes.rows())
        if not again or waiting.left_seconds <= pause_seconds:
            raise CapacityError(f"no GPU node: {outcomes}")
        waiting.sleep(f"no machines; trying again in {pause_seconds:.0f} s", pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        left = again


def _round(
    left: Sequence[Placement],
    again: list[Placement],
    attempt: Callable[[Placement], Node],
    waiting: Waiting,
    outcomes: _Outcomes,
) -> Node | None:
    """Try each placement that no refusal rules out; `again` collects those worth a later round."""
    refused: list[tuple[PlacementRefused, Placement]] = []
    for placement in left:
        known = next((pair for pair in refused if pair[0].rules_out(pair[1], placement)), None)
        if known is not None:
            outcomes.add_skipped(placement, like=known[1])
            if known[0].may_pass:
                again.append(placement)
            continue
        if waiting.left_seconds <= 0:
            return None
        started = waiting.clock.now()
        try:
            node = attempt(placement)
        except PlacementRefused as error:
            outcomes.add_try(placement, str(error), waiting.clock.now() - started)
            refused.append((error, placement))
            if error.may_pass:
                again.append(placement)
        else:
            outcomes.add_try(placement, f"node {node.name}", waiting.clock.now() - started)
            return node
    return None


class _Outcomes:
    """The table: one row for each placement, in the order of first tries."""

    def __init__(self) -> None:
        self._rows: dict[Placement, Attempt] = {}

    def rows(self) -> tuple[Attempt, ...]:
        """Return the rows of the table."""
        return tuple(self._rows.values())

    def add_try(self, placement: Placement, outcome: str, seconds: float) -> None:
        """Record the outcome of a try."""
        known = self._rows.get(placement)
        tries = 1 + (known.tries if known else 0)
        row = Attempt(placement=placement, outcome=outcome, seconds=seconds, tries=tries)
        self._rows[placement] = row
        log.event(_LOGGER, "tried", placement=placement, outcome=outcome, seconds=seconds)

    def add_skipped(self, placement: Placement, *, like: Placement) -> None:
        """Record that the refusal of another placement applies to this one too."""
        outcome = f"not tried, for the same reason as {like}"
        row = Attempt(placement=placement, outcome=outcome, seconds=0.0, tries=0)
        self._rows.setdefault(placement, row)

    def __str__(self) -> str:
        return "; ".join(map(str, self._rows.values())) or "no alternative was tried"
