"""Whether a node of a cluster fits a run, and what it lacks. Pure: objects in, reasons out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from argotune.steps.cluster.scheduling import GPU_RESOURCE, is_tolerated
from argotune.steps.common.driver import driver_problem
from argotune.steps.nodes.labels import INSTANCE_TYPE
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.nodes.resources import NOTHING, Resources, requests_of, shortages

Object = Mapping[str, Any]

GPU_PRODUCT = "nvidia.com/gpu.product"
"""Labels of NVIDIA's GPU feature discovery, which the GPU operator brings."""
_GPU_MEMORY = "nvidia.com/gpu.memory"
_DRIVER = ("nvidia.com/cuda.driver-version.full", "nvidia.com/cuda.driver.major")
"""Labels of the same with the driver's version; older ones have the second alone."""
OWN_GPU_MEMORY = "argotune.dev/gpu-memory-gib"
"""Label by which an administrator gives the memory of one GPU, where nothing finds it out."""
_SIZE = re.compile(r"[1-9][0-9]{0,3}(\.[0-9]+)?")
_PLUGIN = "nvidia-device-plugin"
"""Part of the pod names of NVIDIA's chart and manifest, of the GPU operator and of Kaito's
chart."""
_GIB_BYTES = 2**30
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_CONDITION_TAINTS = "node.kubernetes.io/"
"""Taints of this prefix repeat the node's conditions and its `unschedulable`."""


def problems_of(node: Object, pods: Sequence[Object], request: NodeRequest) -> list[str]:
    """Say what the node lacks, one text each; empty when it fits."""
    return [
        *state_problems(node),
        *_taint_problems(node),
        *_instance_type_problems(node, request),
        *(_gpu_problems(node, pods, request) if request.gpus else ()),
        *_resource_problems(node, pods, request),
    ]


def free_gpus(node: Object, pods: Sequence[Object]) -> int:
    """Count the allocatable GPUs that pods on the node do not request."""
    return gpu_count(node, "allocatable") - sum(gpus_of(pod) for pod in _on(node, pods))


def gpus_of(pod: Object) -> int:
    """Count the GPUs of a pod: its containers together, or its largest init container."""
    spec = pod["spec"]
    containers = [_requested_gpus(container) for container in spec.get("containers") or []]
    init = [_requested_gpus(container) for container in spec.get("initContainers") or []]
    return max(sum(containers), *init, 0)


def gpu_count(node: Object, which: Literal["capacity", "allocatable"]) -> int:
    """Count the GPUs of a node: its capacity, or what the kubelet can allocate to pods."""
    return int((node["status"].get(which) or {}).get(GPU_RESOURCE, 0))


def is_on(pod: Object, node: Object) -> bool:
    """Whether the pod is bound to the node."""
    return bool(pod["spec"].get("nodeName") == node["metadata"]["name"])


def device_plugins(node: Object, pods: Sequence[Object]) -> list[Object]:
    """List the pods on the node that register its GPUs with the kubelet."""
    return [pod for pod in _on(node, pods) if _PLUGIN in pod["metadata"]["name"]]


def tolerations_for(node: Object) -> tuple[Mapping[str, str], ...]:
    """List the tolerations that a pod needs for the node's lasting taints."""
    return tuple(
        {"key": taint["key"], "operator": "Equal", "value": taint["value"]}
        | {"effect": taint["effect"]}
        if taint.get("value")
        else {"key": taint["key"], "operator": "Exists", "effect": taint["effect"]}
        for taint in node["spec"].get("taints") or []
        if not taint["key"].startswith(_CONDITION_TAINTS) and taint["effect"] != "PreferNoSchedule"
    )


def gpu_name(node: Object) -> str:
    """Return the GPU's model, where the node's labels contain it."""
    labels = _labels(node)
    return str(labels.get(GPU_PRODUCT) or f"GPU ({labels.get(INSTANCE_TYPE, 'model unknown')})")


def gpu_memory_gib(node: Object) -> float | None:
    """Memory of one GPU by the node's labels, GiB; None where they do not say."""
    labels = _labels(node)
    found, own = str(labels.get(_GPU_MEMORY, "")), str(labels.get(OWN_GPU_MEMORY, ""))
    if found.isdigit():
        return round(int(found) / 1024, 2)
    return float(own) if _SIZE.fullmatch(own) else None


