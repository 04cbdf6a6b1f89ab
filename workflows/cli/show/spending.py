"""The cost of the node that was made for a run, read from the run's Workflow.

It is an estimate by the known price: the cloud's bill counts from the machine's start, which no
Workflow contains, and includes disks and addresses. Nodes that existed before cost nothing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from argotune.steps.nodes.ledger import made_nodes
from argotune.steps.nodes.made_node import Made, is_spot, running_node, spent_usd
from argotune.workflows.cli.show.rows import is_exit_handler, seconds_between
from argotune.workflows.cli.show.workflow_json import (
    Workflow,
    node_of_step,
    nodes_of,
    outputs_of_node,
    phase_of,
    serves_alone,
    step_output,
)

# The last row of provision's table: `SKU regular (312 s): node NAME`. What was tried before it cost
# no machine.
_PLACED = re.compile(r"\((?P<seconds>\d+) s(?:, \d+ tries)?\): node \S+$")

_PLACING = ("provision", "watch")
"""Steps that have nodes made, in order."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Hours of a node, and their cost."""

    hours: float
    price_usd_per_hour: float | None
    """None: not known, or that of each node is another."""
    cost_usd: float | None
    """None: unknown."""
    is_spot: bool
    """Whether the price is that of a regular machine, which a spot machine costs at most."""
    is_over: bool
    """Whether the node has been deleted."""

    @property
    def label(self) -> str:
        """Name of the amount."""
        return "spent" if self.is_over else "spent so far"

    @property
    def short(self) -> str:
        """The amount for a table; the hours where it is unknown."""
        if self.cost_usd is None:
            return f"{self.hours:.2f} h"
        return f"{'<= ' if self.is_spot else ''}{self.cost_usd:.2f} USD"

    def __str__(self) -> str:
        if self.cost_usd is None:
            return f"{self.hours:.2f} h of a GPU node, whose price is not known"
        about = "at most" if self.is_spot else "about"
        price = self.price_usd_per_hour
        rate = "" if price is None else f" x {price:.2f} USD/h{' at most, spot' * self.is_spot}"
        return f"{about} {self.cost_usd:.2f} USD: {self.hours:.2f} h{rate}"


def spending_of(workflow: Workflow, now: datetime) -> Spending | None:
    """Compute what was spent until now, or until the node was released.

    None if no node was made for the run, none is there yet, or a service has taken it over.
    """
    made = made_nodes(workflow)
    if serves_alone(workflow) and phase_of(workflow) == "Succeeded":
        # The node is the service's from then on.
        return None
    return spending_on(made, now) if made else _spending_by_steps(workflow, now)


def spending_on(made: Made, now: datetime) -> Spending:
    """Compute what these nodes have cost until now."""
    prices = {node.price_usd_per_hour for node in made}
    return Spending(
        hours=sum(node.hours(now) for node in made),
        price_usd_per_hour=prices.pop() if len(prices) == 1 else None,
        cost_usd=spent_usd(made, now),
        is_spot=any(is_spot(node.placement) for node in made),
        is_over=running_node(made) is None,
    )


def _spending_by_steps(workflow: Workflow, now: datetime) -> Spending | None:
    """Of a run that began before its nodes were written down at its Workflow."""
    steps = [each for each in _PLACING if step_output(workflow, each, "placement")]
    if not steps:
        return None
    placements = [step_output(workflow, each, "placement") for each in steps]
    price = _number(step_output(workflow, steps[-1], "price-usd-per-hour"))
    release = _release_of(workflow)
    is_over = release.get("phase") == "Succeeded"
    hours = _given_back(workflow, release, "node-hours") if is_over else None
    if hours is None:
        hours = _seconds_of_node(workflow, release if is_over else {}, now) / 3600
    cost = _given_back(workflow, release, "cost-usd") if is_over else None
    if cost is None and price is not None:
        cost = hours * price
    return Spending(
        hours=hours,
        price_usd_per_hour=price,
        cost_usd=cost,
        is_spot=any(is_spot(placement) for placement in placements),
        is_over=is_over,
    )


def kept_node_of(workflow: Workflow, now: datetime) -> str:
    """Describe what the run left to the next one of its workspace, with its time and price.

    Returns an empty text where it left nothing or the time is over.
    """
    given = outputs_of_node(_release_of(workflow))
    until = given.get("kept-until", "")
    if not until or datetime.fromisoformat(until) <= now:
        return ""
    return given.get("released", "").removeprefix("kept ")


def _given_back(workflow: Workflow, release: dict[str, Any], name: str) -> float | None:
    """Return what release and watch report of the nodes; None where one of them does not know."""
    amounts = [_number(outputs_of_node(release).get(name, ""))]
    if step_output(workflow, "watch", "replaced") not in ("", "0"):
        amounts.append(_number(step_output(workflow, "watch", name)))
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _seconds_of_node(workflow: Workflow, release: dict[str, Any], now: datetime) -> float:
    """Count the seconds from the request of the node until release ended, or until now."""
    provision = node_of_step(workflow, "provision")
    until = seconds_between(provision.get("finishedAt"), release.get("finishedAt"), now) or 0.0
    rows = step_output(workflow, "provision", "tried").splitlines()
    placed = _PLACED.search(rows[-1]) if rows else None
    if placed is not None:
        return until + float(placed["seconds"])
    made = seconds_between(provision.get("startedAt"), provision.get("finishedAt"), now) or 0.0
    return until + made


def _release_of(workflow: Workflow) -> dict[str, Any]:
    """Return the exit handler's node, which stands for all of its tries; empty without one."""
    found = [
        node
        for node in nodes_of(workflow).values()
        if is_exit_handler(node) and node.get("templateName") == "release"
    ]
    found.sort(key=lambda node: node["type"] != "Retry")
    return dict(found[0]) if found else {}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
