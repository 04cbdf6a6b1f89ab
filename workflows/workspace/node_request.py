"""The request of a workspace's run to its provider, from the file and its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argotune.presets.loader import machines
from argotune.steps.contracts.served import SERVER_CPU, SERVER_MEMORY
from argotune.steps.nodes.node_params import NodeParams
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.nodes.providers import MAKING_NODES
from argotune.steps.plan.planning import alternatives, service_alternatives
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.workspace.model import provider_of

if TYPE_CHECKING:
    from argotune.workflows.workspace.planned import Planned, PlannedService

_NO_RUN = "planned"


def request_of(planned: Planned) -> NodeRequest:
    """Build the request that the provision step will make."""
    workspace, options, plan = planned.workspace, planned.workspace.options, planned.plan
    given, zones = options.get("alternative-instance-types"), options.get("zones")
    most = options.get("spot-max-price-usd-per-hour")
    params = NodeParams(
        # The request has none of the provider's own settings; only the alternatives depend on it.
        run=_NO_RUN,
        gpus=plan.hardware.gpus,
        gpu_memory_gb=plan.memory.total_gb,
        tune_cpu=options.get("tune-cpu", SETTINGS["tune-cpu"].default),
        tune_memory=options.get("tune-memory", SETTINGS["tune-memory"].default),
        disk_gib=plan.hardware.disk_gib,
        instance_type=workspace.instance_type,
        alternative_instance_types=_alternatives(planned)
        if given is None
        else _items("alternative-instance-types", given),
        zones=() if zones is None else _items("zones", zones),
        capacity_types=_items("capacity-types", options.get("capacity-types", "regular")),
        spot_max_price_usd_per_hour=float(most) if most else None,
        label_selector=",".join(f"{k}={v}" for k, v in workspace.label_selector.items()),
    )
    return params.request(machines(params.instance_types()))


def request_of_service(planned: PlannedService) -> NodeRequest:
    """Build the request of a service without training likewise: its server's own needs."""
    workspace, options, plan = planned.workspace, planned.workspace.options, planned.plan
    given, zones = options.get("alternative-instance-types"), options.get("zones")
    is_made = provider_of(options) in MAKING_NODES
    planned_ones = service_alternatives(planned.params, plan) if is_made else ()
    params = NodeParams(
        run=_NO_RUN,
        gpus=plan.hardware.gpus,
        gpu_memory_gb=plan.memory.total_gb,
        tune_cpu=SERVER_CPU,
        tune_memory=options.get("service-memory") or SERVER_MEMORY[plan.engine],
        disk_gib=plan.hardware.disk_gib,
        instance_type=workspace.instance_type,
        alternative_instance_types=planned_ones
        if given is None
        else _items("alternative-instance-types", given),
        zones=() if zones is None else _items("zones", zones),
        label_selector=",".join(f"{k}={v}" for k, v in workspace.label_selector.items()),
    )
    return params.request(machines(params.instance_types()))


def _alternatives(planned: Planned) -> tuple[str, ...]:
    """Return the plan's alternatives, where a node is made."""
    is_made = provider_of(planned.workspace.options) in MAKING_NODES
    return alternatives(planned.params) if is_made else ()


def _items(name: str, text: str) -> tuple[str, ...]:
    return tuple(SETTINGS[name].value.names(text))
