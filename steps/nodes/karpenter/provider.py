"""Nodes by Karpenter's API karpenter.sh/v1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.keep import leave_claims, take_claim
from argotune.steps.nodes.karpenter.launch import Launch
from argotune.steps.nodes.karpenter.node_class import NodeClass, claim_problems, price_problem
from argotune.steps.nodes.karpenter.promise import promised_node
from argotune.steps.nodes.karpenter.remove import Now, Removal, claims_of, collect
from argotune.steps.nodes.karpenter.settings import KarpenterSettings
from argotune.steps.nodes.keeping import KEEP_SECONDS
from argotune.steps.nodes.labels import KEPT_LABEL
from argotune.steps.nodes.provider import (
    Gone,
    Kept,
    Node,
    NodeRequest,
    OnWait,
    RunIsAlive,
    Stray,
    unheard,
)
from argotune.steps.nodes.waiting import Waiting


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KarpenterProvider:
    """By claims of our own, or by the NodePools of the cluster."""

    def __init__(
        self,
        settings: KarpenterSettings,
        connect: Callable[[], Kube] = connect,
        clock: Clock = REAL_CLOCK,
        now: Now = _utc_now,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._now = now

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = unheard
    ) -> Node:
        """The run's node; in mode nodepool what makes the tune pod bring it."""
        problems = list(self._problems(request))
        if problems:
            raise ParamsError(problems)
        waiting = Waiting(
            request.timeout_seconds, clock=self._clock, progress=progress, on_wait=on_wait
        )
        if self._settings.karpenter_mode == "nodepool":
            return promised_node(self._connect(), request, waiting)
        node_class = NodeClass.parse(self._settings.karpenter_node_class)
        kube = self._connect()
        claim = take_claim(kube, request, node_class, waiting, self._now)
        return Launch(kube, request, node_class, waiting, now=self._now, claim=claim).node()

    def release(self, run: str, *, timeout_seconds: float, progress: Progress) -> Sequence[Gone]:
        """The run's claim with its node. A node that a NodePool brought is that pool's affair:
        Karpenter takes it away when it is empty."""
        waiting = Waiting(timeout_seconds, clock=self._clock, progress=progress)
        return Removal(self._connect(), run, waiting, self._now).remove()

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[Kept]:
        """Leave the run's claim to the next run of its workspace, if its node is well."""
        waiting = Waiting(KEEP_SECONDS, clock=self._clock, progress=progress)
        return leave_claims(self._connect(), run, seconds, waiting, self._now)

    def kept(self) -> Sequence[Kept]:
        """Claims that wait for the next run of their workspace."""
        found = [
            claims.kept(claim, self._now()) for claim in claims_of(self._connect(), KEPT_LABEL)
        ]
        return [each for each in found if each is not None]

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Claims whose run is no more or whose time is over, and those kept long enough."""
        return collect(self._connect(), is_alive, self._now, dry_run=dry_run, kept_of=kept_of)

    def _problems(self, request: NodeRequest) -> Iterator[str]:
        if request.gpus == 0:
            yield "--gpus: 0 with provider karpenter, which makes GPU nodes; take provider existing"
        if request.spot_max_price_usd_per_hour is not None:
            yield price_problem(request.spot_max_price_usd_per_hour)
        if self._settings.karpenter_mode == "nodeclaim":
            yield from claim_problems(
                self._settings.karpenter_node_class,
                instance_types=request.instance_types,
                disk_gib=request.disk_gib,
                capacity_types=request.capacity_types,
                zones=request.zones,
            )


def provider(settings: KarpenterSettings) -> KarpenterProvider:
    """The provider for the cluster of this pod, or of the kubeconfig."""
    return KarpenterProvider(settings)
