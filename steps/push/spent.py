"""What the node of the run has cost so far, as far as the parameters tell."""

from __future__ import annotations

from datetime import datetime

from argotune.steps.contracts.measured import NodeUse
from argotune.steps.nodes.made_node import MadeNode, is_spot
from argotune.steps.push.params import Params


def node_use(params: Params) -> NodeUse | None:
    """Compute the use of the run's node until the evaluation ended; None where none was made.

    It is the same for each try of the step, as the image's annotations have to be. The node's
    removal comes on top, and a node that replaced the first one may have had another price.
    """
    _, end = params.times().get("evaluate", (None, None))
    if not (params.machine and params.node_since and end):
        return None
    node = MadeNode(
        placement=params.machine,
        price_usd_per_hour=params.price_usd_per_hour,
        since=datetime.fromisoformat(params.node_since),
    )
    return NodeUse(
        hours=node.hours(end),
        cost_usd=node.cost_usd(end),
        is_upper_bound=is_spot(node.placement),
    )
