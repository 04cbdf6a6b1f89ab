"""The plan step: check everything that can be checked before data or a machine is needed."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import Scorer
from argotune.steps.contracts.client_keys import read_secret
from argotune.steps.contracts.output_volume import try_volume
from argotune.steps.contracts.start_adapter import LIVE, NONE
from argotune.steps.contracts.training_plan import (
    Model,
    TrainingPlan,
    dump_plan,
    write_plan,
)
from argotune.steps.model.params import Params as ModelParams
from argotune.steps.model.tokenizer import bring_tokenizer
from argotune.steps.plan.base_model.find import complete
from argotune.steps.plan.params import Params, Planned, Result
from argotune.steps.plan.planning import alternatives, cpu_memory, preset_of, service_of_run
from argotune.steps.plan.servers import look_up_judges
from argotune.steps.plan.whole_run import (
    client_keys_of_run,
    gate_of_run,
    in_its_cloud,
    plan_of_run,
    problems_of_run,
    settings_of,
    speeds_of_run,
)
from argotune.steps.registry.oci import ImageReference, parse_image_or_layout, parse_reference
from argotune.steps.registry.policy import RegistryPolicy, policy_of

LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    /,
    *,
    progress: Progress,
    policy: RegistryPolicy | None = None,
    hub_endpoint: str | None = None,
) -> Result:
    """Make the plan, log its warnings, and write the files that the later steps read.

    They are the plan, and the model's tokenizer. Raises ParamsError for what cannot run,
    PermanentError for a registry that the run may not reach, keys of clients that are not there, a
    claim that it cannot write to and a tokenizer that it cannot have, TransientError when a server
    does not answer.
    """
    params = in_its_cloud(_with_base_model(params, hub_endpoint))
    plan = plan_of_run(params)
    servers = policy or policy_of(params.allowed_hosts)
    _check_registries(params, plan, servers)
    _check_client_keys(params)
    if params.output_claim:
        try_volume(params.output_claim, params.output_dir)
    look_up_judges(settings_of(params), plan.evaluation.checks, servers)
    planned = finish_plan(params, plan, hub_endpoint)
    service = service_of_run(params, plan)
    load_in_4bit = service is not None and service.load_in_4bit
    for warning in service.warnings if service else ():
        log.warn(LOGGER, "plan", warning=warning)
    speeds = speeds_of_run(params, plan)
    progress.update(1, 1)
    scorers = plan.evaluation.scorers
    return Result(
        **vars(planned),
        service_gpus=service.gpus if service else 0,
        engine=service.engine if service else "auto",
        load_in_4bit=load_in_4bit,
        max_length=service.shortened_length if service else None,
        cpu_memory=cpu_memory(preset_of(params), load_in_4bit=load_in_4bit),
        fastest_tokens_per_second=json.dumps(speeds) if speeds else "",
        gate=gate_of_run(params),
        has_scorers=bool(scorers),
        scored_checks=tuple(check.title for check in scorers),
        scorers=json.dumps({check.title: _pod_of(check) for check in scorers}),
    )


def _with_base_model(params: Params, hub_endpoint: str | None) -> Params:
    """Find the base model; where it is wrong, what later steps would refuse is told with it."""
    try:
        preset, own_preset = complete(
            params.preset,
            params.own_preset,
            params.presets_dir,
            timeout_seconds=params.timeout_seconds,
            hub_endpoint=hub_endpoint,
            ca_file=params.ca_file,
        )
    except ParamsError as error:
        raise ParamsError([*error.problems, *problems_of_run(params)]) from error
    return replace(params, preset=preset, own_preset=own_preset)


def finish_plan(params: Params, plan: TrainingPlan, hub_endpoint: str | None) -> Planned:
    """Log the plan's warnings, and bring the tokenizer and write the plan where that is asked for.

    Raises PermanentError and TransientError as `run`.
    """
    for warning in plan.warnings:
        log.warn(LOGGER, "plan", warning=warning)
    _bring_tokenizer(params, plan.model, hub_endpoint)
    if params.plan_file is not None:
        write_plan(params.plan_file, plan)
    return Planned(
        plan=dump_plan(plan),
        model=plan.model.title,
        gpus=plan.hardware.gpus,
        disk_gib=plan.hardware.disk_gib,
        alternatives=alternatives(params),
        memory_gb=plan.memory.total_gb,
        warnings="\n".join(plan.warnings),
    )


def _pod_of(check: Scorer) -> dict[str, Any]:
    env = [{"name": name, "value": value} for name, value in check.env.items()]
    return {"scorer": check.scorer, "args": check.args, "env": env}


def _bring_tokenizer(params: Params, model: Model, hub_endpoint: str | None) -> None:
    if params.tokenizer_dir is None or params.cache_dir is None:
        return
    access = ModelParams(
        # It is not read here: the model is known.
        plan_file=Path(),
        cache_dir=params.cache_dir,
        timeout_seconds=params.timeout_seconds,
        auth_file=params.auth_file,
        access_secret=params.access_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )
    if not bring_tokenizer(access, model, params.tokenizer_dir, hub_endpoint=hub_endpoint):
        log.warn(
            LOGGER,
            "no-tokenizer",
            reason=f"{model.source} is not in the model cache, and an image comes only whole",
            effect="tokens are counted, and rows judged by the chat template, when tuning begins",
        )


def _check_client_keys(params: Params) -> None:
    """Refuse a Secret without keys, with which deploy would fail when the model is tuned."""
    secret = client_keys_of_run(params)
    if secret:
        read_secret(secret, params.api_keys_file)


def _check_registries(params: Params, plan: TrainingPlan, policy: RegistryPolicy) -> None:
    """Check the registries that the later steps push to and pull from."""
    kind, _, weights = plan.model.source.partition(":")
    start_from = plan.lora.start_from
    images = [
        ("output-image", params.output_image or "", parse_reference),
        ("model-source", weights if kind == "oci" else "", parse_image_or_layout),
        ("start-from", "" if start_from in (NONE, LIVE) else start_from, parse_reference),
    ]
    for name, text, parse in images:
        if not text:
            continue
        try:
            reference = parse(text)
        except ValueError as error:
            raise ParamsError(f"{name}: {error}") from error
        if isinstance(reference, ImageReference):
            policy.check(reference)
