"""The agent pool of a run: its name, its body, and the meaning of its tags. Pure."""

from __future__ import annotations

import copy
import datetime
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from azure.mgmt.containerservice.models import (
    AgentPool,
    AgentPoolManagedClusterAgentPoolProfileProperties,
    GPUProfile,
)

from argotune.steps.nodes.aks.settings import AksSettings
from argotune.steps.nodes.alternatives import placements
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import KeptNode, NodeRequest, Placement, ReleasedNode

TAINT = "sku=gpu:NoSchedule"
# Azure forbids slashes in names of tags.
RUN_TAG = "argotune-run"
_WORKFLOW_TAG = "argotune-workflow"
_NAMESPACE_TAG = "argotune-namespace"
_WORKSPACE_TAG = "argotune-workspace"
_CREATED_TAG = "argotune-created"
_EXPIRES_TAG = "argotune-expires"
_DEADLINE_TAG = "argotune-deadline"
"""Until when the run may have the pool, where that is before its end: another run had it before,
or may have it after, for the money of this one is spent then."""
_PRICE_TAG = "argotune-price-usd-per-hour"
_SINCE_TAG = "argotune-since"
"""Since when the run has the pool, where another run had it before it."""
_KEPT_FROM_TAG = "argotune-kept-from"
_KEPT_AT_TAG = "argotune-kept-at"
_KEPT_UNTIL_TAG = "argotune-kept-until"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The run that a pool was made for."""

    run: str
    namespace: str
    workflow: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A pool that waits for the next run of a workspace."""

    run: str
    """The run that left it."""
    namespace: str
    workspace: str
    until: datetime.datetime | None
    """None: the tag is malformed, so the pool's time counts as over."""


def pool_name(run: str) -> str:
    """Return the pool's name, which is the same in every try of the run.

    AKS takes 1-12 lower-case letters and digits, a letter first. With nine hex digits, 10,000 runs
    have two equal names with a chance of 1:1400.
    """
    return f"gpu{hashlib.sha256(run.encode()).hexdigest()[:9]}"


def name_of(request: NodeRequest) -> str:
    """Return the name of the pool that is made for a request."""
    return request.node or pool_name(request.run)


