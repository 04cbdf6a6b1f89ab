"""Deploy the adapter to the requested target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.history import Deployed, digest_of_plan, record_deployed
from argotune.steps.contracts.model_cache import read_marker
from argotune.steps.contracts.training_plan import TrainingPlan, read_plan
from argotune.steps.deploy.kubernetes import deploy_kubernetes
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.process import deploy_process

Target: TypeAlias = Callable[[Params, TrainingPlan, Progress], Result]


def run(params: Params, *, progress: Progress, target: Target | None = None) -> Result:
    """Deploy to the target, and write the history file for scheduled runs."""
    plan = read_plan(params.plan_file)
    result = (target or _target(params))(params, plan, progress)
    if params.history_file is not None:
        _record(params, params.history_file)
    return result


def _target(params: Params) -> Target:
    if params.target == "kubernetes":
        return deploy_kubernetes
    return _deploy_process


def _deploy_process(params: Params, plan: TrainingPlan, progress: Progress) -> Result:
    if params.services_dir is None:
        raise ParamsError("--services-dir: missing; --target process needs it")
    return deploy_process(params, plan, params.services_dir, progress=progress)


def _record(params: Params, history_file: Path) -> None:
    marker = read_marker(params.cache_dir / params.model_dir)
    deployed = Deployed(
        dataset_digest=params.dataset_digest,
        plan_digest=digest_of_plan(params.plan_file),
        base_version=marker.origin.version if marker and marker.origin else "",
        reference=params.reference,
    )
    record_deployed(history_file, deployed)
