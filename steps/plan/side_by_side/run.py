"""Find the models of an evaluation, and plan it for their one base."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from argotune.steps.common import log, strict_yaml
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.side_by_side import write_models
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.plan.base_model.find import FindOwn, own_presets, text_of_own
from argotune.steps.plan.checks import problems_outside_a_run
from argotune.steps.plan.config import ROOT
from argotune.steps.plan.keys import OWN_SECTION
from argotune.steps.plan.params import Params as PlanParams
from argotune.steps.plan.run import finish_plan
from argotune.steps.plan.servers import look_up_judges
from argotune.steps.plan.side_by_side.models import (
    Models,
    NamedModel,
    find_models,
    read_models,
)
from argotune.steps.plan.side_by_side.params import Params, Result
from argotune.steps.plan.whole_run import (
    in_its_cloud,
    plan_of_steps,
    problems_of_settings,
    settings_of,
)
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.steps.registry.policy import RegistryPolicy, policy_of
from argotune.steps.registry.skopeo import Registry
from argotune.steps.settings.step_params import EVALUATION_STEPS

_LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    /,
    *,
    progress: Progress,
    policy: RegistryPolicy | None = None,
    hub_endpoint: str | None = None,
) -> Result:
    """Bring the adapters onto the volume, plan their evaluation, and write what later steps read.

    Raises ParamsError for what cannot run, before anything is fetched where that can be known;
    PermanentError and TransientError as the plan step of a run does.
    """
    servers = policy or policy_of(params.allowed_hosts)
    params = in_its_cloud(params)
    find_own = own_presets(params.presets_dir, params.own_preset)
    named = _refuse(params, servers, find_own)
    registry = Registry(
        auth_file=params.push_auth_file,
        secret=params.push_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )
    found = find_models(named, params.work_dir, registry, hub_endpoint, find_own)
    plan_params = _plan_params(params, found)
    plan = _of_all_rows(plan_of_steps(plan_params, EVALUATION_STEPS))
    _refuse_tasks(plan)
    look_up_judges(settings_of(params), plan.evaluation.checks, servers)
    write_models(params.work_dir, found.models)
    done = finish_plan(plan_params, plan, hub_endpoint)
    models = tuple(
        f"{each.name}={each.image}" if each.image else each.name for each in found.models
    )
    log.event(_LOGGER, "models", base=plan.model.title, models=", ".join(models))
    progress.update(1, 1)
    return Result(**vars(done), models=models)


def _refuse(params: Params, policy: RegistryPolicy, find_own: FindOwn) -> list[NamedModel]:
    """Parse the models. Raises ParamsError with all that can be refused by the parameters alone."""
    problems: list[str] = []
    named: list[NamedModel] = []
    try:
        named = read_models(params.models, find_own)
    except ParamsError as error:
        problems += error.problems
    if policy.is_pod:
        problems += [
            f"models: {model.name}: {model.image} is a directory, and a pod has only its own; name"
            " an image of a registry"
            for model in named
            if isinstance(model.image, LayoutReference)
        ]
    problems += problems_of_settings(params, EVALUATION_STEPS)
    if problems:
        raise ParamsError(problems)
    for model in named:
        if isinstance(model.image, ImageReference):
            policy.check(model.image)
    return named


def _refuse_tasks(plan: TrainingPlan) -> None:
    problems = problems_outside_a_run(plan.evaluation.checks, "training_config.Argotune.checks")
    if problems:
        raise ParamsError(problems)


def _plan_params(params: Params, found: Models) -> PlanParams:
    return PlanParams(
        name=params.name,
        preset=found.preset.name,
        own_preset=text_of_own(found.preset),
        method="qlora" if found.quantization else "lora",
        config=_config(params.config, found.quantization),
        instance_type=params.instance_type,
        provider=params.provider,
        cloud=params.cloud,
        tune_cpu=params.tune_cpu,
        tune_memory=params.tune_memory,
        loaded_weights=found.adapter_weights,
        allowed_hosts=params.allowed_hosts,
        plan_file=params.plan_file,
        tokenizer_dir=params.tokenizer_dir,
        cache_dir=params.cache_dir,
        timeout_seconds=params.timeout_seconds,
        auth_file=params.auth_file,
        access_secret=params.access_secret,
        ca_file=params.ca_file,
        settings=params.settings,
        installed=params.installed,
    )


def _config(text: str, quantization: str | None) -> str:
    """Return the training config for the base as the adapters have it.

    All rows are measured on, so how many of them a training would hold out does not matter. What is
    no config stays as it is, for the plan to refuse.
    """
    sections = _sections(text)
    if sections is None:
        return text
    sections.get(OWN_SECTION, {}).pop("validation_share", None)
    sections.get("DatasetConfig", {}).pop("train_test_split", None)
    if quantization:
        sections.setdefault("QuantizationConfig", {})["bnb_4bit_quant_type"] = quantization
    return strict_yaml.dump({ROOT: sections})


def _sections(text: str) -> dict[str, dict[str, Any]] | None:
    """Return the config's sections; None where it is something else."""
    try:
        document = strict_yaml.load(text) or {ROOT: {}}
    except strict_yaml.YamlProblem:
        return None
    given = document.get(ROOT) if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(given, dict):
        return None
    if not all(isinstance(keys, dict | None) for keys in given.values()):
        return None
    return {name: dict(keys or {}) for name, keys in given.items()}


def _of_all_rows(plan: TrainingPlan) -> TrainingPlan:
    data = msgspec.structs.replace(plan.data, validation_share=0.0)
    return msgspec.structs.replace(plan, data=data)
