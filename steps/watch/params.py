"""Parameters and results of the watch step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.node_params import NodeParams
from argotune.steps.nodes.provider import NodeRequest


@dataclass(frozen=True, kw_only=True)
class Params(NodeParams):
    """Bring another node when the one that was made for a run is taken away, until the step that
    needs it has ended."""

    node_selector: str
    """Labels by which the tune pod finds its node, a JSON object, as provision said; another node
    gets them too."""
    step: str = "tune"
    """Step that needs the node."""
    look_seconds: float = 15.0
    """Between two looks at the run and its node."""
    grace_seconds: float = 60.0
    """How long a node may be not Ready before it counts as lost; one that is gone does so on the
    second look."""

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not (self.workflow and self.namespace):
            yield "--workflow, --namespace: empty; give those of the run's Workflow"
        for name in ("look_seconds", "grace_seconds"):
            value = getattr(self, name)
            if not value > 0:
                yield f"--{name.replace('_', '-')}: {value} is not above 0"
        try:
            self.selector()
        except ValueError:
            given = repr(self.node_selector)
            yield f'--node-selector: {given} is not a JSON object of labels, {{"a": "b"}}'

    def selector(self) -> Mapping[str, str]:
        """The labels of the node. Raises ValueError unless there are some."""
        labels = json.loads(self.node_selector)
        if not (isinstance(labels, dict) and labels):
            raise ValueError("no labels")
        return {str(key): str(value) for key, value in labels.items()}

    def request(self, prices_usd_per_hour: Mapping[str, float]) -> NodeRequest:
        """As provision asked, for a node that the waiting pod finds."""
        request = super().request(prices_usd_per_hour)
        return replace(request, node=self.selector().get(NODE_LABEL, ""))


@dataclass(frozen=True, kw_only=True)
class Result:
    replaced: int
    """How many nodes were taken away and replaced."""
    node: str
    """Name of the last node that was brought; empty: none was."""
    placement: str
    """SKU, spot or regular, and zone of that node."""
    price_usd_per_hour: float | None
    """Known price of that node; spot costs at most this. Empty: not known, or none was brought."""
    tried: str
    """What was tried each time and what became of it, one line each."""
    node_hours: float | None
    """How long the nodes were there that were taken away, together; empty: not known, or none
    was."""
    cost_usd: float | None
    """What they cost by the known price; spot at most this. Empty: not known."""