def pool_body(
    request: NodeRequest, placement: Placement, settings: AksSettings, now_seconds: float
) -> AgentPool:
    """Build the body of the request to AKS; `now_seconds` counts from the epoch."""
    spot = placement.capacity_type == "spot"
    max_price = request.spot_max_price_usd_per_hour
    pool = AgentPoolManagedClusterAgentPoolProfileProperties(
        count=1,
        enable_auto_scaling=False,
        mode="User",
        node_labels={**request.labels, **request.identity(), NODE_LABEL: name_of(request)},
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
    """Return the placement of a pool."""
    zones = list(pool.availability_zones or [])
    return Placement(
        instance_type=str(pool.vm_size),
        capacity_type="spot" if pool.scale_set_priority == "Spot" else "regular",
        zone=zones[0] if len(zones) == 1 else None,
    )


def owner_of(pool: AgentPool) -> Owner | None:
    """Return the run that a pool was made for; None for pools that argotune did not make."""
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


def waiting_of(pool: AgentPool) -> Waiting | None:
    """Return the workspace that a pool waits for; None unless it waits."""
    tags = tags_of(pool)
    if tags.get(RUN_TAG) or not tags.get(_KEPT_FROM_TAG):
        return None
    return Waiting(
        run=tags[_KEPT_FROM_TAG],
        namespace=tags.get(_NAMESPACE_TAG, ""),
        workspace=tags.get(_WORKSPACE_TAG, ""),
        until=_time(tags.get(_KEPT_UNTIL_TAG, "")),
    )


def left_by_run(pool: AgentPool, *, now: datetime.datetime, until: datetime.datetime) -> AgentPool:
    """Return the pool with the tags of one that its run leaves to the next run."""
    owner = owner_of(pool)
    tags = {
        **tags_of(pool),
        _KEPT_FROM_TAG: owner.run if owner else "",
        _KEPT_AT_TAG: _text(now.timestamp()),
        _KEPT_UNTIL_TAG: _text(until.timestamp()),
    }
    return _with_tags(pool, tags, without=(RUN_TAG, _WORKFLOW_TAG, _DEADLINE_TAG))


def taken_by_run(pool: AgentPool, request: NodeRequest) -> AgentPool:
    """Return the pool with the tags of a run that takes it; its waiting time counts to that run."""
    old = tags_of(pool)
    since = _time(old.get(_KEPT_AT_TAG, ""))
    deadline = request.deadline_of(placement_of(pool), since)
    tags = {
        **old,
        RUN_TAG: request.run,
        _WORKFLOW_TAG: request.workflow,
        _SINCE_TAG: old.get(_KEPT_AT_TAG, ""),
        _DEADLINE_TAG: _text(deadline.timestamp()),
    }
    return _with_tags(pool, tags, without=(_KEPT_FROM_TAG, _KEPT_AT_TAG, _KEPT_UNTIL_TAG))


def made_at(pool: AgentPool) -> datetime.datetime | None:
    """Read when a pool was requested; None where its tag does not say."""
    return _time(tags_of(pool).get(_CREATED_TAG, ""))


def since_of(pool: AgentPool) -> datetime.datetime | None:
    """Since when the pool's run has it; None where nobody said."""
    return _time(tags_of(pool).get(_SINCE_TAG, "")) or made_at(pool)


def end_of(pool: AgentPool) -> datetime.datetime | None:
    """Read when a pool must be deleted, whichever run has it; None where its tag does not say."""
    return _time(tags_of(pool).get(_EXPIRES_TAG, ""))


def expiry_of(pool: AgentPool) -> datetime.datetime | None:
    """Read when a pool must be deleted at the latest; None where its tags do not say.

    That is at its end, or earlier, when the time of the run that took it is over.
    """
    ends = [end_of(pool), _time(tags_of(pool).get(_DEADLINE_TAG, ""))]
    return min((each for each in ends if each is not None), default=None)


def released_node(pool: AgentPool, now_seconds: float) -> ReleasedNode:
    """Sum up a run's use of the pool from its tags, until now or until the run left it."""
    what, tags = text_of(pool), tags_of(pool)
    since = since_of(pool)
    if since is None:
        return ReleasedNode(what=what)
    left = _time(tags.get(_KEPT_AT_TAG, ""))
    end_seconds = now_seconds if left is None else left.timestamp()
    hours = max(end_seconds - since.timestamp(), 0.0) / 3600
    price = _price_of(pool)
    return ReleasedNode(
        what=what,
        hours=hours,
        cost_usd=None if price is None else hours * price,
        is_upper_bound=placement_of(pool).capacity_type == "spot",
    )


def differences(pool: AgentPool, request: NodeRequest, settings: AksSettings) -> Iterator[str]:
    """Say how a pool differs from the one that a request would make, one text each."""
    found = placement_of(pool)
    if comparison_key(found) not in {comparison_key(each) for each in placements(request)}:
        yield f"{found} is none of the alternatives"
        return
    wanted = pool_body(request, found, settings, 0.0)
    disk_gib = pool.os_disk_size_gb or 0
    if disk_gib < request.disk_gib:
        yield f"its disk has {disk_gib} GiB, {request.disk_gib} needed"
    labels = pool.node_labels or {}
    if missing := [key for key, value in request.labels.items() if labels.get(key) != value]:
        yield f"it lacks the labels {', '.join(missing)}"
    if found.capacity_type == "spot" and pool.spot_max_price != wanted.spot_max_price:
        yield f"its highest price is {pool.spot_max_price:g} USD/h"
    # Azure fills in what a request leaves out, and ignores the case of its IDs.
    pairs = {
        "operating system": (pool.os_sku, wanted.os_sku),
        "driver": (_driver(pool), _driver(wanted)),
        "MIG profile": (pool.gpu_instance_profile, wanted.gpu_instance_profile),
        "subnet": (pool.vnet_subnet_id if settings.aks_subnet_id else None, wanted.vnet_subnet_id),
    }
    for what, (there, asked) in pairs.items():
        if _lower(there) != _lower(asked):
            yield f"its {what} is {_lower(there)}, not {_lower(asked)}"


def comparison_key(placement: Placement) -> tuple[str, str, str | None]:
    """Return a key for comparison: Azure ignores the case of SKUs."""
    return placement.instance_type.casefold(), placement.capacity_type, placement.zone


def kept_node(pool: AgentPool) -> KeptNode | None:
    """Describe a pool that waits for the next run; None unless it waits."""
    waiting = waiting_of(pool)
    if pool.provisioning_state == "Deleting" or waiting is None or waiting.until is None:
        return None
    return KeptNode(
        used=released_node(pool, 0.0),
        workspace=f"{waiting.namespace}/{waiting.workspace}",
        until=waiting.until,
        price_usd_per_hour=_price_of(pool),
    )


def text_of(pool: AgentPool) -> str:
    """Return kind, name and placement."""
    return f"agent pool {pool.name} ({placement_of(pool)})"


def tags_of(pool: AgentPool) -> Mapping[str, str]:
    """Return the pool's tags."""
    tags: Mapping[str, str] = pool.tags or {}
    return tags


def _tags(request: NodeRequest, placement: Placement, now_seconds: float) -> dict[str, str]:
    price = request.prices_usd_per_hour.get(placement.instance_type)
    now = datetime.datetime.fromtimestamp(now_seconds, datetime.UTC)
    deadline = request.deadline_of(placement, now)
    tags = {
        RUN_TAG: request.run,
        _WORKFLOW_TAG: request.workflow,
        _NAMESPACE_TAG: request.namespace,
        _WORKSPACE_TAG: request.workspace,
        _CREATED_TAG: _text(now_seconds),
        _EXPIRES_TAG: _text(request.deadline.timestamp()),
        _DEADLINE_TAG: _text(deadline.timestamp()) if deadline < request.deadline else "",
        _PRICE_TAG: "" if price is None else f"{price:g}",
    }
    return {name: value for name, value in tags.items() if value}


def _with_tags(pool: AgentPool, tags: Mapping[str, str], *, without: Collection[str]) -> AgentPool:
    changed = copy.deepcopy(pool)
    changed.tags = {name: value for name, value in tags.items() if value and name not in without}
    return changed


def _driver(pool: AgentPool) -> str:
    return (pool.gpu_profile.driver if pool.gpu_profile else None) or "Install"


def _lower(value: str | None) -> str:
    """Return a text, or a member of the SDK's enumerations of texts, in lower case."""
    return value.lower() if value else "none"


def _price_of(pool: AgentPool) -> float | None:
    return _number(tags_of(pool).get(_PRICE_TAG, ""))


def _text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime.datetime | None:
    """Parse the time of a tag; None where it is malformed, because people may change tags."""
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
