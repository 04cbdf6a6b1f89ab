"""Provider existing: nodes that the cluster has, by labels; waits until one has its GPUs free."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from steps.common import log
from steps.common.clock import REAL_CLOCK, Clock
from steps.common.errors import CapacityError, TransientError
from steps.common.kube import ApiRefusal, Kube, Object, connect
from steps.common.nodes.fit import GPU_PRODUCT, INSTANCE_TYPE, free_gpus, gpu_name, problems_of
from steps.common.nodes.provider import Node, NodeRequest
from steps.common.progress import Progress

_LOGGER = logging.getLogger(__name__)
_LOOK_SECONDS = 10.0
_MOST_NODES = 10


class ExistingProvider:
    """Looks for a node, makes none, and so has nothing to give back."""

    def __init__(self, connect: Callable[[], Kube] = connect, clock: Clock = REAL_CLOCK) -> None:
        self._connect = connect
        self._clock = clock

    def provision(self, request: NodeRequest, progress: Progress) -> Node:
        """The node with the fewest free GPUs that fits, so that large ones stay for large runs.

        Raises CapacityError at the deadline, with what every node lacks.
        """
        kube = self._connect()
        start, reason = self._clock.now(), ""
        while True:
            node, found = _look(kube, request)
            if node is not None:
                progress.update(1, 1)
                return node
            if found != reason:
                log.event(_LOGGER, "waiting", reason=found)
                reason = found
            waited = self._clock.now() - start
            left = request.timeout_seconds - waited
            if left <= 0:
                raise CapacityError(f"no node fits after {waited:.0f} s: {reason}")
            progress.update(int(waited), int(request.timeout_seconds) + 1)
            self._clock.sleep(min(_LOOK_SECONDS, left))

    def release(self, run: str) -> str:
        """Nothing: the nodes were there before."""
        return "nothing"


def provider() -> ExistingProvider:
    """The provider for the cluster of this pod, or of the kubeconfig."""
    return ExistingProvider()


def _look(kube: Kube, request: NodeRequest) -> tuple[Node | None, str]:
    """A node that fits, or why none does; an API server that is away is one reason of them."""
    try:
        nodes = kube.nodes(",".join(f"{key}={value}" for key, value in request.labels.items()))
        pods = _pods(kube) if request.gpus else []
    except TransientError as error:
        return None, str(error)
    if not nodes:
        labels = ", ".join(f"{key}={value}" for key, value in request.labels.items())
        return None, f"no node has the labels {labels}" if labels else "the cluster has no node"
    problems = {node["metadata"]["name"]: problems_of(node, pods, request) for node in nodes}
    fitting = [node for node in nodes if not problems[node["metadata"]["name"]]]
    if not fitting:
        return None, _listed(problems)
    best = min(fitting, key=lambda node: (free_gpus(node, pods), node["metadata"]["name"]))
    return _node(best, request), ""


def _pods(kube: Kube) -> Sequence[Object]:
    """Who takes GPUs. Without the right to list pods the scheduler alone finds out."""
    try:
        return kube.pods_on_nodes()
    except ApiRefusal as error:
        if error.status != 403:
            raise
        log.warn(_LOGGER, "cannot-see-pods", reason=error)
        return []


def _listed(problems: dict[str, list[str]]) -> str:
    """Node by node; the first ones stand for a large cluster."""
    texts = [f"{name}: {', '.join(found)}" for name, found in sorted(problems.items())]
    more = len(texts) - _MOST_NODES
    return "; ".join(texts[:_MOST_NODES]) + (f"; and {more} more nodes" if more > 0 else "")


def _node(node: Object, request: NodeRequest) -> Node:
    """The selector names the kind of node, not the node: another run may be faster to take this
    one's GPU, and the scheduler then finds an equal one."""
    labels = node["metadata"].get("labels") or {}
    kind = (INSTANCE_TYPE, GPU_PRODUCT) if request.gpus else ()
    selector = {**request.labels, **{key: labels[key] for key in kind if key in labels}}
    accelerator = f"{request.gpus} x {gpu_name(node)}" if request.gpus else "cpu"
    return Node(name=node["metadata"]["name"], accelerator=accelerator, selector=selector)
