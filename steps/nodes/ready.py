"""When a made node can be used: the same test for every provider.

It is Ready, not being deleted, without a taint that argotune's pods do not tolerate, and its GPUs
are allocatable on two looks ten seconds apart: a kubelet that restarts shows them, removes them and
shows them again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.driver import driver_problem
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.fit import (
    Object,
    device_plugins,
    driver_of,
    gpu_count,
    gpu_name,
    problems_of,
    state_problems,
    tolerations_for,
)
from argotune.steps.nodes.labels import NODE_LABEL, WORKFLOW_POD_LABEL
from argotune.steps.nodes.provider import Node, NodeRequest, Placement
from argotune.steps.nodes.waiting import Phase, Waiting

_LOGGER = logging.getLogger(__name__)
_LOOKS = 2


def wait_for_node(kube: Kube, labels: Mapping[str, str], phase: Phase) -> Object:
    """Wait until the node with these labels is Ready, and return it.

    Raises PlacementRefused at the phase's deadline.
    """
    while True:
        node, reason = _look_for_node(kube, labels)
        if node is not None:
            return node
        phase.wait(reason)


def wait_for_gpus(
    kube: Kube,
    request: NodeRequest,
    placement: Placement,
    labels: Mapping[str, str],
    waiting: Waiting,
    *,
    before_look: Callable[[], None] = lambda: None,
) -> Object:
    """Wait until the node's GPUs can be allocated on two looks, and return the node.

    `before_look` may raise an error that ends the wait earlier, such as that of a deleted node.
    Raises PlacementRefused at the deadline of the request's GPU phase and for a driver that is too
    old for the images, and PermanentError where the device plugin is missing, because every other
    node would lack it too.
    """
    wanted = replace(request, instance_types=(placement.instance_type,), labels={})
    phase = waiting.phase("no usable GPU (gpu-timeout-seconds)", request.gpu_timeout_seconds)
    good_looks = 0
    while True:
        before_look()
        node, reason, lacks_plugin = _look_for_gpus(kube, wanted, labels)
        good_looks = good_looks + 1 if node is not None else 0
        if node is not None and good_looks >= _LOOKS:
            return node
        try:
            phase.wait(reason or "the GPUs are allocatable; looking once more")
        except PlacementRefused as error:
            if lacks_plugin:
                raise PermanentError(str(error)) from error
            raise


def made_node(
    node: Object, request: NodeRequest, placement: Placement, *, since: datetime | None
) -> Node:
    """What the pods of a run must know of a node that was made for it."""
    labels = node["metadata"]["labels"]
    return Node(
        name=node["metadata"]["name"],
        accelerator=f"{request.gpus} x {gpu_name(node)}",
        driver=driver_of(node),
        selector={NODE_LABEL: labels[NODE_LABEL]},
        tolerations=tolerations_for(node),
        placement=placement,
        price_usd_per_hour=request.prices_usd_per_hour.get(placement.instance_type),
        since=since,
    )


def why_not_ready(kube: Kube, labels: Mapping[str, str]) -> str:
    """Say why no node with these labels is Ready now; empty where one is."""
    return _look_for_node(kube, labels)[1]


def why_not_usable(
    kube: Kube, request: NodeRequest, placement: Placement, labels: Mapping[str, str]
) -> str:
    """Say why the GPUs of no node with these labels can be allocated; empty where one's can."""
    wanted = replace(request, instance_types=(placement.instance_type,), labels={})
    try:
        return _look_for_gpus(kube, wanted, labels)[1]
    except PlacementRefused as error:
        return str(error)


def pods_of_others(kube: Kube, request: NodeRequest) -> Sequence[Object] | None:
    """List the pods on nodes, without those of the run that asks.

    That run's pods end before tune begins, or are tune itself, which takes the GPU of a lost node's
    successor at once. Returns None without the right to list pods.
    """
    pods = pods_or_none(kube)
    return None if pods is None else [pod for pod in pods if not _is_of_run(pod, request)]


def pods_or_none(kube: Kube) -> Sequence[Object] | None:
    """List the pods on nodes; None without the right to list them."""
    try:
        return kube.pods_on_nodes()
    except ApiRefusal as error:
        if error.status != 403:
            raise
        log.warn(_LOGGER, "cannot-see-pods", reason=error)
        return None


def _look_for_node(kube: Kube, labels: Mapping[str, str]) -> tuple[Object | None, str]:
    try:
        nodes = kube.nodes(selector_text(labels))
    except TransientError as error:
        return None, str(error)
    reasons = []
    for node in nodes:
        problems = list(state_problems(node))
        if not problems:
            return node, ""
        reasons.append(f"{node['metadata']['name']}: {', '.join(problems)}")
    return None, "; ".join(reasons) or f"no node with the label {selector_text(labels)} yet"


def _look_for_gpus(
    kube: Kube, wanted: NodeRequest, labels: Mapping[str, str]
) -> tuple[Object | None, str, bool]:
    """Return the node, or why it is not usable, and whether the device plugin is missing.

    Raises PlacementRefused for a driver that is too old: waiting brings no other.
    """
    try:
        nodes = kube.nodes(selector_text(labels))
        pods = pods_of_others(kube, wanted)
    except TransientError as error:
        return None, str(error), False
    reasons, lacks_plugin = [], False
    for node in nodes:
        if old := driver_problem(driver_of(node)):
            raise PlacementRefused(f"{node['metadata']['name']}: {old}", alike=("instance_type",))
        problems = problems_of(node, pods or [], wanted)
        if not problems:
            return node, "", False
        reasons.append(f"{node['metadata']['name']}: {', '.join(problems)}")
        no_gpu = gpu_count(node, "capacity") == 0 and bool(wanted.gpus)
        lacks_plugin = no_gpu and pods is not None and not device_plugins(node, pods)
    return (
        None,
        "; ".join(reasons) or f"the node with {selector_text(labels)} was deleted",
        lacks_plugin,
    )


def _is_of_run(pod: Object, request: NodeRequest) -> bool:
    """Whether a pod belongs to the run that asks."""
    metadata = pod["metadata"]
    workflow = (metadata.get("labels") or {}).get(WORKFLOW_POD_LABEL)
    return bool(request.workflow) and (metadata["namespace"], workflow) == (
        request.namespace,
        request.workflow,
    )


def selector_text(labels: Mapping[str, str]) -> str:
    """Format labels as a selector."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
