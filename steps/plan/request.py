"""Read the step's parameters into a job and the machine to plan for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from argotune.presets.families import layout_of
from argotune.presets.loader import catalogs_of, model_preset, sku, sku_catalogs, skus
from argotune.presets.names import UnknownName
from argotune.presets.schema import ModelPreset, Sku, SkuCatalog
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.values import is_dns_label
from argotune.steps.nodes.resources import NOTHING, Resources
from argotune.steps.plan.base_model.find import OTHER_MODELS
from argotune.steps.plan.base_model.own import WrongPreset, load_preset
from argotune.steps.plan.choose import Job
from argotune.steps.plan.config import read_config
from argotune.steps.plan.hardware import THIS_MACHINE, Card, card_of, sku_problem
from argotune.steps.plan.params import Params
from argotune.steps.plan.settings import Settings
from argotune.steps.plan.skus import nearest_fit
from argotune.steps.plan.targets import resolve_targets

SLOW_ON_CPU_PARAMETERS = 1_000_000_000


class HasPreset(Protocol):
    """Parameters that name a base model."""

    @property
    def preset(self) -> str:
        """Its name."""

    @property
    def own_preset(self) -> str:
        """The preset itself, where it is none of argotune's."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Valid parameters of a run; whether the job fits the machine is not checked yet."""

    job: Job
    sku: Sku | None
    """The requested SKU, even if retired; None for existing nodes and this machine."""
    card: Card
    is_assumed: bool
    """Whether the GPU is an assumption, because the user named none."""
    warnings: list[str]


def read_request(params: Params, catalogs: Sequence[SkuCatalog] | None = None) -> Request:
    """Read preset, config and SKU.

    Args:
        params: What the step was given.
        catalogs: Where the SKU is looked for; None: in all.

    Raises:
        ParamsError: With all their problems.
    """
    problems = problems_of_name(params.name)
    warnings: list[str] = []
    preset = find_preset(params, problems)
    known = sku_catalogs() if catalogs is None else catalogs
    found_sku = find_sku(params.instance_type, params.provider, known, problems, cloud=params.cloud)
    if preset is None:
        raise ParamsError(problems)
    problems += problems_of_source(params.model_source, preset)
    settings = read_config(
        params.config,
        preset,
        params.method,
        has_validation_files=bool(params.validation_urls),
        problems=problems,
        warnings=warnings,
    )
    problems += problems_of_liger(settings, preset)
    targets = resolve_targets(settings.target_modules, preset, problems=problems, warnings=warnings)
    card = _card(settings, found_sku, problems)
    resources = _resources(params, problems)
    if problems:
        raise ParamsError(problems + _unusable(found_sku))
    job = Job(
        preset=preset,
        method=params.method,
        settings=settings,
        targets=targets,
        skus=candidates(params.provider, found_sku, known, cloud=params.cloud),
        resources=resources,
        loaded_weights=params.loaded_weights,
    )
    is_assumed = card is THIS_MACHINE and settings.gpus is None and needs_gpu(preset)
    if is_assumed:
        card = _assumed_card(job, params.provider, warnings)
    return Request(job=job, sku=found_sku, card=card, is_assumed=is_assumed, warnings=warnings)


def problems_of_name(name: str) -> list[str]:
    """Say why a workspace cannot have this name."""
    if is_dns_label(name):
        return []
    return [
        f"name: {name!r}; accepted are at most 63 lower-case letters, digits and '-', "
        "a letter first and no '-' last"
    ]


def problems_of_source(source: str | None, preset: ModelPreset) -> list[str]:
    """Say why the weights of a preset cannot come from a source; None is the preset's own."""
    if source is None:
        return []
    if source in ("hub", "cache"):
        if preset.source not in ("hub", "cache"):
            return [
                f"model-source: {source!r}; preset {preset.name} is its own source; leave it out"
            ]
        if source == "hub" and preset.source == "cache":
            return [
                f"model-source: 'hub'; {preset.name} is not on the hub; make it with "
                f"`argotune {preset.name}`"
            ]
        return []
    if source.startswith(("oci:", "dir:")) and source.partition(":")[2]:
        return []
    return [f"model-source: {source!r}; accepted are hub, cache, oci:IMAGE and dir:DIRECTORY"]


def preset_of(params: HasPreset) -> ModelPreset:
    """The preset of parameters from which a plan was made. Raises ParamsError."""
    problems: list[str] = []
    found = find_preset(params, problems)
    if found is None:
        raise ParamsError(problems)
    return found


def problems_of_liger(settings: Settings, preset: ModelPreset) -> list[str]:
    """Say why Liger's kernels cannot be used for a preset."""
    if not settings.liger or layout_of(preset.family).liger:
        return []
    return [
        f"training_config.TrainingArguments.use_liger_kernel: true; Liger has no kernels for the"
        f" norms and MLPs of {preset.family} models such as {preset.name}; leave it out"
    ]


