"""Make the plan of a service: read its parameters, and size it for its machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from argotune.presets.loader import sku_catalogs
from argotune.presets.schema import ModelPreset, Sku
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.values import is_dns_label
from argotune.steps.contracts.service_plan import (
    MOST_ADAPTERS,
    AskedAdapter,
    ServedAdapter,
    ServicePlan,
    read_adapters,
)
from argotune.steps.contracts.serving import Rope, rope_choice
from argotune.steps.contracts.training_plan import Hardware
from argotune.steps.contracts.vllm import Engine, engine_of
from argotune.steps.plan.alternatives import MOST_ALTERNATIVES, MOST_PRICE_RATIO
from argotune.steps.plan.assemble import disk_of, license_warning, model_of
from argotune.steps.plan.hardware import THIS_MACHINE, Card, card_of
from argotune.steps.plan.request import (
    candidates,
    find_preset,
    find_sku,
    needs_gpu,
    problems_of_name,
    problems_of_source,
)
from argotune.steps.plan.service.config import read_inference_config
from argotune.steps.plan.service.params import Params
from argotune.steps.plan.service.size import (
    AdapterSizes,
    ServiceJob,
    Size,
    fit,
    fits,
    nearest,
    size_of,
    too_small,
)
from argotune.steps.plan.skus import describe
from argotune.steps.plan.substitute import Substitution
from argotune.steps.registry.oci import parse_reference

_OTHER_ENGINES = "transformers, or auto"


@dataclass(frozen=True, kw_only=True)
class FoundAdapters:
    """What the adapters' files say; without them nothing is known."""

    adapters: Sequence[ServedAdapter] = ()
    file_bytes: int = 0
    largest_rank: int = 0
    reasons_against_vllm: Sequence[str] = ()
    """Adapters that vLLM does not serve, NAME: REASON."""
    rope: Rope | None = None
    """Rotary factors of their training; None: any will do."""
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ServiceRequest:
    """Valid parameters of a service; whether it fits the machine is not checked yet."""

    job: ServiceJob
    adapters: Sequence[AskedAdapter]
    sku: Sku | None
    card: Card
    warnings: list[str] = field(default_factory=list)


def make_service_plan(params: Params, found: FoundAdapters | None = None) -> ServicePlan:
    """Make the plan; without the adapters' files for the base alone.

    Raises ParamsError with all problems.
    """
    known = found or FoundAdapters()
    request = read_service_request(params, known)
    problem = problem_of_machine(request)
    size = None if problem else size_of(request.job, request.card)
    if problem or size is None:
        raise ParamsError(f"instance-type: {problem or too_small(request.job, request.card)}")
    preset = request.job.preset
    rope = known.rope or rope_choice(
        size.max_length, preset.architecture.original_max_position_embeddings
    )
    return ServicePlan(
        name=params.name,
        model=model_of(preset, params.model_source),
        load_in_4bit=params.has_4_bits,
        engine=request.job.engine,
        max_length=size.max_length,
        rope=rope,
        answers=size.answers,
        adapters=[*known.adapters] or [_not_found_yet(each) for each in request.adapters],
        hardware=Hardware(
            instance_type=request.card.instance_type,
            gpus=min(1, request.card.gpus),
            gpu_model=request.card.gpu_model,
            gpu_memory_gib=request.card.gpu_memory_gib,
            price_usd_per_hour=request.card.price_usd_per_hour,
            disk_gib=disk_of(preset),
        ),
        memory=size.memory,
        warnings=[*request.warnings, *known.warnings, *_warnings(request, size, rope)],
    )


