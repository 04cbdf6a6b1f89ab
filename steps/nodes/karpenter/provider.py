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


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KarpenterProvider:
    """Makes nodes by claims of the run's own, or lets the cluster's NodePools make them."""

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
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        """Return the run's node; in mode nodepool, one that the tune pod will bring."""
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

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        """Delete the run's claim with its node, and wait until both are gone.

        A node of a NodePool is not deleted here: Karpenter deletes it when it is empty.
        """
        waiting = Waiting(timeout_seconds, clock=self._clock, progress=progress)
        return Removal(self._connect(), run, waiting, self._now).remove()

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        """Leave the run's claim to the next run of its workspace, if its node is Ready."""
        waiting = Waiting(KEEP_SECONDS, clock=self._clock, progress=progress)
        return leave_claims(self._connect(), run, seconds, waiting, self._now)

    def kept_nodes(self) -> Sequence[KeptNode]:
        """List the claims that wait for the next run of their workspace."""
        found = [
            claims.kept_node(claim, self._now()) for claim in claims_of(self._connect(), KEPT_LABEL)
        ]
        return [each for each in found if each is not None]

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Collect claims whose run has ended, whose time is over, or that were kept long enough."""
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
    """Return the provider for the cluster of this pod, or of the kubeconfig."""
    return KarpenterProvider(settings)
