"""The plan of a service without training, as `argotune plan` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.presets.loader import sku_catalogs
from argotune.steps.contracts.service_plan import ServedAdapter, ServicePlan
from argotune.steps.contracts.vllm import ENGINE_NAMES, GPU_MEMORY_SHARE
from argotune.steps.nodes.providers import PROVIDERS
from argotune.steps.plan.planning import (
    RunService,
    ServiceFit,
    ServiceParams,
    cpu_memory,
    preset_of,
    read_service_request,
    service_alternatives,
    service_fits,
)
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.cli.show.plan_rows import (
    Row,
    expected_hours,
    model_row,
    price_lines,
    what_hours_are_of,
)
from argotune.workflows.cli.show.plan_tables import print_rows
from argotune.workflows.workspace.model import provider_of
from argotune.workflows.workspace.planned import Planned

_HOURS_OF_DAY = 24
_DURING_TUNING = SETTINGS["service-during-tuning"]
_OF_VLLM = f"; vLLM takes {GPU_MEMORY_SHARE:.0%} of a GPU's memory"


def print_service_plan(
    screen: Console, params: ServiceParams, plan: ServicePlan, *, every: bool, makes_node: bool
) -> None:
    """Print the key numbers, the memory, and the machines that fit.

    `every` adds those that do not, with reasons; `makes_node` says that one is made and paid for.
    """
    print_rows(screen, f"Plan of {plan.name}", service_rows(plan, makes_node=makes_node))
    print_rows(screen, "GPU memory, estimated", service_memory_rows(plan))
    if plan.hardware.gpus:
        _print_machines(screen, params, plan, every=every, makes_node=makes_node)


def service_rows(plan: ServicePlan, *, makes_node: bool) -> list[Row]:
    """List the key numbers of the plan."""
    bits = "4 bits, nf4 with double quantisation" if plan.load_in_4bit else "16 bits"
    return [
        model_row(plan.model),
        Row(name="weights", value=bits),
        Row(name="engine", value=ENGINE_NAMES[plan.engine]),
        *_adapter_rows(plan.adapters),
        Row(
            name="context",
            value=f"{plan.max_length} tokens",
            note="question and answer together" + _rope_note(plan),
        ),
        Row(name="at once", value=_answers(plan), note="answers of that length; shorter ones more"),
        Row(name="machine", value=_machine(plan)),
        *_cost_rows(plan, makes_node),
    ]


def run_service_rows(service: RunService, *, replicas: str) -> list[Row]:
    """List the key numbers of the service of a training; `replicas` is the number that is set."""
    card, size = service.card, service.size
    bits = "4 bits" if service.load_in_4bit else "16 bits"
    machine, whose, least = "a CPU", "any node", ""
    if service.gpus:
        least = f"; least GPU memory {size.memory.total_gb:.1f} GB"
        machine = f"{service.gpus} x {card.gpu_model or 'GPU'}"
        whose = "a GPU as tuning has" if service.is_as_tuning else card.instance_type or "a node"
    rows = [
        Row(
            name="service",
            value=f"{ENGINE_NAMES[service.engine]}, {bits}, {machine}",
            note=f"{replicas or 1} x {whose}{least}",
        )
    ]
    if size.answers is not None:
        rows.append(
            Row(
                name="context",
                value=f"{size.max_length} tokens",
                note=f"{size.answers} answers of that length at once",
            )
        )
    return rows


def retrain_row(planned: Planned, *, dataset_tokens: int | None) -> Row | None:
    """What becomes of the service where the next run finds no GPU but the service's.

    None where it has none, or a run has a node made.
    """
    provider = PROVIDERS[provider_of(planned.workspace.options)]
    if provider.makes_nodes or not provider.is_on_cluster:
        return None
    service = planned.service
    if service is None or not service.gpus or not planned.plan.hardware.gpus:
        return None
    mode = planned.workspace.options.get("service-during-tuning", _DURING_TUNING.default)
    if mode == "cpu":
        preset = preset_of(planned.params)
        memory = cpu_memory(preset, load_in_4bit=service.load_in_4bit)
        note = f"the service answers on a CPU with {memory} of memory until the run is over"
    elif mode == "hand-over":
        taken = expected_hours(planned.plan, dataset_tokens=dataset_tokens)
        of = what_hours_are_of(planned.plan, dataset_tokens=dataset_tokens)
        down = "as long as the run" if taken is None else f"about {taken} h {of}, evaluation, start"
        note = f"the service is down: {down}"
    else:
        note = "for a GPU beside the service's; service-during-tuning has other ways"
    return Row(name="next run", value=mode, note=note)


def service_memory_rows(plan: ServicePlan) -> list[Row]:
    """List the terms of the memory estimate; the last row is the least that is needed."""
    memory, on_vllm = plan.memory, plan.engine == "vllm"
    rows = [
        ("weights", memory.weights_gb, ""),
        *([("step", memory.step_gb, "what vLLM computes at once")] if on_vllm else []),
        ("context", memory.context_gb, "CUDA and libraries"),
        (
            "answer",
            memory.answer_gb,
            f"keys and values of {plan.max_length} tokens; a quarter more is kept free beside them",
        ),
        ("least", memory.total_gb, "with one answer" + (_OF_VLLM if on_vllm else "")),
    ]
    if plan.adapters:
        unknown = all(not each.digest for each in plan.adapters)
        known = "those computed together, in 16 bits" if on_vllm else "in float32"
        note = "not fetched yet" if unknown else known
        rows.insert(1, ("adapters", memory.adapters_gb, note))
    return [Row(name=name, value=f"{size:.2f} GB", note=note) for name, size, note in rows]


def _adapter_rows(adapters: Sequence[ServedAdapter]) -> Iterator[Row]:
    for each in adapters:
        strength = "" if each.strength == 1 else f"strength {each.strength:g}"
        yield Row(
            name="adapter", value=each.name, note=", ".join(filter(None, [each.image, strength]))
        )


def _rope_note(plan: ServicePlan) -> str:
    return "" if plan.rope == "default" else f"; LongRoPE's {plan.rope} factors"


def _answers(plan: ServicePlan) -> str:
    return "as many as the memory holds" if plan.answers is None else str(plan.answers)


def _machine(plan: ServicePlan) -> str:
    hardware = plan.hardware
    if hardware.instance_type is not None and hardware.gpus:
        return f"{hardware.instance_type}, 1 x {hardware.gpu_model}"
    if hardware.gpus:
        return f"a GPU with {hardware.gpu_memory_gib:g} GiB"
    return hardware.instance_type or "this machine, or a node of the cluster without a GPU"


def _cost_rows(plan: ServicePlan, makes_node: bool) -> Iterator[Row]:
    price = plan.hardware.price_usd_per_hour
    if price is None:
        return
    whose = "from its making until the service is stopped" if makes_node else "of such a machine"
    yield Row(
        name="cost",
        value=f"{price:g} USD/h, {price * _HOURS_OF_DAY:.0f} USD a day",
        note=f"of one node, {whose}",
    )


def _print_machines(
    screen: Console, params: ServiceParams, plan: ServicePlan, *, every: bool, makes_node: bool
) -> None:
    request = read_service_request(params)
    found, named = service_fits(request.job), request.sku.name if request.sku else ""
    others = service_alternatives(params, plan) if makes_node else ()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(" ", width=1)
    for name in ("SKU", "GPUS"):
        table.add_column(name, no_wrap=True)
    for name in ("CONTEXT", "AT ONCE", "USD/H", "USD/DAY"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        if each.size is not None:
            mark = "*" if each.sku.name == named else "+" if each.sku.name in others else ""
            table.add_row(mark, *_cells(each))
    tried = ", + is tried where it is sold out" if others else ""
    screen.print(f"GPU machines that fit; * is planned for{tried}", style="bold")
    screen.print(table)
    clouds = {each.sku.cloud for each in found}
    for line in price_lines([each for each in sku_catalogs() if each.cloud in clouds]):
        screen.print(Text(line, style="dim"))
    screen.print()
    wrong = [Row(name=each.sku.name, value=each.reason) for each in found if each.reason]
    if every and wrong:
        print_rows(screen, "GPU machines on which it cannot run", wrong)


def _cells(found: ServiceFit) -> tuple[str, ...]:
    sku, size = found.sku, found.size
    price = sku.price_usd_per_hour
    return (
        sku.name,
        f"{sku.gpus} x {sku.gpu_model} {sku.gpu_memory_gib:g} GiB",
        f"{size.max_length}" if size else "-",
        f"{size.answers}" if size else "-",
        "-" if price is None else f"{price:.2f}",
        "-" if price is None else f"{price * _HOURS_OF_DAY:.0f}",
    )
