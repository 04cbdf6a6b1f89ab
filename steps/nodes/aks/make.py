"""Making the pool of a run: one at a time, found again after a lost pod, deleted on failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from azure.mgmt.containerservice.models import AgentPool

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.errors import CapacityError, PermanentError, StepError, TransientError
from argotune.steps.nodes.aks.arm import AlreadyThere, Arm, Operation
from argotune.steps.nodes.aks.classify import refusal_of
from argotune.steps.nodes.aks.fault import Fault, fault_of
from argotune.steps.nodes.aks.pool import (
    comparison_key,
    is_of,
    name_of,
    owner_of,
    placement_of,
    pool_body,
    since_of,
)
from argotune.steps.nodes.aks.preflight import Preflight
from argotune.steps.nodes.aks.refusals import BootstrapFailed
from argotune.steps.nodes.aks.remove import remove_pool
from argotune.steps.nodes.aks.settings import AksSettings
from argotune.steps.nodes.alternatives import placements
from argotune.steps.nodes.errors import Busy, PlacementRefused
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import Node, NodeRequest, Placement
from argotune.steps.nodes.ready import made_node, selector_text, wait_for_gpus, wait_for_node
from argotune.steps.nodes.waiting import LOOK_SECONDS, Phase, Stage, Waiting

_LOGGER = logging.getLogger(__name__)
_BUSY_SECONDS = 30.0
_REMOVAL_SECONDS = 900.0
_LOOKS_WITHOUT_POOL = 3
_FAILED = ("Failed", "Canceled")
_LOST = (*_FAILED, "Deleting")


@dataclass(frozen=True, kw_only=True)
class PoolMaker:
    """Makes the pool of one request."""

    arm: Arm
    kube: Kube
    request: NodeRequest
    settings: AksSettings
    waiting: Waiting
    preflight: Callable[[], Preflight | None]
    """Called when the run has no pool: a failed pool would count against the run's own quota."""

    @property
    def name(self) -> str:
        """The pool's name: the same in every try of the run."""
        return name_of(self.request)

    @property
    def _labels(self) -> dict[str, str]:
        """Labels that select its node."""
        return {NODE_LABEL: self.name}

    def running(self) -> Placement | None:
        """Return the placement of the pool that an earlier try of this step made, if any."""
        busy = self._busy()
        while True:
            try:
                pool = self.arm.get(self.name)
            except Busy as error:
                busy.wait(str(error), _seconds(error))
                continue
            if pool is None or pool.provisioning_state in _LOST:
                return None
            found = comparison_key(placement_of(pool))
            return next(
                (each for each in placements(self.request) if comparison_key(each) == found), None
            )

    def attempt(self, placement: Placement) -> Node:
        """Make a node of this placement.

        On every failure the pool is deleted, or left to `release`; a step that is stopped leaves it
        to the next try.
        """
        tries = 0
        while True:
            try:
                return self._node(placement)
            except BootstrapFailed as error:
                self._give_up(error)
                tries += 1
                if tries > 1:
                    raise
            except Busy as error:
                self._give_up(error)
                self._busy().wait(str(error), _seconds(error))
            except (PlacementRefused, PermanentError) as error:
                self._give_up(error)
                raise

    def _node(self, placement: Placement) -> Node:
        operation_url = self._have_pool(placement)
        self.waiting.reach(Stage.ASKED)
        launch = self.waiting.phase(_launch_text(placement), self.request.launch_timeout_seconds)
        pool = self._wait_for_pool(placement, operation_url, launch)
        self.waiting.reach(Stage.MADE)
        wait_for_node(self.kube, self._labels, launch)
        self.waiting.reach(Stage.JOINED)
        node = wait_for_gpus(self.kube, self.request, placement, self._labels, self.waiting)
        return made_node(node, self.request, placement, since=since_of(pool))

    def _have_pool(self, placement: Placement) -> str | None:
        """Request the pool unless it exists; returns the operation's URL of a new one.

        An existing pool is never PUT again, because over a failed one AKS reports success.
        """
        busy = self._busy()
        while True:
            try:
                pool = self.arm.get(self.name)
                if pool is None:
                    return self._create(placement)
                if self._is_usable(pool, placement):
                    log.event(_LOGGER, "found", pool=self.name, state=pool.provisioning_state)
                    return None
                remove_pool(self.arm, self.name, self._removal(), run=self.request.run)
            except AlreadyThere:
                continue
            except Busy as error:
                busy.wait(str(error), _seconds(error))

    def _create(self, placement: Placement) -> str | None:
        preflight = self.preflight()
        if preflight is not None:
            preflight.check(placement)
        now_seconds = self.waiting.clock.wall()
        body = pool_body(self.request, placement, self.settings, now_seconds)
        log.event(_LOGGER, "create", pool=self.name, placement=placement)
        return self.arm.create(self.name, body, placement)

    def _is_usable(self, pool: AgentPool, placement: Placement) -> bool:
        if not is_of(pool, self.request.run):
            owner = owner_of(pool)
            raise PermanentError(
                f"agent pool {self.name} exists and was made for "
                f"{'run ' + owner.run if owner else 'no run of argotune'}; delete it, or start "
                "the run anew"
            )
        if pool.provisioning_state in _LOST or self._is_evicted(pool):
            return False
        return comparison_key(placement_of(pool)) == comparison_key(placement)

    def _is_evicted(self, pool: AgentPool) -> bool:
        """Whether the pool had its node and lost it.

        No new one comes, because autoscaling is off. AKS says Succeeded only after the node has
        joined.
        """
        if pool.provisioning_state != "Succeeded":
            return False
        try:
            return not self.kube.nodes(selector_text(self._labels))
        except TransientError:
            return False

    def _wait_for_pool(self, placement: Placement, url: str | None, launch: Phase) -> AgentPool:
        """Wait until the pool's state is Succeeded, and return the pool.

        The operation's state does not suffice: it may stay InProgress although the pool is there,
        or be Succeeded although there is none.
        """
        without_pool = 0
        while True:
            try:
                operation = self.arm.operation(url) if url else None
                pool = self.arm.get(self.name)
            except Busy as error:
                launch.wait(str(error), _seconds(error))
                continue
            if pool is not None and pool.provisioning_state == "Succeeded":
                return pool
            state = pool.provisioning_state if pool is not None else "not there"
            failure = _failure(operation, pool)
            if failure is not None:
                raise refusal_of(failure, placement)
            if state == "Deleting":
                raise PermanentError(
                    f"agent pool {self.name} is being deleted, and not by this run"
                )
            without_pool = without_pool + 1 if pool is None else 0
            if without_pool >= _LOOKS_WITHOUT_POOL:
                raise PermanentError(f"agent pool {self.name} was deleted, and not by this run")
            asked_seconds = operation.retry_after_seconds if operation is not None else None
            reason = f"agent pool {self.name} ({placement}) is {state}"
            launch.wait(reason, asked_seconds or LOOK_SECONDS)

    def _give_up(self, reason: StepError) -> None:
        """Delete the pool; one that cannot be deleted now is left to `release`."""
        log.event(_LOGGER, "give-up", pool=self.name, reason=reason)
        try:
            remove_pool(self.arm, self.name, self._removal(), run=self.request.run)
        except (CapacityError, PermanentError, TransientError) as error:
            log.warn(_LOGGER, "left-to-release", pool=self.name, reason=error)

    def _busy(self) -> Phase:
        return self.waiting.phase("AKS accepted no request", self.waiting.left_seconds)

    def _removal(self) -> Phase:
        """Begin the phase of the deletion.

        It may exceed the request's time, because a pool that stays costs money.
        """
        return self.waiting.extra_phase(f"agent pool {self.name} still exists", _REMOVAL_SECONDS)


def _failure(operation: Operation | None, pool: AgentPool | None) -> Fault | None:
    """Return the reason of the pool's failure, from the operation, or else from the pool itself."""
    if operation is not None and operation.status in _FAILED:
        return operation.fault or fault_of(f"the operation is {operation.status}")
    if pool is None or pool.provisioning_state not in _FAILED:
        return None
    detail = pool.status.provisioning_error if pool.status else None
    return fault_of(detail.as_dict() if detail else f"the pool is {pool.provisioning_state}")


def _launch_text(placement: Placement) -> str:
    hint = "; the price offered may be too low" if placement.capacity_type == "spot" else ""
    return f"no node (launch-timeout-seconds{hint})"


def _seconds(error: Busy) -> float:
    return error.retry_after_seconds or _BUSY_SECONDS
