"""The way from a claim to a node whose GPUs can be allocated, placement by placement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.errors import CapacityError, PermanentError, StepError, TransientError
from argotune.steps.nodes.alternatives import place
from argotune.steps.nodes.fit import Object
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.karpenter.refusals import refusal_of
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import Node, NodeRequest, Placement
from argotune.steps.nodes.ready import made_node, wait_for_gpus
from argotune.steps.nodes.waiting import Phase, Stage, Waiting

_LOGGER = logging.getLogger(__name__)
_FAILURES = (CapacityError, PermanentError, TransientError)
"""A step that is stopped is not among them: its next try continues with the claim, or release ends
it."""
_EVENT_SECONDS = 5.0
"""An event may arrive this much later than the change that it reports."""

Now = Callable[[], datetime]
T = TypeVar("T")


class Launch:
    """The node of one run, made by the run's only claim."""

    def __init__(
        self,
        kube: Kube,
        request: NodeRequest,
        node_class: NodeClass,
        waiting: Waiting,
        *,
        now: Now,
        claim: str | None = None,
    ) -> None:
        self._kube = kube
        self._request = replace(request, node=claim or request.node)
        self._node_class = node_class
        self._waiting = waiting
        self._now = now
        self._name = claims.name_of(self._request)

    def node(self) -> Node:
        """Return the node of the first placement that gives one.

        A claim that an earlier try of the step made is continued.
        """
        found = self._earlier_claim()
        first = None
        if found is not None and not claims.is_going(found):
            first = claims.placement_of(found)
            log.event(_LOGGER, "found-claim", name=self._name, placement=first)
        return place(self._request, self._attempt, self._waiting, first=first)

    def _earlier_claim(self) -> Object | None:
        found = self._kube.node_claim(self._name)
        if found is not None and claims.run_of(found) != self._request.run:
            owner = claims.run_of(found)
            raise PermanentError(
                f"NodeClaim {self._name} belongs to {f'run {owner}' if owner else 'no run'}, and "
                "this run would have one of the same name; submit the run again"
            )
        return found

    def _attempt(self, placement: Placement) -> Node:
        launching = self._waiting.phase(
            "Karpenter launched no machine (launch-timeout-seconds)",
            self._request.launch_timeout_seconds,
        )
        uid = self._have_claim(placement, launching)
        try:
            return self._node_of(uid, placement, launching)
        except _FAILURES:
            self._give_up()
            raise

    def _have_claim(self, placement: Placement, phase: Phase) -> str:
        """Return the UID of the run's claim for this placement, found or created.

        A claim for another placement is deleted first, because a claim cannot be changed.
        """
        while True:
            found = _patiently(lambda: self._kube.node_claim(self._name), phase)
            if found is None:
                found = _patiently(lambda: self._create(placement), phase)
                if found is None:
                    continue
                log.event(_LOGGER, "asked-for-node", claim=self._name, placement=placement)
            if not claims.is_going(found):
                fits = claims.placement_of(found) == placement
                if fits and not self._has_lost_its_node(found):
                    return str(found["metadata"]["uid"])
                _patiently(lambda: self._kube.delete_node_claim(self._name), phase)
            phase.wait(f"the {claims.text_of(found)} is still being deleted")

    def _create(self, placement: Placement) -> dict[str, Any] | None:
        manifest = claims.manifest(self._request, placement, self._node_class, self._now())
        return self._kube.create_node_claim(manifest)

    def _has_lost_its_node(self, claim: Object) -> bool:
        """Whether its node existed and does so no longer; Karpenter deletes such a claim later."""
        if not claims.is_true(claim, "Registered"):
            return False
        try:
            return not self._kube.nodes(f"{NODE_LABEL}={self._name}")
        except TransientError:
            return False

    def _node_of(self, uid: str, placement: Placement, launching: Phase) -> Node:
        watch = _Watch(self._kube, self._name, uid, self._node_class, self._waiting)
        self._waiting.reach(Stage.ASKED)
        started = self._waiting.clock.now()
        watch.wait_for("Launched", launching)
        self._waiting.reach(Stage.MADE)
        left = self._request.launch_timeout_seconds - (self._waiting.clock.now() - started)
        joining = self._waiting.phase(
            "the machine did not join the cluster (launch-timeout-seconds)", left
        )
        claim = watch.wait_for("Registered", joining)
        self._waiting.reach(Stage.JOINED)
        node = wait_for_gpus(
            self._kube,
            self._request,
            placement,
            {NODE_LABEL: self._name},
            self._waiting,
            before_look=watch.check,
        )
        return made_node(node, self._request, placement, since=claims.since_of(claim))

    def _give_up(self) -> None:
        try:
            self._kube.delete_node_claim(self._name)
        except (PermanentError, TransientError) as error:
            log.warn(_LOGGER, "cannot-delete-claim", claim=self._name, reason=error)


