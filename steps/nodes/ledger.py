"""Which nodes a run has, since when and at what price: annotations of its Workflow.

`provision` and `watch` write down a node when they have it, `watch` and `release` when they have
given it back. So what a run spent outlives its nodes, its pods and `argo retry`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from argotune.steps.cluster.kube import Kube
from argotune.steps.nodes.made_node import (
    Made,
    MadeNode,
    is_spot,
    node_of_row,
    row_of_node,
    running_node,
)
from argotune.steps.nodes.provider import Node, ReleasedNode

MADE_NODES = "argotune.dev/made-nodes"
"""Annotation of the Workflow: the run's UID, and one row for each node, as JSON."""
ACCELERATOR = "argotune.dev/accelerator"
"""Annotation of the Workflow: the run's UID, and the GPU of its node, as JSON."""


def made_nodes(workflow: Mapping[str, Any]) -> Made:
    """The nodes that were made for the run of a Workflow.

    `argo resubmit` copies annotations, so rows of another run count for nothing. People may change
    annotations, so neither does what cannot be read.
    """
    try:
        return tuple(map(node_of_row, _written(workflow, MADE_NODES).get("nodes", [])))
    except (ValueError, KeyError, TypeError):
        return ()


def write_made_nodes(
    kube: Kube, made: Sequence[MadeNode], *, namespace: str, workflow: str, run: str
) -> None:
    """Write the rows down at the Workflow. Raises ApiError where the API server does not."""
    text = json.dumps({"run": run, "nodes": [row_of_node(node) for node in made]})
    kube.annotate_workflow(namespace, workflow, {MADE_NODES: text})


def accelerator_of(workflow: Mapping[str, Any]) -> str:
    """The GPU of the run's node, or its machine; empty before the run has a node."""
    return str(_written(workflow, ACCELERATOR).get("accelerator", ""))


def write_accelerator(
    kube: Kube, accelerator: str, *, namespace: str, workflow: str, run: str
) -> None:
    """Write down that the run has a node, for a table of many runs, which reads no steps.

    Raises ApiError where the API server does not.
    """
    text = json.dumps({"run": run, "accelerator": accelerator})
    kube.annotate_workflow(namespace, workflow, {ACCELERATOR: text})


def with_node(made: Made, node: Node, now: datetime) -> Made:
    """Add the run's present node to the rows, and close the row of the one before.

    Another try of a step, which finds the same node, changes nothing.
    """
    placement, since = str(node.placement), (node.since or now).replace(microsecond=0)
    running = running_node(made)
    if running is not None and (running.placement, running.since) == (placement, since):
        return made
    row = MadeNode(placement=placement, price_usd_per_hour=node.price_usd_per_hour, since=since)
    return (*without_node(made, now), row)


def without_node(made: Made, now: datetime) -> Made:
    """The rows when the run has no node any more."""
    if running_node(made) is None:
        return made
    return (*made[:-1], replace(made[-1], until=now.replace(microsecond=0)))


def given_back(made: Made) -> list[ReleasedNode]:
    """The nodes that the run has no longer, with hours and cost."""
    return [
        ReleasedNode(
            what=f"node ({node.placement})",
            hours=node.hours(node.until),
            cost_usd=node.cost_usd(node.until),
            is_upper_bound=is_spot(node.placement),
        )
        for node in made
        if node.until is not None
    ]


def _written(workflow: Mapping[str, Any], annotation: str) -> Mapping[str, Any]:
    """What an annotation says of this very run; empty where it says nothing or is unreadable."""
    metadata = workflow["metadata"]
    try:
        found = json.loads((metadata.get("annotations") or {}).get(annotation, ""))
        return found if found["run"] == metadata.get("uid") else {}
    except (ValueError, KeyError, TypeError):
        return {}
