"""Deploy the adapter to the requested target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.history import (
    Deployed,
    digest_of_plan,
    record_deployed,
    record_live,
)
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.model_cache import read_marker
from argotune.steps.deploy.join import join_on_cluster
from argotune.steps.deploy.join_process import join_process
from argotune.steps.deploy.kubernetes import deploy_kubernetes
from argotune.steps.deploy.live import check_live
from argotune.steps.deploy.params import NOT_ASKED, Params, Result
from argotune.steps.deploy.process import deploy_process
from argotune.steps.deploy.trust import check_adapter
from argotune.steps.deploy.version import complete, record_version

_ONLY_PUSHED = "deploy-to is none, so the adapter is pushed and not deployed"
Target: TypeAlias = Callable[[Params, str, Progress], Result]
"""Deploys with these parameters the adapter of the model with this title."""


def run(params: Params, *, progress: Progress, target: Target | None = None) -> Result:
    """Deploy to the target, and write the records for scheduled runs."""
    if params.leave:
        return join_on_cluster(params, "", progress)
    completed, model = complete(params)
    is_deployed, is_tuned = params.target != NOT_DEPLOYED, params.service_plan is None
    if is_deployed:
        check_adapter(completed)
    if is_deployed and is_tuned and params.work_dir is not None:
        check_live(completed, params.work_dir)
    result = (target or _target(params))(completed, model, progress)
    if params.history_file is not None and is_tuned:
        if is_deployed:
            record_live(params.history_file, completed.adapter_digest())
        if params.plan_file is not None:
            _record(completed, params.plan_file, params.history_file)
    return result


def _target(params: Params) -> Target:
    if params.target == NOT_DEPLOYED:
        return _only_push
    if params.target == "kubernetes":
        return join_on_cluster if params.serve_with else deploy_kubernetes
    return _deploy_process


def _only_push(params: Params, model: str, progress: Progress) -> Result:
    """Give the adapter its version, without a service."""
    version = record_version(params)
    progress.update(1, 1)
    return Result(endpoint="", answer=f"{NOT_ASKED}{_ONLY_PUSHED}", version=version.version)


def _deploy_process(params: Params, model: str, progress: Progress) -> Result:
    if params.services_dir is None:
        raise ParamsError("--services-dir: missing; --target process needs it")
    deploy = join_process if params.serve_with else deploy_process
    return deploy(params, model, params.services_dir, progress=progress)


def _record(params: Params, plan_file: Path, history_file: Path) -> None:
    marker = read_marker(params.cache_dir / (params.model_dir or ""))
    deployed = Deployed(
        dataset_digest=params.dataset_digest or "",
        plan_digest=digest_of_plan(plan_file),
        base_version=marker.origin.version if marker and marker.origin else "",
        reference=params.reference,
        was_deployed=params.target != NOT_DEPLOYED,
    )
    record_deployed(history_file, deployed)
