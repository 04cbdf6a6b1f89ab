"""Another SKU in place of one that cannot be used: said, and taken only where the user agreed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from argotune.presets.schema import Sku
from argotune.steps.plan.choose import Job, choose
from argotune.steps.plan.hardware import card_of, unusable
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import read_request
from argotune.steps.plan.skus import describe, nearest_fit, refusal


@dataclass(frozen=True, kw_only=True)
class Substitution:
    """A SKU that fits, for one that was asked for and cannot be used."""

    old: str
    new: str
    retired: bool
    """Whether the old one is gone for good: `plan` and `render` then go on with the new one."""
    reason: str
    """What is wrong with the old one and which is the nearest, for the user."""
    params: Params
    """The parameters with the new SKU."""


def find_substitution(params: Params) -> Substitution | None:
    """The nearest SKU that fits; None where the one asked for will do, where none is asked for,
    and where none fits. Raises ParamsError where the parameters are wrong otherwise."""
    request = read_request(params)
    if request.sku is None:
        return None
    reason = problem_of_sku(request.job, request.sku)
    nearest = nearest_fit(request.job)
    if reason is None or nearest is None:
        return None
    return Substitution(
        old=request.sku.name,
        new=nearest.sku.name,
        retired=request.sku.retired is not None,
        reason=reason,
        params=replace(params, instance_type=nearest.sku.name),
    )


def problem_of_sku(job: Job, sku: Sku) -> str | None:
    """Why a job cannot run on a SKU and what would do instead; None when it can."""
    reason = unusable(sku)
    if reason is None:
        return refusal(job, card_of(sku)) if choose(job, card_of(sku)) is None else None
    nearest = nearest_fit(job)
    if nearest is None:
        return f"{sku.name} cannot be used: {reason}; no other SKU has the memory either"
    return f"{sku.name} cannot be used: {reason}; the nearest that fits is {describe(nearest.sku)}"
