"""Mode nodepool: no node is made here; the waiting tune pod makes Karpenter bring one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.nodes.fit import Object
from argotune.steps.nodes.karpenter.node_pools import NoOffer, Offer, offer_of
from argotune.steps.nodes.provider import Node, NodeRequest
from argotune.steps.nodes.waiting import Waiting

_LOGGER = logging.getLogger(__name__)
_WHAT = "no NodePool can make the node"


def promised_node(kube: Kube, request: NodeRequest, waiting: Waiting) -> Node:
    """Return what the pod needs so that a NodePool brings its node.

    Raises PermanentError where no NodePool can, and CapacityError where none could in time.
    """
    phase = waiting.phase(f"{_WHAT} (launch-timeout-seconds)", request.launch_timeout_seconds)
    while True:
        found = _look(kube, request)
        if isinstance(found, Offer):
            waiting.done()
            log.event(_LOGGER, "node-pool", name=found.pool, instance_type=found.instance_type)
            return _node(found, request)
        if not found.may_pass:
            raise PermanentError(f"{_WHAT}: {found.reason}")
        phase.wait(found.reason)


def _look(kube: Kube, request: NodeRequest) -> Offer | NoOffer:
    try:
        return offer_of(_pools(kube), request)
    except TransientError as error:
        return NoOffer(reason=str(error), may_pass=True)


def _pools(kube: Kube) -> Sequence[Object]:
    try:
        return kube.node_pools()
    except ApiRefusal as error:
        if error.status != 404:
            raise
        raise PermanentError(
            "the cluster has no NodePools (karpenter.sh/v1): install Karpenter 1.0 or later, or "
            "take another provider"
        ) from error


def _node(offer: Offer, request: NodeRequest) -> Node:
    kind = offer.instance_type or "model unknown"
    return Node(
        name=f"of NodePool {offer.pool}",
        accelerator=f"{request.gpus} x GPU ({kind})",
        selector=offer.selector,
        tolerations=offer.tolerations,
        price_usd_per_hour=request.prices_usd_per_hour.get(kind),
    )
