"""Parameters and results of the provision step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.nodes.node_params import NodeParams


@dataclass(frozen=True, kw_only=True)
class Params(NodeParams):
    """Have a GPU node, and wait until its GPU can be used."""


@dataclass(frozen=True, kw_only=True)
class Result:
    node: str
    """Name of a node that fits; this machine's host name with provider local."""
    accelerator: str
    """GPU model and count, or cpu."""
    node_selector: str
    """Labels of the node as a JSON object; the tune pod is scheduled by it."""
    tolerations: str
    """Tolerations that a pod needs there, a JSON list: one for each taint of the node."""
    placement: str
    """SKU, spot or regular, and zone of a node that was made; empty for nodes that exist."""
    price_usd_per_hour: float | None
    """Known price of the node; spot costs at most this. Empty: not known."""
    tried: str
    """What was tried and what became of it, one line each."""
    watched: bool
    """Whether the step `watch` brings another node when this one is taken away: true for a node
    that was made for the run."""
