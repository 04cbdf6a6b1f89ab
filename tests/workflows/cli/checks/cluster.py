"""A cluster in which all is well, to break one thing of, and a look at it by one check."""

from __future__ import annotations

import base64
import copy
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

from kubernetes.client import ApiClient, Configuration

from argotune.steps.cluster.connection import Connection
from argotune.steps.cluster.kube import Kube
from argotune.steps.common.clock import Clock
from argotune.workflows.cli.checks.finding import Finding
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.installation.objects import objects
from argotune.workflows.cli.installation.settings import Settings
from tests.fakes.api_server import ApiServer, Object, serving

SPACE = "team-a"
REGISTRY = "registry.test/argotune"
RWX = "shared"
GPU = "nvidia.com/gpu"
EXECUTOR = {
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
}


def expected() -> list[Object]:
    """What `argotune install` makes."""
    return copy.deepcopy(_expected())


@functools.cache
def _expected() -> list[Object]:
    return objects(Settings(images_registry=REGISTRY), SPACE)


def healthy() -> ApiServer:
    """Argo 4.0.6, an installation that is whole, a registry's login and a GPU node."""
    server = ApiServer()
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.put(manifest("v1", "Namespace", SPACE, labels=labels))
    server.put(controller())
    server.put(settings(executor=json.dumps(EXECUTOR)))
    server.put(storage_class("standard", "ebs.csi.aws.com", late=True, default=True))
    for item in expected():
        server.put(item)
    for secret in server.of_kind("Secret"):
        secret["data"] = {"token": "dG9rZW4="}
    for claim in server.of_kind("PersistentVolumeClaim"):
        claim["spec"]["storageClassName"] = RWX
        claim["status"] = {"phase": "Bound", "capacity": {"storage": "200Gi"}}
    server.put(login({"registry.example.com": "user:hunter2"}))
    server.put(node("gpu-1"))
    server.put(device_plugin())
    return server


def look(
    server: ApiServer, check: Callable[[Subject], Iterable[Finding]], **changes: Any
) -> list[Finding]:
    """What one check finds. Time passes only while it sleeps, and then ten times as fast."""
    seconds: list[float] = []
    clock = Clock(now=lambda: sum(seconds), sleep=lambda asked: seconds.append(10 * asked))
    with serving(server), ApiClient(Configuration(host=server.url)) as client:
        given = {"namespace": SPACE, "expected": tuple(expected()), "clock": clock}
        return list(check(Subject(kube=Kube(Connection(client)), **{**given, **changes})))


def messages(findings: Iterable[Finding]) -> list[str]:
    """`LEVEL: MESSAGE` of each."""
    return [f"{finding.level}: {finding.message}" for finding in findings]


def manifest(version: str, kind: str, name: str, **metadata: Any) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}}


def controller(
    *arguments: str, image: str = "quay.io/argoproj/workflow-controller:v4.0.6"
) -> Object:
    container = {"name": "workflow-controller", "image": image, "args": list(arguments)}
    return {
        **manifest("apps/v1", "Deployment", "workflow-controller", namespace="argo"),
        "spec": {"template": {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": 1},
    }


def settings(**data: str) -> Object:
    """The controller's ConfigMap."""
    name = "workflow-controller-configmap"
    return {**manifest("v1", "ConfigMap", name, namespace="argo"), "data": data}


def storage_class(
    name: str, provisioner: str, *, late: bool = False, default: bool = False
) -> Object:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        **manifest(
            "storage.k8s.io/v1",
            "StorageClass",
            name,
            annotations=annotations,
            creationTimestamp="2026-01-01T00:00:00Z",
        ),
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer" if late else "Immediate",
    }


def login(logins: dict[str, str], name: str = "argotune-push", **changes: Any) -> Object:
    """A secret with USER:PASSWORD by registry."""
    auths = {
        registry: {"auth": base64.b64encode(text.encode()).decode()}
        for registry, text in logins.items()
    }
    text = json.dumps({"auths": auths}).encode()
    return {
        **manifest("v1", "Secret", name, namespace=SPACE),
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(text).decode()},
        **changes,
    }


def node(name: str, *, gpus: int = 1, **changes: Any) -> Object:
    capacity = {GPU: str(gpus)} if gpus else {}
    driver = {"nvidia.com/cuda.driver-version.full": changes.get("driver", "580.95.05")}
    return {
        **manifest("v1", "Node", name, labels=(driver if gpus else {}) | changes.get("labels", {})),
        "spec": {"taints": changes.get("taints", [])},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": capacity,
            "allocatable": capacity,
            "images": changes.get("images", []),
            "nodeInfo": {
                "containerRuntimeVersion": changes.get("runtime", "containerd://2.1.0"),
                "kubeletVersion": changes.get("kubelet", "v1.34.4"),
            },
        },
    }


def device_plugin(*, ready: int = 1, **toleration: str) -> Object:
    tolerations = [toleration or {"operator": "Exists"}]
    return {
        **manifest("apps/v1", "DaemonSet", "nvidia-device-plugin", namespace="gpu"),
        "spec": {"template": {"spec": {"tolerations": tolerations}}},
        "status": {"numberReady": ready, "desiredNumberScheduled": 1},
    }
