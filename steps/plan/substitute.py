"""A replacement for a SKU that cannot be used; the caller reports it or asks the user."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.schema import Sku
from argotune.steps.plan.choose import Job, choose
from argotune.steps.plan.hardware import card_of, sku_problem
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import read_request
from argotune.steps.plan.skus import describe, nearest_fit, pod_problem, refusal


@dataclass(frozen=True, kw_only=True)
class Substitution:
    """A SKU that fits, as a replacement for a requested one that cannot be used."""

    old: str
    new: str
    retired: bool
    """Whether the cloud retired the old one: `plan` and `render` then continue with the new one."""
    reason: str
    """Message with the problem of the old one and the new one."""


def find_substitution(params: Params) -> Substitution | None:
    """The nearest SKU that fits, as a replacement for the requested one.

    None if the requested SKU can be used, none was requested, or none fits. Raises ParamsError if
    other parameters are wrong.
    """
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
    )


def problem_of_sku(job: Job, sku: Sku) -> str | None:
    """Why a job cannot run on a SKU and the nearest one that fits; None if it can."""
    reason = sku_problem(sku) or pod_problem(job, sku)
    if reason is None:
        return refusal(job, card_of(sku)) if choose(job, card_of(sku)) is None else None
    nearest = nearest_fit(job)
    if nearest is None:
        return f"{sku.name} cannot be used: {reason}; no other SKU fits; ask for less"
    return f"{sku.name} cannot be used: {reason}; the nearest that fits is {describe(nearest.sku)}"
