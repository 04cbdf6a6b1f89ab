"""The agent pool of a run: its name, its body, and what it says of itself. Pure."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from azure.mgmt.containerservice.models import (
    AgentPool,
    AgentPoolManagedClusterAgentPoolProfileProperties,
    GPUProfile,
)

from steps.common.nodes.provider import Gone, NodeRequest, Placement, Settings

POOL_LABEL = "agentpool"
"""AKS puts it with the pool's name on every node."""
TAINT = "sku=gpu:NoSchedule"
# Azure forbids the slash in names of tags.
RUN_TAG = "argotune-run"
_WORKFLOW_TAG = "argotune-workflow"
_NAMESPACE_TAG = "argotune-namespace"
_WORKSPACE_TAG = "argotune-workspace"
_CREATED_TAG = "argotune-created"
_EXPIRES_TAG = "argotune-expires"
_PRICE_TAG = "argotune-price-usd-per-hour"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The run that a pool was made for."""

    run: str
    namespace: str
    workflow: str


def pool_name(run: str) -> str:
    """The same for every try of a run. AKS takes 1-12 lower-case letters and digits, a letter
    first; nine hex digits keep 10,000 runs apart with a chance of 1:1400."""
    return f"gpu{hashlib.sha256(run.encode()).hexdigest()[:9]}"


def pool_body(
    request: NodeRequest, placement: Placement, settings: Settings, now_seconds: float
) -> AgentPool:
    """What to ask AKS for; `now_seconds` since the epoch."""
    spot = placement.capacity_type == "spot"
    max_price = request.spot_max_price_usd_per_hour
    pool = AgentPoolManagedClusterAgentPoolProfileProperties(
        count=1,
        enable_auto_scaling=False,
        mode="User",
        node_labels={**request.labels, **request.identity()},
        node_taints=[TAINT],
        os_disk_size_gb=request.disk_gib,
        os_sku=settings.aks_os_sku,
        os_type="Linux",
        scale_set_priority="Spot" if spot else "Regular",
        tags=_tags(request, placement, now_seconds),
        type_properties_type="VirtualMachineScaleSets",
        vm_size=placement.instance_type,
    )
    if spot:
        pool.scale_set_eviction_policy = "Delete"
        # -1: up to the regular price, and never evicted for the price.
        pool.spot_max_price = -1.0 if max_price is None else max_price
    if placement.zone:
        pool.availability_zones = [placement.zone]
    if settings.aks_subnet_id:
        pool.vnet_subnet_id = settings.aks_subnet_id
    if settings.aks_mig_profile:
        pool.gpu_instance_profile = settings.aks_mig_profile
    if settings.aks_gpu_driver != "Install":
        pool.gpu_profile = GPUProfile(driver=settings.aks_gpu_driver)
    return AgentPool(properties=pool)


def placement_of(pool: AgentPool) -> Placement:
    """Where a pool is."""
    zones = list(pool.availability_zones or [])
    return Placement(
        instance_type=str(pool.vm_size),
        capacity_type="spot" if pool.scale_set_priority == "Spot" else "regular",
        zone=zones[0] if len(zones) == 1 else None,
    )


def owner_of(pool: AgentPool) -> Owner | None:
    """The run that a pool was made for; None for other people's pools."""
    tags = tags_of(pool)
    if not tags.get(RUN_TAG):
        return None
    return Owner(
        run=tags[RUN_TAG],
        namespace=tags.get(_NAMESPACE_TAG, ""),
        workflow=tags.get(_WORKFLOW_TAG, ""),
    )


def is_of(pool: AgentPool, run: str) -> bool:
    """Whether a pool was made for a run."""
    return tags_of(pool).get(RUN_TAG) == run


def expiry_of(pool: AgentPool) -> datetime.datetime | None:
    """When a pool has to go at the latest; None where nobody said."""
    return _time(tags_of(pool).get(_EXPIRES_TAG, ""))


def gone(pool: AgentPool, now_seconds: float) -> Gone:
    """What was given back, with its hours and cost from the pool's tags."""
    what = f"agent pool {pool.name} ({placement_of(pool)})"
    created = _time(tags_of(pool).get(_CREATED_TAG, ""))
    if created is None:
        return Gone(what=what)
    hours = max(now_seconds - created.timestamp(), 0.0) / 3600
    price = _number(tags_of(pool).get(_PRICE_TAG, ""))
    return Gone(
        what=what,
        hours=hours,
        cost_usd=None if price is None else hours * price,
        is_upper_bound=placement_of(pool).capacity_type == "spot",
    )


def tags_of(pool: AgentPool) -> Mapping[str, str]:
    """The pool's tags."""
    tags: Mapping[str, str] = pool.tags or {}
    return tags


def _tags(request: NodeRequest, placement: Placement, now_seconds: float) -> dict[str, str]:
    price = request.prices_usd_per_hour.get(placement.instance_type)
    tags = {
        RUN_TAG: request.run,
        _WORKFLOW_TAG: request.workflow,
        _NAMESPACE_TAG: request.namespace,
        _WORKSPACE_TAG: request.workspace,
        _CREATED_TAG: _text(now_seconds),
        _EXPIRES_TAG: _text(now_seconds + request.lifetime_seconds),
        _PRICE_TAG: "" if price is None else f"{price:g}",
    }
    return {name: value for name, value in tags.items() if value}


def _text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime.datetime | None:
    """A time of a tag; people may change tags, so anything may stand there."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
