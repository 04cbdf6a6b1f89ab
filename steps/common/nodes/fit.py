"""Whether a node of a cluster fits a run, and what it lacks. Pure: objects in, reasons out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steps.common.nodes.provider import NodeRequest
from steps.common.scheduling import GPU_RESOURCE, tolerated

Object = Mapping[str, Any]

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
GPU_PRODUCT = "nvidia.com/gpu.product"
"""Labels of NVIDIA's GPU feature discovery, which the GPU operator brings."""
_GPU_MEMORY = "nvidia.com/gpu.memory"
_MIB_BYTES = 1024 * 1024
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_CONDITION_TAINTS = "node.kubernetes.io/"
"""Taints of this prefix repeat what the node's conditions and `unschedulable` say."""


def problems_of(node: Object, pods: Sequence[Object], request: NodeRequest) -> list[str]:
    """What the node lacks, one text each; none when it fits."""
    return [
        *_state_problems(node),
        *_taint_problems(node),
        *_instance_type_problems(node, request),
        *(_gpu_problems(node, pods, request) if request.gpus else ()),
    ]


def free_gpus(node: Object, pods: Sequence[Object]) -> int:
    """Allocatable GPUs less those that pods on the node ask for."""
    return _count(node, "allocatable") - sum(gpus_of(pod) for pod in _on(node, pods))


def gpus_of(pod: Object) -> int:
    """GPUs that a pod takes: its containers together, or its largest init container."""
    spec = pod["spec"]
    containers = [_requested(container) for container in spec.get("containers") or []]
    init = [_requested(container) for container in spec.get("initContainers") or []]
    return max(sum(containers), *init, 0)


def gpu_name(node: Object) -> str:
    """The GPU's model where the node says it."""
    labels = _labels(node)
    return str(labels.get(GPU_PRODUCT) or f"GPU ({labels.get(INSTANCE_TYPE, 'model unknown')})")


def _state_problems(node: Object) -> Iterator[str]:
    conditions = {item["type"]: item for item in node["status"].get("conditions") or []}
    ready = conditions.get("Ready", {"status": "Unknown"})
    if ready["status"] != "True":
        yield f"not Ready ({ready.get('message') or ready.get('reason') or 'no report'})"
    yield from (
        pressure
        for pressure in _PRESSURES
        if conditions.get(pressure, {"status": "False"})["status"] == "True"
    )
    if node["metadata"].get("deletionTimestamp"):
        yield "being deleted"
    if node["spec"].get("unschedulable"):
        yield "cordoned"


def _taint_problems(node: Object) -> Iterator[str]:
    for taint in node["spec"].get("taints") or []:
        if not taint["key"].startswith(_CONDITION_TAINTS) and not tolerated(taint):
            value = f"={taint['value']}" if taint.get("value") else ""
            yield f"taint {taint['key']}{value}:{taint['effect']} is not tolerated"


def _instance_type_problems(node: Object, request: NodeRequest) -> Iterator[str]:
    """A node without the label is a machine of one's own: the labels chose it."""
    found = _labels(node).get(INSTANCE_TYPE)
    if request.instance_type and found and found != request.instance_type:
        yield f"instance type {found}, not {request.instance_type}"


def _gpu_problems(node: Object, pods: Sequence[Object], request: NodeRequest) -> Iterator[str]:
    capacity, allocatable = _count(node, "capacity"), _count(node, "allocatable")
    if capacity == 0:
        yield (
            f"no {GPU_RESOURCE}: it has no GPU, or no device plugin (install NVIDIA's "
            "k8s-device-plugin or the GPU operator)"
        )
        return
    if capacity < request.gpus:
        yield f"{capacity} GPU(s), {request.gpus} needed"
    elif allocatable < request.gpus:
        yield f"{allocatable} of {capacity} GPU(s) healthy, {request.gpus} needed"
    elif (free := free_gpus(node, pods)) < request.gpus:
        takers = [_name(pod) for pod in _on(node, pods) if gpus_of(pod)]
        yield f"{free} of {allocatable} GPU(s) free, taken by {', '.join(takers)}"
    memory_gb = _gpu_memory_gb(node)
    if memory_gb is not None and memory_gb < request.gpu_memory_gb:
        yield f"{memory_gb:.1f} GB of GPU memory, {request.gpu_memory_gb:.1f} GB needed"


def _gpu_memory_gb(node: Object) -> float | None:
    text = str(_labels(node).get(_GPU_MEMORY, ""))
    return int(text) * _MIB_BYTES / 1e9 if text.isdigit() else None


def _on(node: Object, pods: Sequence[Object]) -> list[Object]:
    name = node["metadata"]["name"]
    return [pod for pod in pods if pod["spec"].get("nodeName") == name]


def _requested(container: Object) -> int:
    resources = container.get("resources") or {}
    # Of extended resources the API server copies limits to requests.
    return int((resources.get("requests") or {}).get(GPU_RESOURCE, 0))


def _count(node: Object, which: str) -> int:
    return int((node["status"].get(which) or {}).get(GPU_RESOURCE, 0))


def _labels(node: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    return labels


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
