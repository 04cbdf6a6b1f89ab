"""Provider existing: waits until a node of the cluster with the right labels has its GPUs free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from argotune.steps.cluster.kube import Kube, Object, connect
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.counted import counted
from argotune.steps.common.errors import TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.fit import (
    GPU_PRODUCT,
    driver_of,
    free_gpus,
    gpu_name,
    problems_of,
    tolerations_for,
)
from argotune.steps.nodes.labels import INSTANCE_TYPE, NODE_LABEL
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
from argotune.steps.nodes.ready import pods_of_others, selector_text
from argotune.steps.nodes.waiting import Waiting

_MOST_NODES = 10


class ExistingProvider:
    """Selects a node, makes none, and so has nothing to release."""

    def __init__(self, connect: Callable[[], Kube] = connect, clock: Clock = REAL_CLOCK) -> None:
        self._connect = connect
        self._clock = clock

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        """Return the fitting node with the fewest free GPUs: large ones stay for large runs.

        Raises CapacityError at the deadline, with what every node lacks.
        """
        kube = self._connect()
        longest = request.launch_timeout_seconds + request.gpu_timeout_seconds
        timeout_seconds = min(request.timeout_seconds, longest)
        waiting = Waiting(timeout_seconds, clock=self._clock, progress=progress, on_wait=on_wait)
        phase = waiting.phase("no node fits", timeout_seconds)
        while True:
            node, reason = _look(kube, request)
            if node is not None:
                waiting.done()
                return node
            phase.wait(reason)

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        """Release nothing: the nodes are the cluster's own."""
        return ()

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        """Keep nothing: no node was made."""
        return ()

    def kept_nodes(self) -> Sequence[KeptNode]:
        """List nothing: no node was made."""
        return ()

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Collect nothing: no node was made."""
        return ()


def provider(settings: object) -> ExistingProvider:
    """Return the provider for the cluster of this pod, or of the kubeconfig."""
    return ExistingProvider()


def fits_without(
    kube: Kube, request: NodeRequest, is_gone: Callable[[Mapping[str, Any]], bool]
) -> bool:
    """Whether a node would fit if some of the pods were gone."""
    pods = [pod for pod in pods_of_others(kube, request) or [] if not is_gone(pod)]
    return any(not problems_of(node, pods, request) for node in _nodes(kube, request))


def _nodes(kube: Kube, request: NodeRequest) -> list[Object]:
    return [node for node in kube.nodes(selector_text(request.labels)) if not _is_made(node)]


def _look(kube: Kube, request: NodeRequest) -> tuple[Node | None, str]:
    """Find a node that fits, or say why none does; an unreachable API server is such a reason."""
    try:
        nodes = _nodes(kube, request)
        pods = pods_of_others(kube, request) or []
    except TransientError as error:
        return None, str(error)
    if not nodes:
        labels = ", ".join(f"{key}={value}" for key, value in request.labels.items())
        return None, f"no node has the labels {labels}" if labels else "the cluster has no node"
    problems = {node["metadata"]["name"]: problems_of(node, pods, request) for node in nodes}
    fitting = [node for node in nodes if not problems[node["metadata"]["name"]]]
    if not fitting:
        return None, _summary(problems)
    best = min(fitting, key=lambda node: (free_gpus(node, pods), node["metadata"]["name"]))
    return _node(best, request), ""


def _is_made(node: Object) -> bool:
    """Whether the node was made for a run, and will be deleted with it."""
    return NODE_LABEL in (node["metadata"].get("labels") or {})


def _summary(problems: dict[str, list[str]]) -> str:
    """Summarize the problems node by node, the first ones only for a large cluster."""
    texts = [f"{name}: {', '.join(found)}" for name, found in sorted(problems.items())]
    more = len(texts) - _MOST_NODES
    further = [f"and {counted(more, 'more node')}"] if more > 0 else []
    return "; ".join([*texts[:_MOST_NODES], *further])


def _node(node: Object, request: NodeRequest) -> Node:
    """Describe the node to the run's pods.

    The selector names the kind of node, not the node: another run may take this one's GPU first,
    and the scheduler then finds an equal one.
    """
    labels = node["metadata"].get("labels") or {}
    kind = (INSTANCE_TYPE, GPU_PRODUCT) if request.gpus else ()
    selector = {**request.labels, **{key: labels[key] for key in kind if key in labels}}
    accelerator = f"{request.gpus} x {gpu_name(node)}" if request.gpus else "cpu"
    return Node(
        name=node["metadata"]["name"],
        accelerator=accelerator,
        driver=driver_of(node),
        selector=selector,
        tolerations=tolerations_for(node),
    )