def driver_of(node: Object) -> str | None:
    """Version of the NVIDIA driver by the node's labels; None where they do not say."""
    labels = _labels(node)
    return next((str(labels[key]) for key in _DRIVER if key in labels), None)


def not_ready(node: Object) -> str:
    """Say why the node is not Ready; empty where it is."""
    ready = _conditions(node).get("Ready", {"status": "Unknown"})
    if ready["status"] == "True":
        return ""
    return f"not Ready ({ready.get('message') or ready.get('reason') or 'no report'})"


def state_problems(node: Object) -> Iterator[str]:
    """Say why no pod would run there, whatever its needs."""
    conditions = _conditions(node)
    if reason := not_ready(node):
        yield reason
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
        if not taint["key"].startswith(_CONDITION_TAINTS) and not is_tolerated(taint):
            value = f"={taint['value']}" if taint.get("value") else ""
            yield f"taint {taint['key']}{value}:{taint['effect']} is not tolerated"


def _instance_type_problems(node: Object, request: NodeRequest) -> Iterator[str]:
    """Compare the SKU; a node without the label is of no cloud, and its other labels chose it."""
    found = _labels(node).get(INSTANCE_TYPE)
    # Azure ignores the case of a SKU; the label repeats the case of the request.
    wanted = {name.casefold() for name in request.instance_types}
    if wanted and found and found.casefold() not in wanted:
        yield f"instance type {found}, not {' or '.join(request.instance_types)}"


def _gpu_problems(node: Object, pods: Sequence[Object], request: NodeRequest) -> Iterator[str]:
    capacity, allocatable = gpu_count(node, "capacity"), gpu_count(node, "allocatable")
    if capacity == 0:
        yield f"no {GPU_RESOURCE}: {_plugin_problem(node, pods)}"
        return
    if capacity < request.gpus:
        yield f"{capacity} GPU(s), {request.gpus} needed"
    elif allocatable < request.gpus:
        yield f"{allocatable} of {capacity} GPU(s) healthy, {request.gpus} needed"
    elif (free := free_gpus(node, pods)) < request.gpus:
        takers = [_name(pod) for pod in _on(node, pods) if gpus_of(pod)]
        yield f"{free} of {allocatable} GPU(s) free, taken by {', '.join(takers)}"
    memory_gib = gpu_memory_gib(node)
    memory_gb = None if memory_gib is None else memory_gib * _GIB_BYTES / 1e9
    if memory_gb is not None and memory_gb < request.gpu_memory_gb:
        yield f"{memory_gb:.1f} GB of GPU memory, {request.gpu_memory_gb:.1f} GB needed"
    if problem := driver_problem(driver_of(node)):
        yield problem


def _resource_problems(node: Object, pods: Sequence[Object], request: NodeRequest) -> Iterator[str]:
    """Say which CPUs and memory the scheduler would miss.

    A node whose status does not list them counts as large enough.
    """
    said = node["status"].get("allocatable") or {}
    if "cpu" not in said or "memory" not in said:
        return
    taken = sum((requests_of(pod) for pod in _on(node, pods)), NOTHING)
    yield from shortages(request.resources, Resources.of(said) - taken)


def _plugin_problem(node: Object, pods: Sequence[Object]) -> str:
    plugins = device_plugins(node, pods)
    if not plugins:
        return (
            "it has no GPU, or no device plugin (install NVIDIA's k8s-device-plugin or the GPU "
            "operator)"
        )
    states = [f"{_name(pod)} is {pod['status'].get('phase', 'Unknown')}" for pod in plugins]
    return f"device plugin {', '.join(states)}; its log shows what it lacks, such as the driver"


def _on(node: Object, pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if is_on(pod, node)]


def _requested_gpus(container: Object) -> int:
    resources = container.get("resources") or {}
    # The API server copies limits of extended resources to requests.
    return int((resources.get("requests") or {}).get(GPU_RESOURCE, 0))


def _conditions(node: Object) -> Mapping[str, Object]:
    return {item["type"]: item for item in node["status"].get("conditions") or []}


def _labels(node: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    return labels


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
