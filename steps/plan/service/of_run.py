"""The service of a training: with what it serves the adapter, on which GPU, and whether it fits.

Its GPU is one as tuning has: a node of the cluster that tuned is where the service goes, and of the
node that serves after one that was made for the run nothing else is known.
`service-instance-type` names another machine. In order of preference the base is in 16 bits on
vLLM, in 16 bits on transformers and, if tuning had it so, in 4 bits on transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from argotune.presets.clouds import cloud_of_size
from argotune.presets.loader import sku_catalogs
from argotune.presets.schema import ModelPreset, Sku
from argotune.presets.sizes import lora_parameters, total_parameters
from argotune.steps.cluster.quantities import quantity
from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts import vllm
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.served import SERVER_MEMORY
from argotune.steps.contracts.serving import rope_choice
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.plan.hardware import GIB, THIS_MACHINE, Card, card_of, sku_problem
from argotune.steps.plan.memory import BFLOAT16_BYTES, CONTEXT_BYTES, FLOAT32_BYTES, weights_bytes
from argotune.steps.plan.params import Params
from argotune.steps.plan.request import candidates, find_sku, needs_gpu, preset_of
from argotune.steps.plan.service.size import (
    AdapterSizes,
    ServiceJob,
    Size,
    fits,
    nearest,
    size_of,
    too_small,
)
from argotune.steps.plan.skus import describe

_OTHER_ENGINES = "take transformers, or auto"
_CPU_RESERVE = 1.1
_PLACE = "service-instance-type"


@dataclass(frozen=True, kw_only=True)
class RunService:
    """The service of a training, as it is planned."""

    engine: vllm.Engine
    load_in_4bit: bool
    gpus: int
    """Of each server; 0: it answers on a CPU."""
    card: Card
    """The GPUs of its machine."""
    is_as_tuning: bool
    """Whether its GPU is taken to be one as tuning has."""
    size: Size
    shortened_length: int | None
    """The context where the GPU holds less than the model can have; vLLM finds it out itself."""
    warnings: tuple[str, ...] = ()


def service_of_run(params: Params, plan: TrainingPlan) -> RunService | None:
    """Plan the service; None where the run makes none of its own.

    Raises ParamsError with all problems, by the names of the settings.
    """
    if params.deploy_to == NOT_DEPLOYED or params.serve_with:
        return None
    problems: list[str] = []
    sku = _sku(params, problems)
    gpus, card = _gpus(params, plan, sku)
    preset = preset_of(params)
    problems += _gpu_problems(params, plan, preset, gpus, card)
    if problems:
        raise ParamsError(problems)
    jobs = list(_jobs(params, plan, preset, gpus, sku))
    found = [(job, size) for job in jobs if (size := size_of(job, _as_one(card, gpus)))]
    if not found:
        raise ParamsError(_refusal(params, jobs, card))
    job, size = found[0]
    return RunService(
        engine=job.engine,
        load_in_4bit=job.load_in_4bit,
        gpus=gpus,
        card=card,
        is_as_tuning=bool(gpus) and sku is None,
        size=size,
        shortened_length=size.max_length
        if job.engine == "transformers" and size.max_length < job.most_length
        else None,
        warnings=tuple(_warnings(params, job, jobs, gpus, card)),
    )


def cpu_memory(preset: ModelPreset, *, load_in_4bit: bool) -> str:
    """Memory that a server of the model asks for which answers on a CPU, a quantity."""
    architecture, family = preset.architecture, preset.family
    weights = (
        weights_bytes(architecture, family, "qlora")
        if load_in_4bit
        else FLOAT32_BYTES * total_parameters(architecture, family)
    )
    whole = float(quantity(SERVER_MEMORY["transformers"])) + _CPU_RESERVE * weights
    return f"{math.floor(whole / GIB)}Gi"


def _sku(params: Params, problems: list[str]) -> Sku | None:
    """The machine that is named for the service; a server of this machine has none."""
    if params.deploy_to == "process":
        return None
    # It is a node of the run's cluster.
    cloud = params.cloud or cloud_of_size(params.instance_type or "")
    asked = params.service_instance_type
    sku = find_sku(asked, "existing", sku_catalogs(), problems, cloud=cloud, place=_PLACE)
    if sku is not None and (reason := sku_problem(sku)):
        problems.append(f"{_PLACE}: {sku.name} cannot be used: {reason}")
    return sku


def _gpus(params: Params, plan: TrainingPlan, sku: Sku | None) -> tuple[int, Card]:
    """GPUs of each server, and those of its machine."""
    hardware = plan.hardware
    asked = None if params.deploy_to == "process" else params.service_gpus
    card = Card(
        instance_type=hardware.instance_type,
        gpus=hardware.gpus,
        gpu_model=hardware.gpu_model,
        gpu_memory_gib=hardware.gpu_memory_gib,
        price_usd_per_hour=hardware.price_usd_per_hour,
    )
    if sku is not None:
        card = card_of(sku)
    gpus = min(1, card.gpus) if asked is None else asked
    return gpus, card if gpus else replace(THIS_MACHINE, instance_type=None)


def _gpu_problems(
    params: Params, plan: TrainingPlan, preset: ModelPreset, gpus: int, card: Card
) -> Iterator[str]:
    if card.instance_type is not None and gpus > card.gpus:
        yield f"service-gpus: {gpus}, but {card.instance_type} has {card.gpus}"
    is_asked = params.engine == "vllm" and params.deploy_to != "process"
    heads = preset.architecture.num_attention_heads
    if _may_have_vllm(params, plan, gpus) and gpus > 1 and heads % gpus:
        yield (
            f"service-gpus: {gpus}, but the model's {heads} attention heads cannot be shared by so"
            f" many; accepted is a number that divides {heads}"
        )
    if not is_asked:
        return
    reasons = (
        vllm.unservable(rank=plan.lora.r, use_dora=plan.lora.use_dora),
        "the service has no GPU; give service-gpus 1" if not gpus else "",
        "allow-cpu lets it answer on the CPU" if params.allow_cpu else "",
        "service-load-in-4bit is true, and it has no 4 bits of bitsandbytes"
        if params.load_in_4bit == "true"
        else "",
    )
    for reason in filter(None, reasons):
        yield f"engine: 'vllm', but {reason}; {_OTHER_ENGINES}"


def _may_have_vllm(params: Params, plan: TrainingPlan, gpus: int) -> bool:
    if params.deploy_to == "process" or params.engine == "transformers":
        return False
    engine = vllm.engine_of(
        params.engine,
        has_gpu=gpus > 0,
        allow_cpu=params.allow_cpu,
        load_in_4bit=params.load_in_4bit == "true",
    )
    return engine == "vllm" and not vllm.unservable(rank=plan.lora.r, use_dora=plan.lora.use_dora)


def _jobs(
    params: Params, plan: TrainingPlan, preset: ModelPreset, gpus: int, sku: Sku | None
) -> Iterator[ServiceJob]:
    """Ways to serve, the best first."""
    engines: list[vllm.Engine] = ["vllm"] if _may_have_vllm(params, plan, gpus) else []
    if params.engine != "vllm" or not engines:
        engines.append("transformers")
    bits = {"true": [True], "false": [False]}.get(params.load_in_4bit, [False])
    if params.load_in_4bit == "auto" and plan.method == "qlora" and "transformers" in engines:
        bits = [False, True]
    skus = candidates("existing", sku, sku_catalogs(), cloud=params.cloud)
    for load_in_4bit in bits:
        for engine in engines:
            if not (load_in_4bit and engine == "vllm"):
                yield ServiceJob(
                    preset=preset,
                    engine=engine,
                    load_in_4bit=load_in_4bit,
                    asked_length=None,
                    most_length=_most_length(plan),
                    adapters=_adapter_sizes(plan, preset, engine),
                    skus=skus,
                )


def _adapter_sizes(plan: TrainingPlan, preset: ModelPreset, engine: vllm.Engine) -> AdapterSizes:
    """The run's adapter, and on vLLM the places for others, which may join."""
    weights = lora_parameters(
        preset.architecture, preset.family, plan.lora.target_modules, plan.lora.r
    )
    return AdapterSizes(
        number=vllm.MOST_ADAPTERS_TOGETHER if engine == "vllm" else 1,
        # As 16-bit files, of which size.py says that their weights are loaded in float32.
        file_bytes=BFLOAT16_BYTES * weights,
        largest_rank=plan.lora.r,
    )