def find_preset(params: HasPreset, problems: list[str]) -> ModelPreset | None:
    """Find the preset; an unknown or wrong one is added to the problems."""
    try:
        if not params.own_preset:
            return model_preset(params.preset)
        found = load_preset(params.own_preset)
    except UnknownName as error:
        problems.append(f"preset: {error}; {OTHER_MODELS}")
        return None
    except WrongPreset as error:
        problems += [f"own-preset: {problem}" for problem in error.problems]
        return None
    if found.name != params.preset:
        problems.append(
            f"preset: {params.preset!r}, but own-preset is {found.name}; leave own-preset out where"
            " preset is another model"
        )
    return found


def find_sku(
    instance_type: str | None,
    provider: str,
    catalogs: Sequence[SkuCatalog],
    problems: list[str],
    *,
    cloud: str = "",
    place: str = "instance-type",
) -> Sku | None:
    """Find the SKU that setting `place` names.

    One that is unknown, or of another cloud, is added to the problems.
    """
    problem = _cloud_problem(cloud, provider, catalogs)
    if problem:
        problems.append(problem)
        return None
    if instance_type is None:
        return None
    usable = catalogs_of(provider, catalogs, cloud)
    try:
        found = sku(instance_type, catalogs)
    except UnknownName as error:
        names = [each.name for each in skus(usable)]
        unknown = UnknownName(error.kind, error.name, names)
        problems.append(f"{place}: {unknown}; empty for existing nodes or this machine")
        return None
    clouds = [each.cloud for each in usable]
    if found.cloud not in clouds:
        where = (
            f"the run is in {cloud}, as setting cloud, node class, nodes or instance type say"
            if cloud
            else f"provider {provider} makes machines of {' and '.join(clouds)}"
        )
        problems.append(f"{place}: {found.name} is a machine of {found.cloud}; {where}")
    return found


def _cloud_problem(cloud: str, provider: str, catalogs: Sequence[SkuCatalog]) -> str:
    known = [each.cloud for each in catalogs]
    if cloud not in ("", *known):
        return f"cloud: {cloud!r}; accepted are {', '.join(known)}"
    made = [each.cloud for each in catalogs_of(provider, catalogs)]
    if cloud and cloud not in made:
        return f"cloud: {cloud}; provider {provider} makes machines of {' and '.join(made)}"
    return ""


def candidates(
    provider: str, found: Sku | None, catalogs: Sequence[SkuCatalog], *, cloud: str = ""
) -> tuple[Sku, ...]:
    """The machines of the cloud of the one that is asked for, else all that may be taken."""
    return tuple(
        each
        for catalog in catalogs_of(provider, catalogs, cloud)
        for each in catalog.skus
        if found is None or each.cloud == found.cloud
    )


def _card(settings: Settings, found: Sku | None, problems: list[str]) -> Card:
    named = {
        f"training_config.Argotune.{name}": value
        for name, value in (
            ("gpus", settings.gpus),
            ("gpu_memory_gib", settings.gpu_memory_gib),
            ("gpu_model", settings.gpu_model),
        )
        if value is not None
    }
    if found is not None:
        if named:
            problems.append(
                f"{' and '.join(named)}: already set by instance type {found.name}; remove one of "
                "them"
            )
        return card_of(found)
    if not named:
        return THIS_MACHINE
    if settings.gpus == 0:
        if len(named) > 1:
            problems.append(f"{' and '.join(named)}: 0 GPUs have no memory and no model; keep one")
        return THIS_MACHINE
    if settings.gpu_memory_gib is None:
        problems.append(f"{' and '.join(named)}: needs gpu_memory_gib beside it, to plan for")
    return Card(
        instance_type=None,
        gpus=settings.gpus or 1,
        gpu_model=settings.gpu_model,
        gpu_memory_gib=settings.gpu_memory_gib,
    )


def _resources(params: Params, problems: list[str]) -> Resources:
    try:
        return Resources.of({"cpu": params.tune_cpu, "memory": params.tune_memory})
    except ValueError as error:
        problems.append(f"tune-cpu, tune-memory: {error}")
        return NOTHING


def needs_gpu(preset: ModelPreset) -> bool:
    """Whether tuning the preset on a CPU would take days."""
    return preset.parameters >= SLOW_ON_CPU_PARAMETERS


def _assumed_card(job: Job, provider: str, warnings: list[str]) -> Card:
    """The smallest GPU that fits the job, for cluster nodes whose GPU the user did not name.

    Kaito's users select existing GPU nodes by labels alone.
    """
    # What the machine has beside its GPU is asked of the nodes themselves.
    any_machine = replace(job, resources=NOTHING)
    found = nearest_fit(any_machine) if provider != "local" else None
    if found is None:
        return THIS_MACHINE
    memory_gib = found.sku.gpu_memory_gib
    warnings.append(
        f"the config names no GPU, so the plan is for one with {memory_gib:g} GiB, as in "
        f"{found.sku.name}; set training_config.Argotune.gpu_memory_gib to the memory of the "
        "node's GPU, and gpus to their number (0: tune on its CPU)"
    )
    return Card(instance_type=None, gpus=1, gpu_model=None, gpu_memory_gib=memory_gib)


def _unusable(found: Sku | None) -> list[str]:
    reason = sku_problem(found) if found is not None else None
    return [f"instance-type: {found.name} cannot be used: {reason}"] if found and reason else []
