"""Other SKUs to try, in order, if the cloud has no capacity for the planned one."""

from __future__ import annotations

from argotune.presets.schema import Sku
from argotune.steps.plan.choose import COMFORTABLE_SHARE, Choice, choose
from argotune.steps.plan.hardware import Card, card_of
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import read_request
from argotune.steps.plan.skus import fits

MOST_ALTERNATIVES = 3
MOST_PRICE_RATIO = 2.0
"""Most that an alternative may cost, as a multiple of the planned SKU's price."""


def alternatives(params: Params) -> tuple[str, ...]:
    """Names of SKUs with as many GPUs on which the same plan runs, cheapest first.

    Empty if no SKU is planned or its price is unknown. Raises ParamsError as make_plan does.
    """
    request = read_request(params)
    planned, choice = request.sku, choose(request.job, request.card)
    if planned is None or planned.price_usd_per_hour is None or choice is None:
        return ()
    names = [
        fit.sku.name
        for fit in fits(request.job)
        if fit.choice is not None
        and _is_comparable(fit.sku, planned.gpus, MOST_PRICE_RATIO * planned.price_usd_per_hour)
        and _runs_on(choice, card_of(fit.sku), request.card)
        and fit.sku.name != planned.name
    ]
    return tuple(names[:MOST_ALTERNATIVES])


def _is_comparable(sku: Sku, gpus: int, most_usd_per_hour: float) -> bool:
    price = sku.price_usd_per_hour
    is_cheap_enough = price is not None and price <= most_usd_per_hour
    return is_cheap_enough and sku.gpus == gpus and not sku.confidential


def _runs_on(choice: Choice, card: Card, planned: Card) -> bool:
    """Whether the planned batch fits the memory of the card."""
    given_gb, planned_gb = card.usable_gb or 0.0, planned.usable_gb or 0.0
    return given_gb >= planned_gb or choice.memory.total_gb <= COMFORTABLE_SHARE * given_gb
