"""A node that was made for a run: since when, at what price, and so what it has cost.

Without a cluster, so that a step whose image has no client of Kubernetes can count too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

NODE_ANNOTATION = "argotune.dev/service-node"
"""Annotation of the Deployment of a service that has a node of its own: the node, as JSON."""
_SECONDS_PER_HOUR = 3600
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, kw_only=True)
class MadeNode:
    """One node that was made for a run."""

    placement: str
    """SKU, spot or regular, and zone."""
    price_usd_per_hour: float | None
    """None: not known. For spot the regular price, which it does not pass."""
    since: datetime
    """When it was asked for."""
    until: datetime | None = None
    """When it was gone; None: it is still there."""

    def hours(self, now: datetime) -> float:
        """How long the run had it until now."""
        seconds = ((self.until or now) - self.since).total_seconds()
        return max(seconds, 0.0) / _SECONDS_PER_HOUR

    def cost_usd(self, now: datetime) -> float | None:
        """What it has cost until now; None where the price is not known."""
        price = self.price_usd_per_hour
        return None if price is None else self.hours(now) * price


Made = tuple[MadeNode, ...]
"""In the order in which they were asked for; only the last one may still be there."""


def is_spot(placement: str) -> bool:
    """Whether the price of such a node is that of a regular machine, which it does not pass."""
    return "spot" in placement.split()


def running_node(made: Made) -> MadeNode | None:
    """The node that the run has."""
    return made[-1] if made and made[-1].until is None else None


def spent_usd(made: Made, now: datetime) -> float | None:
    """What a run's nodes have cost; None where nobody knows the price of one."""
    return sum_of_known(node.cost_usd(now) for node in made) if made else 0.0


def sum_of_known(values: Iterable[float | None]) -> float | None:
    """Add up the known values; one unknown value makes the sum unknown."""
    numbers = list(values)
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


def row_of_node(node: MadeNode) -> dict[str, Any]:
    """Write a node as JSON's object."""
    return {
        "placement": node.placement,
        "priceUsdPerHour": node.price_usd_per_hour,
        "since": f"{node.since:{_TIME}}",
        "until": None if node.until is None else f"{node.until:{_TIME}}",
    }


def node_of_row(row: Mapping[str, Any]) -> MadeNode:
    """Read such an object. Raises ValueError, KeyError or TypeError where it is none."""
    price, until = row["priceUsdPerHour"], row["until"]
    return MadeNode(
        placement=str(row["placement"]),
        price_usd_per_hour=None if price is None else float(price),
        since=_time(row["since"]),
        until=None if until is None else _time(until),
    )


def node_of_service(annotations: Mapping[str, str]) -> MadeNode | None:
    """Read the node of a service from its Deployment's annotations; None where it has none.

    People may change annotations, so what cannot be read counts as none.
    """
    try:
        return node_of_row(json.loads(annotations.get(NODE_ANNOTATION, "")))
    except (ValueError, KeyError, TypeError):
        return None


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
