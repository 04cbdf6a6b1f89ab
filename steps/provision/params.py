"""Parameters and results of the provision step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from argotune.steps.contracts.service_note import DuringTuning
from argotune.steps.nodes.node_params import NodeParams


@dataclass(frozen=True, kw_only=True)
class Params(NodeParams):
    """Find or create a GPU node, and wait until its GPU is allocatable."""

    run_tokens: int | None = None
    """Tokens that the run trains on, each epoch's again, from the dataset step: where they are sure
    to cost more than max-cost-usd, no node is asked for. Empty: not known."""
    fastest_tokens_per_second: str = ""
    """Highest expected speed of each SKU from the plan, a JSON object of numbers, for the same;
    those of SKUs that are missing here are not known. Empty: none is."""

    service_during_tuning: DuringTuning = "wait"
    """What the workspace's own service does where the run finds no GPU but the service's. wait: it
    keeps the GPU, and the run waits; cpu: it answers on a CPU until the run is over; hand-over: it
    is down until then. For nodes that the cluster has."""
    serve_image: str = ""
    """Image of a server on a CPU."""
    cpu_memory: str = ""
    """Memory that it asks for, from the plan step; cpu needs it and the image."""

    def problems(self) -> Iterator[str]:
        """Messages about invalid parameters."""
        yield from super().problems()
        if self.service_during_tuning == "cpu" and not (self.serve_image and self.cpu_memory):
            yield "--serve-image, --cpu-memory: missing; --service-during-tuning cpu needs both"
        try:
            self.fastest()
        except (ValueError, RecursionError):
            given = repr(self.fastest_tokens_per_second)
            yield f"--fastest-tokens-per-second: {given} is not a JSON object of numbers above 0"

    def fastest(self) -> dict[str, float]:
        """The parsed speeds. Raises ValueError unless they are a JSON object of numbers above 0."""
        speeds = json.loads(self.fastest_tokens_per_second or "{}")
        if not isinstance(speeds, dict):
            raise ValueError("no object")
        for speed in speeds.values():
            if isinstance(speed, bool) or not isinstance(speed, int | float) or not speed > 0:
                raise ValueError("no number above 0")
        return speeds


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
    node_since: str
    """When a created node was asked for, RFC 3339; empty for existing nodes."""
    price_usd_per_hour: float | None
    """Known price of the node, an upper limit for spot. Empty: unknown."""
    tried: str
    """Attempted SKUs and zones with their results, one line each."""
    watched: bool
    """Whether the step `watch` replaces the node if it is lost: true for a node that was created
    for the run."""
