"""The plan of a run, refused with everything that this step or a later one would refuse.

`argo submit`, Argo's form and a schedule that was written by hand pass no other check before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from argotune.presets.loader import machines
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import text_of
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.plan.cost import fastest_speeds
from argotune.steps.plan.params import Params
from argotune.steps.plan.planning import (
    alternatives,
    cost_limit_problem,
    make_plan,
    service_of_run,
)
from argotune.steps.plan.servers import host_problems
from argotune.steps.plan.service.params import Params as ServiceParams
from argotune.steps.plan.side_by_side.params import Params as EvaluationParams
from argotune.steps.settings.clouds import cloud_of
from argotune.steps.settings.run_settings import IMAGE_SETTINGS, SETTINGS
from argotune.steps.settings.step_params import (
    RUN_STEPS,
    cost_limit_problems,
    gate_digest,
    params_of,
    scorer_problems,
    settings_problems,
    with_defaults,
)

P = TypeVar("P", Params, ServiceParams, EvaluationParams)


class HasSettings(Protocol):
    """Parameters of a plan step, with all settings."""

    @property
    def settings(self) -> str:
        """Those of the submitter, a JSON object of texts."""

    @property
    def installed(self) -> str:
        """Those that the installation decides, likewise."""


def in_its_cloud(params: P) -> P:
    """Return the parameters with the cloud that the settings tell, where they name none."""
    return replace(params, cloud=params.cloud or cloud_of(settings_of(params)))


def plan_of_run(params: Params) -> TrainingPlan:
    """Make the plan.

    Raises ParamsError with all problems: the plan's, and those of later steps with the settings
    that the step was given, by the names of the settings.
    """
    plan = plan_of_steps(params, RUN_STEPS)
    settings = settings_of(params)
    if settings:
        problems = list(_cost_problems(params, settings, _outputs(plan, params)))
        if problems:
            raise ParamsError(problems)
    return plan


def speeds_of_run(params: Params, plan: TrainingPlan) -> dict[str, float]:
    """Highest expected tokens per second of each SKU that provision tries.

    Empty without a limit of cost, for which alone they are needed.
    """
    settings = settings_of(params)
    if not settings.get("max-cost-usd"):
        return {}
    node = params_of("provision", with_defaults(settings), _outputs(plan, params))
    return fastest_speeds(params, node.instance_types())


def gate_of_run(params: Params) -> str:
    """sha256:HEX of what the settings say of the gate. Raises ParamsError."""
    return gate_digest(settings_of(params))


def client_keys_of_run(params: HasSettings) -> str:
    """Name the Secret of whose keys deploy needs one; empty: none.

    A service on this machine may have kept its keys, so there the command line looks.
    """
    settings = with_defaults(settings_of(params))
    return settings["api-keys-secret"] if settings["deploy-to"] == "kubernetes" else ""


def plan_of_steps(params: Params, steps: Sequence[str]) -> TrainingPlan:
    """Make the plan of a Workflow that has these steps. Raises ParamsError as `plan_of_run`."""
    settings = settings_of(params)
    try:
        plan = make_plan(params)
    except ParamsError as error:
        further = _further(settings, {}, error.problems, steps)
        problems = [*further, *host_problems(settings, [])]
        raise ParamsError([*error.problems, *problems]) from error
    if settings:
        outputs = _outputs(plan, params)
        of_service = _service_problems(params, plan) if "deploy" in steps else []
        problems = [
            *_local_problems(settings),
            *scorer_problems(plan.evaluation, settings),
            *(f"at-cost-limit: {each}" for each in cost_limit_problems(plan.evaluation, settings)),
            *of_service,
            *_further(settings, outputs, of_service, steps),
            *host_problems(settings, plan.evaluation.checks),
        ]
        if problems:
            raise ParamsError(problems)
    return plan


def problems_of_run(params: HasSettings) -> list[str]:
    """List what the steps of a run refuse of the settings. Raises as `problems_of_settings`."""
    return problems_of_settings(params, RUN_STEPS)


def problems_of_settings(params: HasSettings, steps: Sequence[str]) -> list[str]:
    """List what these steps refuse of the settings, before anything is planned.

    Raises ParamsError where the settings are no JSON object of texts.
    """
    settings = settings_of(params)
    further = _further(settings, {}, [], steps)
    return [*_local_problems(settings), *further, *host_problems(settings, [])]


def settings_of(params: HasSettings) -> dict[str, str]:
    """Read the settings, the installation's among them. Raises ParamsError."""
    return {**_object("installed", params.installed), **_object("settings", params.settings)}


def _object(flag: str, text: str) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ParamsError(f"--{flag}: {text!r} is not a JSON object of texts")
    return found


def _further(
    settings: Mapping[str, str],
    outputs: Mapping[str, str],
    known: Sequence[str],
    steps: Sequence[str],
) -> Iterator[str]:
    """Report what later steps refuse, without settings that the plan refused already."""
    named = {name for problem in known for name in problem.partition(":")[0].split(", ")}
    for problem in settings_problems(settings, outputs, steps) if settings else ():
        if problem.setting in named:
            continue
        place = f"{problem.setting}: " if problem.setting else ""
        yield f"{place}{problem.text}{_advice(problem.setting)}"


def _local_problems(settings: Mapping[str, str]) -> Iterator[str]:
    """Report what means this machine in a run of a cluster, where no file is the machine's own."""
    if settings.get("allow-files") != "false":
        return
    for name in IMAGE_SETTINGS:
        if settings.get(name, "").startswith("oci:"):
            yield (
                f"{name}: {settings[name]!r} is a directory, and a pod has only its own; name an"
                " image of a registry"
            )
    for name, row in SETTINGS.items():
        if settings.get(name) in row.local_choices:
            accepted = " or ".join(row.cluster_choices())
            yield f"{name}: {settings[name]!r} is this machine; accepted on a cluster is {accepted}"


def _service_problems(params: Params, plan: TrainingPlan) -> list[str]:
    try:
        service_of_run(params, plan)
    except ParamsError as error:
        return error.problems
    return []


def _advice(setting: str) -> str:
    if not setting or SETTINGS[setting].decided_by == "submitter":
        return ""
    return f"; an administrator sets it by `argotune install --{setting}`"


def _outputs(plan: TrainingPlan, params: Params) -> dict[str, str]:
    """The plan's outputs by the flags of later steps."""
    return {
        "gpus": text_of(plan.hardware.gpus),
        "disk-gib": text_of(plan.hardware.disk_gib),
        "gpu-memory-gb": text_of(plan.memory.total_gb),
        "planned-alternatives": text_of(alternatives(params)),
    }


def _cost_problems(
    params: Params, settings: Mapping[str, str], outputs: Mapping[str, str]
) -> Iterator[str]:
    node = params_of("provision", with_defaults(settings), outputs)
    if node.max_cost_usd is None:
        return
    request = node.request(machines(node.instance_types()))
    problem = cost_limit_problem(
        node.max_cost_usd,
        params,
        request,
        dataset_tokens=None,
        ends_by_itself=settings.get("at-cost-limit") == "push",
    )
    if problem:
        yield f"max-cost-usd: {problem}"
