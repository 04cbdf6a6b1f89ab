"""The plan step: check everything that can be checked before data or a machine is needed."""

from __future__ import annotations

import logging

from argotune.steps.common import log
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import dump_plan, write_plan
from argotune.steps.plan.params import Params, Result
from argotune.steps.plan.planning import alternatives
from argotune.steps.plan.whole_run import plan_of_run

LOGGER = logging.getLogger(__name__)


def run(params: Params, /, *, progress: Progress) -> Result:
    """Make the plan, log its warnings, and write the plan file for the later steps."""
    plan = plan_of_run(params)
    for warning in plan.warnings:
        log.warn(LOGGER, "plan", warning=warning)
    if params.plan_file is not None:
        write_plan(params.plan_file, plan)
    progress.update(1, 1)
    return Result(
        plan=dump_plan(plan),
        model=plan.model.title,
        gpus=plan.hardware.gpus,
        disk_gib=plan.hardware.disk_gib,
        alternatives=alternatives(params),
        memory_gb=plan.memory.total_gb,
        warnings="\n".join(plan.warnings),
    )