def read_service_request(params: Params, found: FoundAdapters | None = None) -> ServiceRequest:
    """Read preset, adapters, config and SKU. Raises ParamsError with all their problems."""
    known = found or FoundAdapters()
    problems, warnings = problems_of_name(params.name), list[str]()
    preset, catalogs = find_preset(params, problems), sku_catalogs()
    engine = _engine(params, known, problems, warnings)
    sku = find_sku(params.instance_type, params.provider, catalogs, problems, cloud=params.cloud)
    adapters = asked_adapters(params.adapters, problems)
    asked_length = read_inference_config(params.config, problems, warnings)
    if preset is None:
        raise ParamsError(problems)
    problems += problems_of_source(params.model_source, preset)
    most_length = _most_length(preset, known)
    if asked_length is not None and asked_length > most_length:
        whose = "an adapter was trained for" if known.rope == "short" else f"{preset.name} can have"
        problems.append(
            f"config: max-model-len: {asked_length} tokens; {whose} at most {most_length}"
        )
    if problems:
        raise ParamsError(problems)
    job = ServiceJob(
        preset=preset,
        engine=engine,
        load_in_4bit=params.has_4_bits,
        asked_length=asked_length,
        most_length=most_length,
        adapters=AdapterSizes(
            number=len(adapters),
            file_bytes=known.file_bytes,
            largest_rank=known.largest_rank,
        ),
        skus=candidates(params.provider, sku, catalogs, cloud=params.cloud),
    )
    card = _card(params, job, sku, warnings)
    if not card.gpus:
        # With service-gpus 0 it is deploy that refuses it, by the settings.
        if params.engine == "vllm" and params.provider != "local" and params.service_gpus is None:
            raise ParamsError(
                [
                    f"engine: 'vllm', but {preset.name} is planned for a CPU; give service-gpus 1,"
                    f" or take {_OTHER_ENGINES}"
                ]
            )
        job = replace(job, engine="transformers")
    return ServiceRequest(job=job, adapters=adapters, sku=sku, card=card, warnings=warnings)


def asked_adapters(text: str, problems: list[str]) -> list[AskedAdapter]:
    """Parse the adapters; what is wrong is added to the problems."""
    try:
        adapters = read_adapters(text)
    except ValueError as error:
        problems.append(f"adapters: {error}")
        return []
    problems += _adapter_problems(adapters)
    return adapters


def problem_of_machine(request: ServiceRequest) -> str:
    """Why the service cannot run on the SKU, and the nearest on which it can; else empty."""
    if request.sku is None or not request.card.gpus:
        return ""
    reason = fit(request.job, request.sku).reason
    other = nearest(fits(request.job)) if reason else None
    if not reason or other is None:
        return reason and f"{request.sku.name}: {reason}; no SKU of the table fits"
    ways = f"instance type {describe(other)}"
    plain = replace(request.job, engine="transformers")
    if request.job != plain and not fit(plain, request.sku).reason:
        ways += ", or engine transformers"
    smaller = replace(plain, load_in_4bit=True)
    if plain != smaller and not fit(smaller, request.sku).reason:
        ways += ", or service-load-in-4bit true"
    return f"{request.sku.name}: {reason}; what fits is {ways}"


def service_alternatives(
    params: Params, plan: ServicePlan, found: FoundAdapters | None = None
) -> tuple[str, ...]:
    """Names of other SKUs that hold the same context, cheapest first; empty without a price."""
    request = read_service_request(params, found)
    planned = request.sku
    if planned is None or planned.price_usd_per_hour is None or not plan.hardware.gpus:
        return ()
    most_usd = MOST_PRICE_RATIO * planned.price_usd_per_hour
    same = replace(request.job, asked_length=plan.max_length)
    names = [
        each.sku.name
        for each in fits(same)
        if each.size is not None
        and each.sku.name != planned.name
        and not each.sku.confidential
        and each.sku.price_usd_per_hour is not None
        and each.sku.price_usd_per_hour <= most_usd
    ]
    return tuple(names[:MOST_ALTERNATIVES])


def find_service_substitution(params: Params) -> Substitution | None:
    """The cheapest SKU that fits, in place of one that cannot be used.

    None if the one that is asked for can be used, none was asked for, or none fits. Raises
    ParamsError if other parameters are wrong.
    """
    request = read_service_request(params)
    reason = problem_of_machine(request)
    other = nearest(fits(request.job)) if reason else None
    if request.sku is None or other is None:
        return None
    return Substitution(
        old=request.sku.name,
        new=other.name,
        retired=request.sku.retired is not None,
        reason=reason,
    )


