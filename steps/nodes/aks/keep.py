"""Leaving a pool to the next run of its workspace, and taking one that was left.

The pool's tags name its run. Every change of the tags carries the pool's etag, so that two runs
never take the same pool and no run takes one that is being deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime

from azure.mgmt.containerservice.models import AgentPool

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.errors import CapacityError, PermanentError
from argotune.steps.nodes.aks import pool as pools
from argotune.steps.nodes.aks.arm import Arm, Changed
from argotune.steps.nodes.aks.settings import AksSettings
from argotune.steps.nodes.alternatives import placements
from argotune.steps.nodes.errors import Busy
from argotune.steps.nodes.keeping import is_of_workspace, kept_until, time_problem
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import NodeRequest, Placement
from argotune.steps.nodes.ready import why_not_ready, why_not_usable
from argotune.steps.nodes.waiting import Phase

_LOGGER = logging.getLogger(__name__)
_BUSY_SECONDS = 30.0

Now = Callable[[], datetime]


def leave_pools(
    arm: Arm, kube: Kube, run: str, seconds: float, phase: Phase, now: Now
) -> list[AgentPool]:
    """Leave the run's pools to the next run; returns them and those that it left before.

    A pool that is too old or whose node is not Ready stays the run's. Raises PlacementRefused at
    the phase's deadline.
    """
    while True:
        try:
            left = [_left(arm, kube, pool, run, seconds, now()) for pool in arm.pools()]
        except Changed:
            phase.wait("the run's agent pool was changed meanwhile")
        except Busy as error:
            phase.wait(str(error), error.retry_after_seconds or _BUSY_SECONDS)
        else:
            return [pool for pool in left if pool is not None]


def take_pool(
    arm: Arm, kube: Kube, request: NodeRequest, settings: AksSettings, phase: Phase, now: Now
) -> str | None:
    """Return the name of the run's pool: its own, or one that an earlier run left, taken now.

    An earlier run is one of the same workspace. Returns None where there is neither. Raises
    PlacementRefused at the phase's deadline.
    """
    refused: set[str] = set()
    while True:
        try:
            found = arm.pools()
            own = next((pool for pool in found if pools.is_of(pool, request.run)), None)
            if own is not None or request.node:
                return str(own.name) if own is not None else None
            fitting = [
                pool
                for pool in _waiting_for(request, found, refused)
                if _fits(kube, pool, request, settings, now())
            ]
            if not fitting:
                return None
            best = min(fitting, key=lambda pool: _order(pool, request))
            if _try_to_take(arm, best, request):
                return str(best.name)
            refused.add(str(best.name))
        except Changed:
            phase.wait("another run took the kept agent pool")
        except Busy as error:
            phase.wait(str(error), error.retry_after_seconds or _BUSY_SECONDS)


def _left(
    arm: Arm, kube: Kube, pool: AgentPool, run: str, seconds: float, now: datetime
) -> AgentPool | None:
    waiting = pools.waiting_of(pool)
    if waiting is not None and waiting.run == run:
        return pool
    if not pools.is_of(pool, run):
        return None
    until = kept_until(now, seconds, made=pools.made_at(pool), ends=pools.end_of(pool))
    problem = _state_problem(pool) or ("" if until else "it is too old")
    problem = problem or why_not_ready(kube, {NODE_LABEL: str(pool.name)})
    if problem or until is None:
        log.event(_LOGGER, "not-kept", pool=pool.name, reason=problem)
        return None
    left = pools.left_by_run(pool, now=now, until=until)
    arm.update(pool, left)
    log.event(_LOGGER, "kept", pool=pool.name, until=until)
    return left


def _waiting_for(
    request: NodeRequest, found: Sequence[AgentPool], refused: Collection[str]
) -> Iterator[AgentPool]:
    for pool in found:
        waiting = pools.waiting_of(pool)
        if waiting is None or pool.name in refused:
            continue
        if is_of_workspace(request, namespace=waiting.namespace, workspace=waiting.workspace):
            yield pool


def _fits(
    kube: Kube, pool: AgentPool, request: NodeRequest, settings: AksSettings, now: datetime
) -> bool:
    waiting = pools.waiting_of(pool)
    problem = (
        _state_problem(pool)
        or time_problem(
            now,
            request,
            until=waiting.until if waiting else None,
            ends=pools.end_of(pool),
        )
        or ", ".join(pools.differences(pool, request, settings))
        or why_not_usable(kube, request, pools.placement_of(pool), {NODE_LABEL: str(pool.name)})
    )
    if problem:
        log.event(_LOGGER, "kept-pool-not-taken", pool=pool.name, reason=problem)
    return not problem


def _try_to_take(arm: Arm, pool: AgentPool, request: NodeRequest) -> bool:
    """Take the pool; returns whether Azure accepted the request."""
    try:
        arm.update(pool, pools.taken_by_run(pool, request))
    except (PermanentError, CapacityError) as error:
        log.warn(_LOGGER, "cannot-take-kept-pool", pool=pool.name, reason=error)
        return False
    log.event(_LOGGER, "took-kept-pool", pool=pool.name)
    return True


def _state_problem(pool: AgentPool) -> str:
    """Say why no run can take the pool. Raises Busy while its tags are being changed."""
    state = str(pool.provisioning_state)
    if state == "Updating":
        raise Busy(f"agent pool {pool.name} is being updated")
    return "" if state == "Succeeded" else f"it is {state}"


def _order(pool: AgentPool, request: NodeRequest) -> tuple[int, str]:
    """Sort key: the order of the alternatives, then the name."""
    found = pools.comparison_key(pools.placement_of(pool))
    wanted: list[Placement] = list(placements(request))
    return [pools.comparison_key(each) for each in wanted].index(found), str(pool.name)
