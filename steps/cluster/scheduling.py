"""Which taints of GPU nodes argotune's pods tolerate, and how Kueue holds pods in a queue."""

from __future__ import annotations

from collections.abc import Mapping

GPU_RESOURCE = "nvidia.com/gpu"
"""The device plugin's name of a GPU."""

GPU_TOLERATIONS: tuple[Mapping[str, str], ...] = (
    {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    {
        "key": "kubernetes.azure.com/scalesetpriority",
        "operator": "Equal",
        "value": "spot",
        "effect": "NoSchedule",
    },
)
"""Kaito's and our own taint, the usual one of NVIDIA's device plugin, and AKS's for spot."""


QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Label of a pod with its LocalQueue; Kueue's webhook refuses an empty one."""
ADMISSION_GATE = "kueue.x-k8s.io/admission"
"""Scheduling gate that the webhook gives such a pod, until the queue admits it."""


def is_tolerated(taint: Mapping[str, str]) -> bool:
    """Whether argotune's GPU pods may be scheduled in spite of the node's taint."""
    if taint.get("effect") == "PreferNoSchedule":
        return True
    return any(_matches(toleration, taint) for toleration in GPU_TOLERATIONS)


def _matches(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration["key"] != taint.get("key") or toleration["effect"] != taint.get("effect"):
        return False
    return toleration["operator"] == "Exists" or toleration.get("value") == taint.get("value")
