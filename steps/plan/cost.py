"""What a run costs at least, and whether a limit leaves it that."""

from __future__ import annotations

from collections.abc import Collection

from argotune.presets.schema import Sku
from argotune.steps.contracts.training_plan import Training
from argotune.steps.nodes.cost_limit import (
    cost_usd,
    dearer_problem,
    least_usd,
    price_problem,
    reserve_seconds,
)
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.plan.choose import Choice, Job
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import read_request
from argotune.steps.plan.settings import Settings
from argotune.steps.plan.skus import fit
from argotune.steps.plan.speed import Span, speed_of


def trained_tokens(
    batch: Choice | Training, length: Settings | Training, *, dataset_tokens: int | None
) -> float | None:
    """Tokens that a run trains on at most, each epoch's again; None where nobody knows.

    Args:
        batch: Its largest step.
        length: Its epochs and numbers of steps.
        dataset_tokens: Tokens of an epoch; None: not known.
    """
    if length.max_steps is None:
        return None if dataset_tokens is None else length.epochs * dataset_tokens
    step_tokens: float = batch.micro_batch_tokens * batch.accumulation_steps
    if dataset_tokens is not None:
        # A step ends with its epoch, and shrinks for little data (contracts/steps_of_run.py).
        step_tokens = min(step_tokens, dataset_tokens)
        if length.min_steps is not None:
            step_tokens = min(step_tokens, dataset_tokens * length.epochs / length.min_steps)
    return length.max_steps * step_tokens


def least_cost_usd(
    params: Params, names: Collection[str], *, dataset_tokens: int | None, further_seconds: float
) -> float | None:
    """What the run costs on the SKU on which it costs least, at the highest expected speed.

    Args:
        params: What the plan is made of.
        names: SKUs.
        dataset_tokens: Tokens of an epoch; None: not known. Where the config has no max_steps
            either, training counts for nothing.
        further_seconds: Beside training.

    Returns:
        USD; None where it is not known for one of the SKUs on which the run fits.

    Raises:
        ParamsError: As make_plan, but not for a SKU that cannot be used.
    """
    job = read_request(params).job
    asked = {name.casefold() for name in names}
    costs = [
        _cost_usd(job, sku, choice, dataset_tokens, further_seconds)
        for sku in job.skus
        if sku.name.casefold() in asked and (choice := fit(job, sku).choice) is not None
    ]
    return least_usd(costs)


def cost_limit_problem(
    limit_usd: float,
    params: Params,
    request: NodeRequest,
    *,
    dataset_tokens: int | None,
    ends_by_itself: bool = False,
) -> str:
    """Why a limit is sure to end the run early, or cannot be kept; empty where it may do.

    `dataset_tokens`, those of one epoch, are None where nobody knows them. With `ends_by_itself`
    tune ends before the limit, and its adapter is pushed. Raises ParamsError as least_cost_usd.
    """
    problem = price_problem(limit_usd, request)
    if problem:
        return problem
    reserve = reserve_seconds(ends_by_itself=ends_by_itself)
    least = least_cost_usd(
        params,
        request.instance_types,
        dataset_tokens=dataset_tokens,
        further_seconds=reserve,
    )
    return dearer_problem(limit_usd, least, reserve_seconds=reserve, by="its plan")


def fastest_speeds(params: Params, names: Collection[str]) -> dict[str, float]:
    """The highest expected tokens per second of each SKU, where known.

    Raises ParamsError as make_plan, but not for a SKU that cannot be used.
    """
    job = read_request(params).job
    by_name = {sku.name.casefold(): sku for sku in job.skus}
    skus = {name: sku for name in names if (sku := by_name.get(name.casefold())) is not None}
    found = {name: _speed(job, sku) for name, sku in skus.items()}
    return {name: round(speed.high, 1) for name, speed in found.items() if speed is not None}


def _cost_usd(
    job: Job, sku: Sku, choice: Choice, dataset_tokens: int | None, further_seconds: float
) -> float | None:
    speed = speed_of(job, choice, sku.gpu_model, sku.gpus)
    return cost_usd(
        trained_tokens(choice, job.settings, dataset_tokens=dataset_tokens),
        tokens_per_second=None if speed is None else speed.high,
        price_usd_per_hour=sku.price_usd_per_hour,
        further_seconds=further_seconds,
    )


def _speed(job: Job, sku: Sku) -> Span | None:
    choice = fit(job, sku).choice
    return None if choice is None else speed_of(job, choice, sku.gpu_model, sku.gpus)
