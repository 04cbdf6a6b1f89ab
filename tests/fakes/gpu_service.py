"""A service on the only GPU of a fake cluster, as deploy makes it, and its pod's controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argotune.steps.deploy.manifests.deployment import AdapterImage, deployment
from argotune.steps.deploy.params import Params
from tests.fakes.kube import Cluster, Object

GPU = "nvidia.com/gpu"
IMAGE, VLLM_IMAGE = "acr.io/argotune-serve:1", "acr.io/argotune-vllm:1"
KEY = ("Deployment", "team", "phi")
REFERENCE = f"acr.io/team/phi@sha256:{'a' * 64}"


def service_params(**changes: Any) -> Params:
    values: dict[str, Any] = {
        "name": "phi",
        "reference": REFERENCE,
        "plan_file": Path("plan.yaml"),
        "model_dir": "microsoft--Phi-3/abc",
        "cache_dir": Path("/models"),
        "namespace": "team",
        "image": IMAGE,
        "vllm_image": VLLM_IMAGE,
        "model_cache_claim": "models",
        "gpus": 1,
        "node_selector": '{"pool": "gpu"}',
    }
    return Params(**values | changes)


def manifest(*, replicas: int = 1, **changes: Any) -> Object:
    """The Deployment of such a service."""
    wanted = service_params(**changes)
    return deployment(wanted, AdapterImage(reference=wanted.reference), replicas=replicas)


def one_gpu_cluster(found: Object | None = None) -> Cluster:
    """A cluster whose only GPU the service has."""
    cluster = Cluster(
        nodes=[
            {
                "metadata": {"name": "gpu-1", "labels": {"pool": "gpu"}},
                "spec": {},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "capacity": {GPU: "1"},
                    "allocatable": {GPU: "1"},
                },
            }
        ]
    )
    cluster.put(found or manifest())
    bind(cluster)
    return cluster


def bind(cluster: Cluster) -> None:
    """Do what the cluster's controllers do: the service's pods have the GPU as it is asked for."""
    found = cluster.objects[KEY]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    gpus = (container["resources"].get("limits") or {}).get(GPU, "0")
    cluster.pods = [
        {
            "metadata": {
                "name": f"phi-{number}",
                "namespace": "team",
                "labels": found["spec"]["template"]["metadata"]["labels"],
            },
            "spec": {
                "nodeName": "gpu-1",
                "containers": [{"resources": {"requests": {GPU: gpus} if gpus != "0" else {}}}],
            },
            "status": {"phase": "Running"},
        }
        for number in range(found["spec"]["replicas"])
    ]
