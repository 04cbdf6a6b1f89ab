"""Leaving a claim to the next run of its workspace, and taking one that was left.

The claim's labels and annotations name its run; those of its Node stay as Karpenter wrote them when
the node joined. Every change carries the claim's resourceVersion, so that two runs never take the
same claim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from argotune.steps.cluster.errors import ApiRefusal, PermanentRefusal
from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.nodes.alternatives import placements
from argotune.steps.nodes.fit import Object
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.keeping import is_of_workspace, kept_until, time_problem
from argotune.steps.nodes.labels import KEPT_LABEL, NODE_LABEL, RUN_LABEL
from argotune.steps.nodes.provider import KeptNode, NodeRequest
from argotune.steps.nodes.ready import why_not_ready, why_not_usable
from argotune.steps.nodes.waiting import Waiting

_LOGGER = logging.getLogger(__name__)

Now = Callable[[], datetime]


def leave_claims(
    kube: Kube, run: str, seconds: float, waiting: Waiting, now: Now
) -> Sequence[KeptNode]:
    """Leave the run's claims to the next run; returns them and those that it left before.

    A claim that is too old or whose node is not Ready stays the run's. Raises PlacementRefused when
    the API server is unreachable for too long.
    """
    phase = waiting.phase("the API server accepted no request", waiting.left_seconds)
    while True:
        try:
            for claim in _claims(kube, f"{RUN_LABEL}={run}"):
                _leave(kube, claim, seconds, now())
            left = _claims(kube, f"{KEPT_LABEL}={run}")
        except TransientError as error:
            phase.wait(str(error))
        else:
            found = [claims.kept_node(claim, now()) for claim in left]
            return [each for each in found if each is not None]


def take_claim(
    kube: Kube, request: NodeRequest, node_class: NodeClass, waiting: Waiting, now: Now
) -> str | None:
    """Return the name of the run's claim: its own, or one that an earlier run left, taken now.

    An earlier run is one of the same workspace. Returns None where there is neither.
    """
    phase = waiting.phase("the API server accepted no request", request.launch_timeout_seconds)
    while True:
        try:
            own = _claims(kube, f"{RUN_LABEL}={request.run}")
            if own or request.node:
                return str(own[0]["metadata"]["name"]) if own else None
            return _take_first(kube, request, node_class, now())
        except TransientError as error:
            phase.wait(str(error))


def _leave(kube: Kube, claim: Object, seconds: float, now: datetime) -> None:
    name = claim["metadata"]["name"]
    made, ends = claims.created_at(claim), claims.end_of(claim)
    until = kept_until(now, seconds, made=made, ends=ends)
    problem = _state_problem(claim) or ("" if until else "it is too old")
    problem = problem or why_not_ready(kube, {NODE_LABEL: name})
    if problem or until is None:
        log.event(_LOGGER, "not-kept", claim=name, reason=problem)
        return
    if not kube.change_node_claim(claim, claims.left_by_run(claim, now=now, until=until)):
        raise TransientError(f"NodeClaim {name} was changed meanwhile")
    log.event(_LOGGER, "kept", claim=name, until=until)


def _take_first(
    kube: Kube, request: NodeRequest, node_class: NodeClass, now: datetime
) -> str | None:
    """Take the first claim that fits and that no other run takes; returns its name."""
    found = [
        claim
        for claim in _claims(kube, KEPT_LABEL)
        if _is_for(claim, request) and _fits(kube, claim, request, node_class, now)
    ]
    order = placements(request)
    for claim in sorted(found, key=lambda each: order.index(claims.placement_of(each))):
        name = str(claim["metadata"]["name"])
        try:
            is_taken = kube.change_node_claim(claim, claims.taken_by_run(claim, request))
        except PermanentRefusal as error:
            log.warn(_LOGGER, "cannot-take-kept-claim", claim=name, reason=error)
            continue
        log.event(_LOGGER, "took-kept-claim" if is_taken else "kept-claim-changed", claim=name)
        if is_taken:
            return name
    return None


def _is_for(claim: Object, request: NodeRequest) -> bool:
    namespace, workspace = claims.workspace_of(claim)
    return bool(claims.left_by(claim)) and is_of_workspace(
        request, namespace=namespace, workspace=workspace
    )


def _fits(
    kube: Kube, claim: Object, request: NodeRequest, node_class: NodeClass, now: datetime
) -> bool:
    name = claim["metadata"]["name"]
    until, ends = claims.kept_until(claim), claims.end_of(claim)
    problem = (
        _state_problem(claim)
        or time_problem(now, request, until=until, ends=ends)
        or ", ".join(claims.differences(claim, request, node_class))
        or why_not_usable(kube, request, claims.placement_of(claim), {NODE_LABEL: name})
    )
    if problem:
        log.event(_LOGGER, "kept-claim-not-taken", claim=name, reason=problem)
    return not problem


def _state_problem(claim: Object) -> str:
    if claims.is_going(claim):
        return "it is being deleted"
    return "" if claims.is_true(claim, "Registered") else "it has no node"


def _claims(kube: Kube, selector: str) -> Sequence[Object]:
    """List claims by labels. Raises PermanentError where the cluster has no NodeClaims."""
    try:
        return kube.node_claims(selector)
    except ApiRefusal as error:
        if error.status != 404:
            raise
        raise PermanentError(
            "the cluster has no NodeClaims (karpenter.sh/v1): install Karpenter 1.0 or later, "
            "or take another provider"
        ) from error
