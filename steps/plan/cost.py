"""What a run costs at least, and whether a limit leaves it that."""

from __future__ import annotations

from collections.abc import Collection

from argotune.presets.schema import Sku
from argotune.steps.contracts.training_plan import Training
from argotune.steps.nodes.cost_limit import price_problem, reserve_seconds
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.plan.choose import Choice, Job
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import read_request
from argotune.steps.plan.settings import Settings
from argotune.steps.plan.skus import fit
from argotune.steps.plan.speed import expected_speed, hours


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
    params: Params, names: Collection[str], *, dataset_tokens: int | None, further_hours: float
) -> float | None:
    """What the run costs on the SKU on which it costs least, at the highest expected speed.

    Args:
        params: What the plan is made of.
        names: SKUs.
        dataset_tokens: Tokens of an epoch; None: not known. Where the config has no max_steps
            either, training counts for nothing.
        further_hours: Beside training.

    Returns:
        USD; None where it is not known for one of the SKUs on which the run fits.

    Raises:
        ParamsError: As make_plan, but not for a SKU that cannot be used.
    """
    job = read_request(params).job
    asked = {name.casefold() for name in names}
    costs = [
        _cost_usd(job, sku, choice, dataset_tokens, further_hours)
        for sku in job.skus
        if sku.name.casefold() in asked and (choice := fit(job, sku).choice) is not None
    ]
    known = [cost for cost in costs if cost is not None]
    return min(known, default=None) if len(known) == len(costs) else None


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
    least_usd = least_cost_usd(
        params,
        request.instance_types,
        dataset_tokens=dataset_tokens,
        further_hours=reserve / 3600,
    )
    if least_usd is None or limit_usd >= least_usd:
        return ""
    return (
        f"{limit_usd:g}, but by its plan the run costs at least {least_usd:.2f} USD, "
        f"{reserve:.0f} s for stopping included; accepted is an amount above it, a "
        "cheaper machine or fewer steps"
    )


def _cost_usd(
    job: Job, sku: Sku, choice: Choice, dataset_tokens: int | None, further_hours: float
) -> float | None:
    settings = job.settings
    tokens = trained_tokens(choice, settings, dataset_tokens=dataset_tokens)
    speed = expected_speed(job.preset.parameters, job.method, sku.gpu_model, sku.gpus)
    if sku.price_usd_per_hour is None or (tokens and speed is None):
        return None
    training_hours = hours(tokens, speed).low if tokens and speed else 0.0
    return (training_hours + further_hours) * sku.price_usd_per_hour
