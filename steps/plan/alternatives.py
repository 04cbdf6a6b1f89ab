"""Further SKUs to try, in order, where the cloud has none of the one that is planned for."""

from __future__ import annotations

from argotune.presets.schema import Sku
from argotune.steps.plan.choose import COMFORTABLE_SHARE, Choice, choose
from argotune.steps.plan.hardware import Card, card_of
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import read_request
from argotune.steps.plan.skus import fits

MOST_ALTERNATIVES = 3
MOST_PRICE_RATIO = 2.0
"""Nobody is to find a node on the bill that costs more than so many times the planned one."""


def alternatives(params: Params) -> tuple[str, ...]:
    """Names of SKUs with as many GPUs on which the same plan runs, cheapest first; none where no
    SKU is planned for, or its price is not known. Raises ParamsError as make_plan does."""
    request = read_request(params)
    planned, choice = request.sku, choose(request.job, request.card)
    if planned is None or planned.price_usd_per_hour is None or choice is None:
        return ()
    names = [
        fit.sku.name
        for fit in fits(request.job)
        if fit.choice is not None
        and _is_bearable(fit.sku, planned.gpus, MOST_PRICE_RATIO * planned.price_usd_per_hour)
        and _runs_on(choice, card_of(fit.sku), request.card)
        and fit.sku.name != planned.name
    ]
    return tuple(names[:MOST_ALTERNATIVES])


def _is_bearable(sku: Sku, gpus: int, most_usd_per_hour: float) -> bool:
    price = sku.price_usd_per_hour
    is_cheap_enough = price is not None and price <= most_usd_per_hour
    return is_cheap_enough and sku.gpus == gpus and not sku.confidential


def _runs_on(choice: Choice, card: Card, planned: Card) -> bool:
    """Whether the planned batch, which stays as it is, has room there."""
    given_gb, planned_gb = card.usable_gb or 0.0, planned.usable_gb or 0.0
    return given_gb >= planned_gb or choice.memory.total_gb <= COMFORTABLE_SHARE * given_gb
