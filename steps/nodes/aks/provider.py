"""Provider aks: an agent pool of the run's own in an AKS cluster."""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from azure.mgmt.containerservice.models import AgentPool

from argotune.steps.cluster.kube import Kube
from argotune.steps.cluster.kube import connect as connect_to_kubernetes
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.aks.arm import Arm
from argotune.steps.nodes.aks.connect import connect
from argotune.steps.nodes.aks.keep import leave_pools, take_pool
from argotune.steps.nodes.aks.make import PoolMaker
from argotune.steps.nodes.aks.pool import (
    expiry_of,
    kept_node,
    owner_of,
    released_node,
    text_of,
    waiting_of,
)
from argotune.steps.nodes.aks.preflight import Preflight
from argotune.steps.nodes.aks.remove import remove_pools
from argotune.steps.nodes.aks.settings import AksSettings
from argotune.steps.nodes.alternatives import place
from argotune.steps.nodes.errors import Busy, PlacementRefused
from argotune.steps.nodes.keeping import KEEP_SECONDS
from argotune.steps.nodes.provider import (
    KeptNode,
    Node,
    NodeRequest,
    OnWait,
    ReleasedNode,
    RunIsAlive,
    Stray,
    ignore_wait,
)
from argotune.steps.nodes.waiting import Waiting

_LOGGER = logging.getLogger(__name__)
_TIME = "%Y-%m-%d %H:%M UTC"
_REGION_LABEL = "topology.kubernetes.io/region"


class AksProvider:
    """Agent pools of one cluster; each belongs to one run."""

    def __init__(
        self,
        settings: AksSettings,
        *,
        arm: Callable[[], Arm],
        kube: Callable[[], Kube],
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self._settings = settings
        self._arm = arm
        self._kube = kube
        self._clock = clock

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        """Return the node of the first alternative that gives one.

        A pool that an earlier try of this step made is continued, and one that an earlier run of
        the workspace left is taken. Raises CapacityError, PermanentError or TransientError.
        """
        waiting = Waiting(
            request.timeout_seconds, clock=self._clock, progress=progress, on_wait=on_wait
        )
        arm, kube = self._arm(), self._kube()
        busy = waiting.phase("AKS accepted no request", request.timeout_seconds)
        name = take_pool(arm, kube, request, self._settings, busy, self._now)
        maker = PoolMaker(
            arm=arm,
            kube=kube,
            request=replace(request, node=name or request.node),
            settings=self._settings,
            waiting=waiting,
            preflight=functools.cache(lambda: self._preflight(arm, kube)),
        )
        return place(request, maker.attempt, waiting, first=maker.running())

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        """Delete the run's pool, wait until it is gone, and return what it cost."""
        waiting = Waiting(timeout_seconds, clock=self._clock, progress=progress)
        phase = waiting.phase("the run's agent pool still exists", timeout_seconds)
        try:
            removed = remove_pools(self._arm(), run, phase)
        except PlacementRefused as error:
            raise TransientError(str(error)) from error
        return [released_node(pool, self._clock.wall()) for pool in removed]

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        """Leave the run's pool to the next run of its workspace, if its node is Ready."""
        waiting = Waiting(KEEP_SECONDS, clock=self._clock, progress=progress)
        phase = waiting.phase("AKS accepted no request", KEEP_SECONDS)
        left = leave_pools(self._arm(), self._kube(), run, seconds, phase, self._now)
        return _kept(left)

    def kept_nodes(self) -> Sequence[KeptNode]:
        """List the pools that wait for the next run of their workspace."""
        return [each for each in _kept(self._arm().pools()) if each.until > self._now()]

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Request the deletion of every stray pool and return them.

        A pool is stray when its run has ended, when its time is over, or when it was kept long
        enough.
        """
        arm = self._arm()
        found = [(pool, self._why_stray(pool, is_alive, kept_of)) for pool in arm.pools()]
        return [
            self._collect(arm, pool, reason, dry_run=dry_run) for pool, reason in found if reason
        ]

    def _why_stray(self, pool: AgentPool, is_alive: RunIsAlive, kept_of: str) -> str:
        """Say why a pool is stray.

        Returns an empty text for pools that argotune did not make, that are in use, or that are
        being deleted.
        """
        if pool.provisioning_state == "Deleting":
            return ""
        owner, expiry, now = owner_of(pool), expiry_of(pool), self._now()
        if waiting := waiting_of(pool):
            until = waiting.until
            if until is not None and until > now and waiting.namespace != kept_of:
                return ""
            said = "it was kept" if until is None else f"it was kept until {until:{_TIME}}"
            return f"{said} for {waiting.namespace}/{waiting.workspace}"
        if owner is None:
            return ""
        if expiry is not None and expiry < now:
            return f"its time ended at {expiry:{_TIME}}"
        if not is_alive(owner.run, owner.namespace, owner.workflow):
            return "its run has ended"
        return ""

    def _collect(self, arm: Arm, pool: AgentPool, reason: str, *, dry_run: bool) -> Stray:
        owner = owner_of(pool) or waiting_of(pool)
        name = str(pool.name)
        if not dry_run:
            try:
                arm.delete(name)
            except Busy as error:
                log.warn(_LOGGER, "later", pool=name, reason=error)
                reason, dry_run = f"{reason}; not now: {error}", True
        return Stray(
            what=text_of(pool),
            run=owner.run if owner else "",
            reason=reason,
            gone=not dry_run,
        )

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._clock.wall(), datetime.UTC)

    def _preflight(self, arm: Arm, kube: Kube) -> Preflight | None:
        location = self._settings.aks_location or _region(kube)
        if not location:
            log.warn(
                _LOGGER,
                "no-preflight",
                reason="no node has a label with its region; set --aks-location",
            )
            return None
        preflight = Preflight(arm, location)
        for reason in preflight.unseen:
            log.warn(_LOGGER, "not-all-of-preflight", reason=reason)
        return preflight


def _kept(pools: Iterable[AgentPool]) -> list[KeptNode]:
    return [found for found in map(kept_node, pools) if found is not None]


def _region(kube: Kube) -> str:
    """Read the region of the cluster's nodes."""
    try:
        nodes = kube.nodes(_REGION_LABEL)
    except (PermanentError, TransientError) as error:
        log.warn(_LOGGER, "no-preflight", reason=error)
        return ""
    return next((str(node["metadata"]["labels"][_REGION_LABEL]) for node in nodes), "")


def provider(settings: AksSettings) -> AksProvider:
    """Return the provider for the settings' cluster, with this environment's identity."""
    return AksProvider(settings, arm=lambda: connect(settings), kube=connect_to_kubernetes)
