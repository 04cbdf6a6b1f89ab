"""The plan step: check everything that can be checked before data or a machine is needed."""

from __future__ import annotations

import logging

from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import TrainingPlan, dump_plan, write_plan
from argotune.steps.plan.alternatives import alternatives
from argotune.steps.plan.assemble import assemble
from argotune.steps.plan.choose import choose
from argotune.steps.plan.params import Params, Result
from argotune.steps.plan.request import read_request
from argotune.steps.plan.skus import refusal
from argotune.steps.plan.substitute import problem_of_sku

LOGGER = logging.getLogger(__name__)


def run(params: Params, /, *, progress: Progress) -> Result:
    """Make the plan, log its warnings, and write the plan file for the later steps."""
    plan = make_plan(params)
    for warning in plan.warnings:
        log.warn(LOGGER, "plan", warning=warning)
    if params.plan_file is not None:
        write_plan(params.plan_file, plan)
    progress.update(1, 1)
    return Result(
        plan=dump_plan(plan),
        model=f"{plan.model.repository}@{plan.model.revision}",
        gpus=plan.hardware.gpus,
        disk_gib=plan.hardware.disk_gib,
        alternatives=alternatives(params),
        memory_gb=plan.memory.total_gb,
        warnings="\n".join(plan.warnings),
    )


def make_plan(params: Params) -> TrainingPlan:
    """Make the plan for the parameters. Raises ParamsError with all problems."""
    request = read_request(params)
    if request.sku is not None:
        problem = problem_of_sku(request.job, request.sku)
        if problem is not None:
            raise ParamsError(f"instance-type: {problem}")
    choice = choose(request.job, request.card)
    if choice is None:
        raise ParamsError(refusal(request.job, request.card))
    return assemble(params, request.job, request.card, choice, request.warnings)
