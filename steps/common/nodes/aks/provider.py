"""Provider aks: an agent pool of the run's own in an AKS cluster."""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Callable, Sequence

from azure.mgmt.containerservice.models import AgentPool

from steps.common import log
from steps.common.clock import REAL_CLOCK, Clock
from steps.common.errors import PermanentError, TransientError
from steps.common.kube import Kube
from steps.common.nodes.aks.arm import Arm
from steps.common.nodes.aks.make import PoolMaker
from steps.common.nodes.aks.pool import expiry_of, gone, owner_of, placement_of, pool_name
from steps.common.nodes.aks.preflight import Forecast, Preflight
from steps.common.nodes.aks.remove import LOOKS_TO_BE_SURE, remove_pool
from steps.common.nodes.alternatives import place, placements
from steps.common.nodes.errors import Busy, PlacementRefused
from steps.common.nodes.provider import Gone, Node, NodeRequest, RunIsAlive, Settings, Stray
from steps.common.nodes.waiting import Waiting
from steps.common.progress import Progress

_LOGGER = logging.getLogger(__name__)
_REGION_LABEL = "topology.kubernetes.io/region"


class AksProvider:
    """Agent pools of one cluster; each belongs to one run."""

    def __init__(
        self,
        settings: Settings,
        *,
        arm: Callable[[], Arm],
        kube: Callable[[], Kube],
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self._settings = settings
        self._arm = arm
        self._kube = kube
        self._clock = clock

    def provision(self, request: NodeRequest, progress: Progress) -> Node:
        """The node of the first alternative that gives one; a pool that an earlier try of this
        step asked for is gone on with."""
        waiting = Waiting(request.timeout_seconds, clock=self._clock, progress=progress)
        arm, kube = self._arm(), self._kube()
        maker = PoolMaker(
            arm=arm,
            kube=kube,
            request=request,
            settings=self._settings,
            waiting=waiting,
            preflight=functools.cache(lambda: self._preflight(arm, kube)),
        )
        return place(request, maker.attempt, waiting, first=maker.running())

    def release(self, run: str, *, timeout_seconds: float, progress: Progress) -> Sequence[Gone]:
        """Delete the run's pool and wait until it is gone, with what it cost."""
        waiting = Waiting(timeout_seconds, clock=self._clock, progress=progress)
        name = pool_name(run)
        phase = waiting.phase(f"agent pool {name} is still there", timeout_seconds)
        try:
            pool = remove_pool(self._arm(), name, phase, run=run, looks=LOOKS_TO_BE_SURE)
        except PlacementRefused as error:
            raise TransientError(str(error)) from error
        return () if pool is None else (gone(pool, self._clock.wall()),)

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool) -> Sequence[Stray]:
        """Ask for the deletion of every pool whose run is no more or whose time is over."""
        arm = self._arm()
        found = [(pool, self._why_stray(pool, is_alive)) for pool in arm.pools()]
        return [
            self._collected(arm, pool, reason, dry_run=dry_run) for pool, reason in found if reason
        ]

    def forecasts(self, request: NodeRequest) -> Sequence[Forecast]:
        """What quotas and SKUs say of every alternative, before anything is asked for; empty
        where the region is not known."""
        preflight = self._preflight(self._arm(), self._kube())
        if preflight is None:
            return ()
        return [preflight.forecast(placement) for placement in placements(request)]

    def _why_stray(self, pool: AgentPool, is_alive: RunIsAlive) -> str:
        """Why a pool should not be there; empty for other people's pools and for those that are
        used or on their way out."""
        owner, expiry = owner_of(pool), expiry_of(pool)
        if owner is None or pool.provisioning_state == "Deleting":
            return ""
        now = datetime.datetime.fromtimestamp(self._clock.wall(), datetime.UTC)
        if expiry is not None and expiry < now:
            return f"its time was over at {expiry:%Y-%m-%d %H:%M} UTC"
        if not is_alive(owner.run, owner.namespace, owner.workflow):
            return "its run is no more"
        return ""

    def _collected(self, arm: Arm, pool: AgentPool, reason: str, *, dry_run: bool) -> Stray:
        owner, name = owner_of(pool), str(pool.name)
        if not dry_run:
            try:
                arm.delete(name)
            except Busy as error:
                log.warn(_LOGGER, "later", pool=name, reason=error)
                reason, dry_run = f"{reason}; not now: {error}", True
        return Stray(
            what=f"agent pool {name} ({placement_of(pool)})",
            run=owner.run if owner else "",
            reason=reason,
            gone=not dry_run,
        )

    def _preflight(self, arm: Arm, kube: Kube) -> Preflight | None:
        location = self._settings.aks_location or _region(kube)
        if not location:
            log.warn(_LOGGER, "no-preflight", reason="no node says its region; --aks-location does")
            return None
        return Preflight(arm, location)


def _region(kube: Kube) -> str:
    """The region that the cluster's nodes are in."""
    try:
        nodes = kube.nodes(_REGION_LABEL)
    except (PermanentError, TransientError) as error:
        log.warn(_LOGGER, "no-preflight", reason=error)
        return ""
    return next((str(node["metadata"]["labels"][_REGION_LABEL]) for node in nodes), "")