def _most_length(plan: TrainingPlan) -> int:
    """Longest context of the adapter, as far as it is known before the data."""
    original = plan.model.original_max_position_embeddings
    if original is not None and rope_choice(plan.training.max_length, original) == "short":
        return original
    return plan.model.max_position_embeddings


def _as_one(card: Card, gpus: int) -> Card:
    """The GPUs of a server as one: each has its own context, and the rest is shared."""
    if card.gpu_memory_gib is None or gpus < 2:
        return card
    contexts_gib = (gpus - 1) * CONTEXT_BYTES / GIB
    return replace(card, gpu_memory_gib=gpus * card.gpu_memory_gib - contexts_gib)


def _refusal(params: Params, jobs: Sequence[ServiceJob], card: Card) -> list[str]:
    """Why no way fits, and what does."""
    smallest = jobs[-1]
    larger = nearest(fits(smallest))
    ways = [f"service-instance-type {describe(larger)}"] if larger is not None else []
    if params.load_in_4bit != "true" and params.engine != "vllm":
        fourth = replace(smallest, engine="transformers", load_in_4bit=True)
        if size_of(fourth, card) is not None:
            ways.append("service-load-in-4bit true")
    whole = replace(jobs[0], engine="vllm", load_in_4bit=False)
    heads = jobs[0].preset.architecture.num_attention_heads
    if (
        params.engine != "transformers"
        and card.gpus > 1
        and heads % card.gpus == 0
        and size_of(whole, _as_one(card, card.gpus)) is not None
    ):
        ways.append(f"service-gpus {card.gpus}")
    ways += ["service-gpus 0, which serves on CPUs", "deploy-to none"]
    place = _PLACE if params.service_instance_type else "service-gpus"
    where = card.instance_type or "a GPU as tuning has"
    return [
        f"{place}: the service does not fit {where}: {too_small(smallest, card)}; what fits is"
        f" {', or '.join(ways)}"
    ]


def _warnings(
    params: Params, job: ServiceJob, jobs: Sequence[ServiceJob], gpus: int, card: Card
) -> Iterator[str]:
    if job != jobs[0]:
        how = "with the base in 4 bits, as tuning has it, " if job.load_in_4bit else ""
        yield (
            f"the service runs {how}on transformers: {too_small(jobs[0], card)};"
            f" {_PLACE} names a machine with more, service-load-in-4bit and engine forbid that"
        )
    if job.engine == "transformers" and gpus > 1:
        yield f"service-gpus: a server on transformers uses one of its {gpus} GPUs"
    asked = params.service_memory or SERVER_MEMORY["transformers"]
    if params.deploy_to != "process" and not gpus and needs_gpu(job.preset):
        needed = cpu_memory(job.preset, load_in_4bit=job.load_in_4bit)
        if quantity(asked) < quantity(needed):
            yield (
                f"service-memory: {asked}, but a server that answers on a CPU takes about {needed}"
                f" for {job.preset.name}, and seconds for each word"
            )
