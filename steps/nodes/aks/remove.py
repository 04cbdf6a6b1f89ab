"""Deleting a pool, whatever its state, until it is gone."""

from __future__ import annotations

import logging

from azure.mgmt.containerservice.models import AgentPool

from argotune.steps.common import log
from argotune.steps.nodes.aks.arm import Arm
from argotune.steps.nodes.aks.pool import is_of
from argotune.steps.nodes.errors import Busy
from argotune.steps.nodes.waiting import Phase

_LOGGER = logging.getLogger(__name__)
_LOOK_SECONDS = 15.0
_LOOKS_TO_BE_SURE = 2
"""A request in flight when its sender was stopped may create its pool a moment later."""


def remove_pool(arm: Arm, name: str, phase: Phase, *, run: str) -> AgentPool | None:
    """Delete the pool and wait until Azure finds it no longer.

    AKS refuses to delete during another operation, such as making this very pool: the deletion is
    then requested again. Returns the pool as it last was, or None where this run had none. Raises
    PlacementRefused at the phase's deadline.
    """
    last: AgentPool | None = None
    while True:
        try:
            pool = arm.get(name)
            if pool is None or not is_of(pool, run):
                return last
            last = pool
            # A failed deletion leaves the pool in another state, and is requested again.
            if pool.provisioning_state != "Deleting":
                arm.delete(name)
                log.event(_LOGGER, "deleting", pool=name, state=pool.provisioning_state)
        except Busy as error:
            phase.wait(f"deleting agent pool {name}: {error}", _seconds(error))
        else:
            phase.wait(f"agent pool {name} is being deleted", _LOOK_SECONDS)


def remove_pools(arm: Arm, run: str, phase: Phase) -> list[AgentPool]:
    """Delete every pool of a run, wait until they are gone, and return them as they last were.

    Raises PlacementRefused at the phase's deadline.
    """
    gone: list[AgentPool] = []
    looks = _LOOKS_TO_BE_SURE
    while True:
        try:
            names = [str(pool.name) for pool in arm.pools() if is_of(pool, run)]
        except Busy as error:
            phase.wait(str(error), _seconds(error))
            continue
        for name in names:
            last = remove_pool(arm, name, phase, run=run)
            gone += [] if last is None else [last]
        if gone:
            return gone
        looks -= 1
        if looks == 0:
            return []
        phase.wait("making sure that the run has no agent pool")


def _seconds(error: Busy) -> float:
    return error.retry_after_seconds or _LOOK_SECONDS
