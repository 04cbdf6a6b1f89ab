"""Fetch and check the adapters of a service, size it, and write what later steps read."""

from __future__ import annotations

import logging
from dataclasses import replace

from argotune.presets.schema import ModelPreset
from argotune.steps.common import log
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.client_keys import read_secret
from argotune.steps.contracts.served import SERVER_MEMORY
from argotune.steps.contracts.service_plan import PLAN, dump_service_plan, write_service_plan
from argotune.steps.plan.base_model.find import complete
from argotune.steps.plan.request import find_preset
from argotune.steps.plan.service.adapters import fetch_adapters
from argotune.steps.plan.service.make import (
    FoundAdapters,
    asked_adapters,
    make_service_plan,
    service_alternatives,
)
from argotune.steps.plan.service.params import Params, Result
from argotune.steps.plan.whole_run import (
    client_keys_of_run,
    in_its_cloud,
    problems_of_settings,
)
from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_image_or_layout,
    parse_reference,
)
from argotune.steps.registry.policy import RegistryPolicy, policy_of
from argotune.steps.registry.skopeo import Registry
from argotune.steps.settings.step_params import SERVICE_STEPS

_LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    policy: RegistryPolicy | None = None,
    hub_endpoint: str | None = None,
) -> Result:
    """Plan the service before anything costs money.

    Raises ParamsError for what cannot be served, PermanentError for a registry that the run may not
    reach, for keys of clients and adapters that are not there, TransientError when a server does
    not answer.
    """
    servers = policy or policy_of(params.allowed_hosts)
    preset, own_preset = complete(
        params.preset,
        params.own_preset,
        params.presets_dir,
        hub_endpoint=hub_endpoint,
        ca_file=params.ca_file,
    )
    params = replace(params, preset=preset, own_preset=own_preset)
    params = in_its_cloud(params)
    base = _refuse(params, servers)
    secret = client_keys_of_run(params)
    if secret:
        read_secret(secret, params.api_keys_file)
    found = _fetch(params, base)
    plan = make_service_plan(params, found)
    for warning in plan.warnings:
        log.warn(_LOGGER, "plan", warning=warning)
    if params.work_dir is not None:
        write_service_plan(params.work_dir / PLAN, plan)
    progress.update(1, 1)
    return Result(
        plan=dump_service_plan(plan),
        model=plan.model.title,
        gpus=plan.hardware.gpus,
        server_memory=params.service_memory or SERVER_MEMORY[plan.engine],
        disk_gib=plan.hardware.disk_gib,
        alternatives=service_alternatives(params, plan, found),
        memory_gb=plan.memory.total_gb,
        max_length=plan.max_length,
        answers=plan.answers,
        adapters=", ".join(f"{each.name}={each.digest}" for each in plan.adapters),
        warnings="\n".join(plan.warnings),
    )


def _refuse(params: Params, policy: RegistryPolicy) -> ModelPreset:
    """Raise ParamsError with all that is wrong without the adapters, then check the registries.

    Returns the base model.
    """
    problems: list[str] = []
    base = find_preset(params, [])
    try:
        make_service_plan(params)
    except ParamsError as error:
        problems += error.problems
    adapters = asked_adapters(params.adapters, [])
    images = [
        (f"adapters: {each.name}", parse_reference(each.image))
        for each in (() if problems else adapters)
        if each.image
    ]
    if policy.is_pod:
        problems += [
            f"{place}: {image} is a directory, and a pod has only its own; name an image of a"
            " registry"
            for place, image in images
            if isinstance(image, LayoutReference)
        ]
    problems += [
        problem
        for problem in problems_of_settings(params, SERVICE_STEPS)
        if problem.partition(":")[0] not in {each.partition(":")[0] for each in problems}
    ]
    if problems or base is None:
        raise ParamsError(problems)
    for _, image in [*images, *_weights(params)]:
        if isinstance(image, ImageReference):
            policy.check(image)
    return base


def _weights(params: Params) -> list[tuple[str, ImageReference | LayoutReference]]:
    kind, _, image = (params.model_source or "").partition(":")
    if kind != "oci":
        return []
    try:
        return [("model-source", parse_image_or_layout(image))]
    except ValueError as error:
        raise ParamsError(f"model-source: {error}") from error


def _fetch(params: Params, base: ModelPreset) -> FoundAdapters:
    if params.work_dir is None:
        return FoundAdapters()
    registry = Registry(
        auth_file=params.push_auth_file,
        secret=params.push_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )
    return fetch_adapters(
        asked_adapters(params.adapters, []),
        base,
        params.work_dir,
        registry,
        params.volume_dir,
    )
