"""What a limit of cost needs. Standard library only: files are checked by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argotune.steps.nodes.provider import NodeRequest

STOPPING_SECONDS = 180.0
"""Kept back of a cost limit: from the order to stop the run to the deletion of its node. It is one
look of watch, the 110 s in which tune writes its checkpoint, and the start of release's pod."""
EXPORT_SECONDS = 120.0
"""Kept back before that where tune is to end by itself: its export, the curves, the end of its pod,
and the look at which watch sees it and gives the node back."""
EVALUATION_SECONDS = 600.0
"""Kept back between the two: evaluate loads the model once more and measures it three times."""
_SECONDS_PER_HOUR = 3600


def reserve_seconds(*, ends_by_itself: bool) -> float:
    """Seconds of the node's price that a limit keeps back, where tune ends by itself or not."""
    return STOPPING_SECONDS + (EXPORT_SECONDS + EVALUATION_SECONDS if ends_by_itself else 0.0)


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


def cost_usd(
    tokens: float | None,
    *,
    tokens_per_second: float | None,
    price_usd_per_hour: float | None,
    further_seconds: float,
) -> float | None:
    """What training on a machine costs; None where its price, or with tokens its speed, is unknown.

    Args:
        tokens: Those that the run trains on, each epoch's again; None: they count for nothing.
        tokens_per_second: Its speed.
        price_usd_per_hour: Of the machine.
        further_seconds: Beside training.
    """
    if price_usd_per_hour is None or (tokens and not tokens_per_second):
        return None
    training_seconds = tokens / tokens_per_second if tokens and tokens_per_second else 0.0
    return (training_seconds + further_seconds) / _SECONDS_PER_HOUR * price_usd_per_hour


def dearer_problem(
    max_cost_usd: float, least_usd: float | None, *, reserve_seconds: float, by: str
) -> str:
    """Why a run that costs at least so much is sure to be ended early; empty where it may not be.

    `by` says what that is known from.
    """
    if least_usd is None or max_cost_usd >= least_usd:
        return ""
    return (
        f"{max_cost_usd:g}, but by {by} the run costs at least {least_usd:.2f} USD, "
        f"{reserve_seconds:.0f} s for stopping included; accepted is an amount above it, a "
        "cheaper machine or fewer steps"
    )


def data_problem(
    max_cost_usd: float,
    request: NodeRequest,
    *,
    run_tokens: int | None,
    fastest: Mapping[str, float],
    ends_by_itself: bool,
) -> str:
    """Why the run's data are sure to make it dearer than its limit; empty where that is not known.

    Args:
        max_cost_usd: The limit.
        request: The machines that are tried, and their prices.
        run_tokens: Tokens that the run trains on, each epoch's again; None: not known.
        fastest: Highest expected tokens per second of each machine, where known.
        ends_by_itself: Whether tune ends before the limit.
    """
    if run_tokens is None:
        return ""
    reserve = reserve_seconds(ends_by_itself=ends_by_itself)
    costs = [
        cost_usd(
            run_tokens,
            tokens_per_second=fastest.get(sku),
            price_usd_per_hour=request.prices_usd_per_hour.get(sku),
            further_seconds=reserve,
        )
        for sku in request.instance_types
    ]
    by = f"its data of {run_tokens:,} tokens over all epochs"
    return dearer_problem(max_cost_usd, least_usd(costs), reserve_seconds=reserve, by=by)


def least_usd(costs: Sequence[float | None]) -> float | None:
    """The lowest cost; None where one of them is unknown, or there is none."""
    known = [cost for cost in costs if cost is not None]
    return min(known, default=None) if len(known) == len(costs) else None
