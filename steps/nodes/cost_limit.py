"""What a limit of cost needs. Standard library only: files are checked by it."""

from __future__ import annotations

from argotune.steps.nodes.provider import NodeRequest

STOPPING_SECONDS = 180.0
"""Kept back of a cost limit: from the order to stop the run to the deletion of its node. It is one
look of watch, the 110 s in which tune writes its checkpoint, and the start of release's pod."""
ENDING_SECONDS = 720.0
"""Kept back before that where tune is to end by itself: two minutes for its export, the curves, the
end of its pod, and the look at which watch sees it and gives the node back; ten for evaluate, which
loads the model once more and measures it three times."""


def reserve_seconds(*, ends_by_itself: bool) -> float:
    """Seconds of the node's price that a limit keeps back, where tune ends by itself or not."""
    return STOPPING_SECONDS + (ENDING_SECONDS if ends_by_itself else 0.0)


def price_problem(max_cost_usd: float, request: NodeRequest) -> str:
    """Why a cost limit cannot be kept with the machines of a request; empty where it can."""
    prices = request.prices_usd_per_hour
    unknown = [sku for sku in request.instance_types if sku not in prices]
    if not unknown:
        return ""
    return (
        f"{max_cost_usd:g}, but the price of {', '.join(unknown)} is not known; take machines with "
        "a price in `argotune plan --all`, or limit their time with node-lifetime-seconds"
    )
