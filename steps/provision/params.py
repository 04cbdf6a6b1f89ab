"""Parameters and results of the provision step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.nodes.node_params import NodeParams


@dataclass(frozen=True, kw_only=True)
class Params(NodeParams):
    """Find or create a GPU node, and wait until its GPU is allocatable."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the provision step."""

    node: str
    """Name of a suitable node; with provider local, this machine's host name."""
    accelerator: str
    """GPU model and count, or cpu."""
    node_selector: str
    """Node selector of the tune pod, a JSON object of labels."""
    tolerations: str
    """Tolerations that a pod needs on the node, a JSON list: one for each taint."""
    placement: str
    """SKU, spot or regular, and zone of a created node; empty for existing nodes."""
    price_usd_per_hour: float | None
    """Known price of the node, an upper limit for spot. Empty: unknown."""
    tried: str
    """Attempted SKUs and zones with their results, one line each."""
    watched: bool
    """Whether the step `watch` replaces the node if it is lost: true for a node that was created
    for the run."""