def _adapter_problems(adapters: Sequence[AskedAdapter]) -> Iterator[str]:
    if len(adapters) > MOST_ADAPTERS:
        yield f"adapters: {len(adapters)}; accepted are at most {MOST_ADAPTERS}"
    names = [each.name for each in adapters]
    for name in dict.fromkeys(each for each in names if names.count(each) > 1):
        yield f"adapters: {name} is there twice; give each another name"
    on_claim = [each.name for each in adapters if not each.image]
    if len(on_claim) > 1:
        yield (
            f"adapters: {', '.join(on_claim)}: one adapter can come from the claim, whose files are"
            " at its top; push the others as images"
        )
    for each in adapters:
        if not is_dns_label(each.name):
            yield (
                f"adapters: {each.name!r}; accepted are lower-case letters, digits and '-', a"
                " letter first"
            )
        if not 0 <= each.strength <= 1:
            yield f"adapters: {each.name}: strength {each.strength:g}; accepted is 0 to 1"
        try:
            if each.image:
                parse_reference(each.image)
        except ValueError as error:
            yield f"adapters: {each.name}: {error}"


def _engine(
    params: Params, found: FoundAdapters, problems: list[str], warnings: list[str]
) -> Engine:
    """What the servers compute with if they have a GPU."""
    if params.provider == "local":
        return "transformers"
    engine = engine_of(
        params.engine, has_gpu=True, allow_cpu=params.allow_cpu, load_in_4bit=params.has_4_bits
    )
    if engine != "vllm" or not found.reasons_against_vllm:
        return engine
    if params.engine == "vllm":
        problems += [
            f"adapters: {reason}; take engine {_OTHER_ENGINES}, or leave the adapter out"
            for reason in found.reasons_against_vllm
        ]
    else:
        warnings += [
            f"adapter {reason}, so the service runs on transformers"
            for reason in found.reasons_against_vllm
        ]
    return "transformers"


def _not_found_yet(asked: AskedAdapter) -> ServedAdapter:
    return ServedAdapter(name=asked.name, image=asked.image, strength=asked.strength)


def _most_length(preset: ModelPreset, found: FoundAdapters) -> int:
    """Longest context of model and adapters, which short rotary factors limit."""
    architecture = preset.architecture
    original = architecture.original_max_position_embeddings
    if found.rope == "short" and original is not None:
        return original
    return architecture.max_position_embeddings


def _card(params: Params, job: ServiceJob, sku: Sku | None, warnings: list[str]) -> Card:
    if params.service_gpus == 0:
        return replace(THIS_MACHINE, instance_type=params.instance_type)
    if sku is not None:
        return card_of(sku)
    if params.provider == "local" or not (needs_gpu(job.preset) or params.service_gpus):
        return THIS_MACHINE
    assumed = nearest(fits(job))
    if assumed is None:
        return THIS_MACHINE
    memory_gib = assumed.gpu_memory_gib
    warnings.append(
        f"no instance type is named, so the plan is for a GPU with {memory_gib:g} GiB, as in"
        f" {assumed.name}; max-model-len in inference_config.yaml asks for another context"
    )
    return Card(instance_type=None, gpus=1, gpu_model=None, gpu_memory_gib=memory_gib)


def _warnings(request: ServiceRequest, size: Size, rope: Rope) -> Iterator[str]:
    job, card = request.job, request.card
    if card.gpus > 1:
        yield (
            f"{card.instance_type} has {card.gpus} GPUs, of which a server uses one;"
            f" service-replicas {card.gpus} uses all"
        )
    if not card.gpus and needs_gpu(job.preset):
        yield (
            "no GPU was named, so the plan is for this machine or a CPU, where this model takes"
            " seconds for each word"
        )
    if rope == "long" and job.asked_length is None:
        original = job.preset.architecture.original_max_position_embeddings
        yield (
            f"the context of {size.max_length} tokens uses LongRoPE's long factors for questions of"
            f" any length; max-model-len {original} uses the short ones"
        )
    if warning := license_warning(job.preset):
        yield warning
    if job.preset.chat.template is not None:
        yield f"{job.preset.name} is a base model without a chat template, so the preset's is used"
