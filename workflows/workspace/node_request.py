"""What a workspace's run will ask its provider for, as far as the file and its plan say it."""

from __future__ import annotations

from argotune.presets.prices import prices_usd_per_hour
from argotune.steps.nodes.node_params import NodeParams
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.plan.alternatives import alternatives
from argotune.workflows.workspace.checks import names_in, skus_in
from argotune.workflows.workspace.planned import Planned

_NO_RUN = "planned"


def request_of(planned: Planned) -> NodeRequest:
    """The request that the provision step will make."""
    workspace, options, plan = planned.workspace, planned.workspace.options, planned.plan
    given, zones = options.alternative_instance_types, options.zones
    most = options.spot_max_price_usd_per_hour
    params = NodeParams(
        # The provider's own settings are not of the request; it only decides about alternatives.
        run=_NO_RUN,
        gpus=plan.hardware.gpus,
        gpu_memory_gb=plan.memory.total_gb,
        disk_gib=plan.hardware.disk_gib,
        instance_type=workspace.instance_type,
        alternative_instance_types=_alternatives(planned) if given is None else _skus(given),
        zones=() if zones is None else tuple(names_in(zones)),
        capacity_types=tuple(names_in(options.capacity_types or "regular")),
        spot_max_price_usd_per_hour=float(most) if most else None,
        label_selector=",".join(f"{k}={v}" for k, v in workspace.label_selector.items()),
    )
    return params.request(prices_usd_per_hour(params.instance_types()))


def _alternatives(planned: Planned) -> tuple[str, ...]:
    """Of the plan, where a node is made."""
    is_made = planned.workspace.options.provider in ("aks", "karpenter")
    return alternatives(planned.params) if is_made else ()


def _skus(text: str) -> tuple[str, ...]:
    return tuple(skus_in(text))