class _Watch:
    """One claim until it has its node; its deletion is a failure with a reason."""

    def __init__(
        self, kube: Kube, name: str, uid: str, node_class: NodeClass, waiting: Waiting
    ) -> None:
        self._kube = kube
        self._name = name
        self._uid = uid
        self._node_class = node_class
        self._waiting = waiting
        self._was_launched = False
        self._seen = ""
        """The last reason in the conditions."""

    def wait_for(self, condition: str, phase: Phase) -> Object:
        """The claim when the condition is met."""
        claim = self._look(phase)
        silence = "Karpenter has just been asked"
        while not claims.is_true(claim, condition):
            phase.wait(claims.reason_of(claim) or silence)
            claim = self._look(phase)
            silence = self._silence(claim)
        return claim

    def check(self) -> None:
        """Raise the reason when the claim is deleted or has failed.

        An unreachable API server is no reason.
        """
        try:
            self._judge(self._kube.node_claim(self._name))
        except TransientError as error:
            log.warn(_LOGGER, "cannot-see-claim", claim=self._name, reason=error)

    def _look(self, phase: Phase) -> Object:
        return self._judge(_patiently(lambda: self._kube.node_claim(self._name), phase))

    def _judge(self, claim: Object | None) -> Object:
        if claim is None or claim["metadata"]["uid"] != self._uid or claims.is_going(claim):
            raise self._refusal(is_gone=True)
        self._was_launched = self._was_launched or claims.is_true(claim, "Launched")
        self._seen = claims.reason_of(claim) or self._seen
        if claims.failed_condition(claim):
            raise self._refusal(is_gone=False)
        return claim

    def _refusal(self, *, is_gone: bool) -> StepError:
        warnings = self._warnings()
        if not warnings:
            self._waiting.sleep(
                "Karpenter deleted the claim; looking for its reason", _EVENT_SECONDS
            )
            warnings = self._warnings()
        return refusal_of(
            warnings,
            seen=self._seen,
            is_gone=is_gone,
            was_launched=self._was_launched,
            node_class=self._node_class,
        )

    def _warnings(self) -> Sequence[str]:
        try:
            return self._kube.warnings_about(self._uid)
        except (PermanentError, TransientError) as error:
            log.warn(_LOGGER, "cannot-see-events", claim=self._name, reason=error)
            return ()

    def _silence(self, claim: Object) -> str:
        """Explain a claim that has no condition with a reason."""
        if (claim.get("status") or {}).get("conditions"):
            return "Karpenter is working on it"
        return (
            "nothing handles the claim: is Karpenter running, and does it make nodes of "
            f"{self._node_class.kind} ({self._node_class.group})?"
        )


def _patiently(call: Callable[[], T], phase: Phase) -> T:
    """Repeat a call until the API server answers it."""
    while True:
        try:
            return call()
        except TransientError as error:
            phase.wait(str(error))
