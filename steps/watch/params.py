"""Parameters and results of the watch step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.node_params import Machine, NodeParams
from argotune.steps.nodes.provider import NodeRequest


@dataclass(frozen=True, kw_only=True)
class Params(NodeParams):
    """Replace the node that was created for a run when it is lost, until its steps have finished.

    Then give it back. Stop the run if a step's pod does not start on the node.
    """

    node_selector: str
    """Node selector of the tune pod, the JSON object from provision; a replacement gets the same
    labels."""
    steps: tuple[str, ...] = ("tune", "answer", "evaluate")
    """Steps that need the node, in their order."""
    look_seconds: float = 15.0
    """Interval between two checks of the run and its node."""
    grace_seconds: float = 60.0
    """How long a node may be not Ready before it counts as lost; a deleted node counts as lost on
    the second check."""
    refused_seconds: float = 900.0
    """How long scheduler or kubelet may refuse the step's pod while its node is Ready; then the run
    is stopped. A restarted device plugin may take 10 minutes to offer the GPU again (provision's
    gpu-timeout-seconds), and the scheduler looks again within 5."""
    start_seconds: float = 3600.0
    """How long the pod may take to start on a node that is Ready; then the run is stopped. It
    includes the pull of the image, and 6 minutes until Kubernetes detaches a volume from a lost
    node."""

    def problems(self) -> Iterator[str]:
        """Messages about invalid parameters."""
        yield from super().problems()
        if not (self.workflow and self.namespace):
            yield "--workflow, --namespace: empty; give those of the run's Workflow"
        for name in ("look_seconds", "grace_seconds", "refused_seconds", "start_seconds"):
            value = getattr(self, name)
            if not value > 0:
                yield f"--{name.replace('_', '-')}: {value} is not above 0"
        try:
            self.selector()
        except (ValueError, RecursionError):
            given = repr(self.node_selector)
            yield f'--node-selector: {given} is not a JSON object of labels, {{"a": "b"}}'

    def selector(self) -> Mapping[str, str]:
        """The labels of the node. Raises ValueError unless it is a non-empty JSON object."""
        labels = json.loads(self.node_selector)
        if not (isinstance(labels, dict) and labels):
            raise ValueError("no labels")
        return {str(key): str(value) for key, value in labels.items()}

    def request(self, machines: Mapping[str, Machine]) -> NodeRequest:
        """The request of provision, for a node with the labels that the waiting pod selects."""
        request = super().request(machines)
        return replace(request, node=self.selector().get(NODE_LABEL, ""))


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the watch step."""

    replaced: int
    """Number of nodes that were lost and replaced."""
    node: str
    """Name of the last replacement; empty: no node was replaced."""
    placement: str
    """SKU, spot or regular, and zone of that node."""
    price_usd_per_hour: float | None
    """Known price of that node, an upper limit for spot. Empty: unknown, or no node was
    replaced."""
    tried: str
    """Attempted SKUs and zones of all replacements with their results, one line each."""
    node_hours: float | None
    """Total lifetime of the nodes that the step gave back, hours: the lost ones, and the last one
    when the step that needed it succeeded. Empty: unknown, or no node was given back."""
    cost_usd: float | None
    """Cost of these hours at the known price, an upper limit for spot. Empty: unknown."""
