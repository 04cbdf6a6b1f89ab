"""The server's Deployment.

The adapter is mounted as an image volume if the cluster supports these: the node pulls the image
of the push step by digest, and nothing is copied. Otherwise (image volumes are off by default
before Kubernetes 1.35, and need containerd 2.1) deploy writes the adapter's files into the claim of
the model cache, which the server mounts anyway. An init container that pulls would be a third way,
but would need skopeo in the server's image and the registry's certificate authority in the pod.
"""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.cluster.expansion import literal
from argotune.steps.cluster.scheduling import GPU_RESOURCE, GPU_TOLERATIONS
from argotune.steps.contracts.client_keys import FILE_NAME
from argotune.steps.contracts.ending import GRACE_PERIOD_SECONDS, PRE_STOP_SECONDS
from argotune.steps.contracts.in_service import ADAPTER
from argotune.steps.contracts.model_cache import joined_path
from argotune.steps.contracts.served import SERVER_CPU
from argotune.steps.deploy.manifests.labels import Manifest, labels, metadata, selector
from argotune.steps.deploy.manifests.network import PORT, PORT_NAME
from argotune.steps.deploy.params import Params
from argotune.steps.deploy.server_flags import model_flags, server_flags
from argotune.steps.nodes.labels import RUN_LABEL

_USER = 65532
MODELS = "/argotune/models"
"""Where the server has the model cache."""
_ADAPTER = "/argotune/adapter"
_KEYS = "/argotune/keys"
_SCRATCH = "/argotune/scratch"
_PROBE_SECONDS = 5
_MOST_CPUS = "4"
_SHARED_MEMORY = "2Gi"


@dataclass(frozen=True, kw_only=True)
class AdapterImage:
    """The adapter is mounted as an image volume."""

    reference: str


@dataclass(frozen=True, kw_only=True)
class AdapterInCache:
    """The adapter's files are in the model cache."""

    directory: str
    """Path relative to the cache directory."""


Adapter = AdapterImage | AdapterInCache


def deployment(params: Params, adapter: Adapter, *, replicas: int = 1) -> Manifest:
    """The server's Deployment."""
    return deployment_of_template(params, _template(params, adapter), replicas=replicas)


def deployment_of_template(params: Params, template: Manifest, *, replicas: int) -> Manifest:
    """The Deployment with a pod template, either a new one or the old one of a rollback.

    `replicas` is named in every case: an apply that left it out, after one that had it, would set
    it back to 1.
    """
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": max(60, int(params.timeout_seconds)),
        "selector": {"matchLabels": selector(params)},
        # The old pod is deleted only when the new one is ready, so a GPU server needs a second GPU.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "template": template,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(params),
        "spec": spec,
    }


def _template(params: Params, adapter: Adapter) -> Manifest:
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_PERIOD_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(params, adapter)],
        "volumes": _volumes(params, adapter),
        **_affinity(params),
        "topologySpreadConstraints": [_spread_over_nodes(params)],
    }
    if params.server_labels():
        spec["nodeSelector"] = params.server_labels()
    if params.server_gpus() or params.server_labels():
        # The node that ran tuning may be tainted, whether or not the server requests its GPU.
        spec["tolerations"] = [dict(toleration) for toleration in GPU_TOLERATIONS]
    # With a list of its own, the pod does not use that of its account.
    secrets = dict.fromkeys(filter(None, (params.image_pull_secret, params.adapter_pull_secret)))
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in secrets]
    annotations = {ADAPTER: params.served}
    return {"metadata": {"labels": labels(params), "annotations": annotations}, "spec": spec}


def _affinity(params: Params) -> Manifest:
    """Affinity that excludes nodes created for a run: their GPU is free, but they are deleted.

    The one that the service has taken over is not.
    """
    if params.takes_node:
        return {}
    has_no_run = {"key": RUN_LABEL, "operator": "DoesNotExist"}
    terms = [{"matchExpressions": [has_no_run]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


def _spread_over_nodes(params: Params) -> Manifest:
    """Replicas go to different nodes where these are there, so that no drain meets them all."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(params)},
        # Those of the version before do not count.
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(params: Params, adapter: Adapter) -> Manifest:
    on_vllm = params.server_engine() == "vllm"
    return {
        "name": "serve",
        "image": params.vllm_image if on_vllm else params.image,
        "command": ["python", "-m", "argotune.steps.vllm" if on_vllm else "argotune.steps.serve"],
        "args": [
            literal(f"--model-dir={MODELS}/{params.model_dir}"),
            *map(literal, model_flags(params, _adapter_dir(adapter))),
            *_joining_flags(params),
            "--host=0.0.0.0",
            f"--port={PORT}",
            *_gpu_flags(params),
            *server_flags(params, f"{_KEYS}/{FILE_NAME}"),
        ],
        "env": [
            {"name": "HF_HOME", "value": f"{_SCRATCH}/huggingface"},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "HOME", "value": _SCRATCH},
            {"name": "TMPDIR", "value": _SCRATCH},
            *(_vllm_environment(params) if on_vllm else []),
        ],
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(params),
        "volumeMounts": _mounts(params, adapter),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        # Loading takes minutes; the other two probes start after the startup probe.
        "startupProbe": _probe(
            "/health", failures=int(params.timeout_seconds / _PROBE_SECONDS) + 1
        ),
        # Not /v1/models, which may want a client's key.
        "readinessProbe": _probe("/health", failures=3),
        "livenessProbe": _probe("/health", failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _joining_flags(params: Params) -> list[str]:
    """Where adapters of other runs join.

    On vLLM a service without training has no memory planned for others than its own.
    """
    if params.service_plan is not None and params.server_engine() == "vllm":
        return []
    return [literal(f"--adapters-dir={MODELS}/{joined_path(params.name)}")]


def _gpu_flags(params: Params) -> list[str]:
    gpus = params.server_gpus()
    if not gpus:
        return []
    return [f"--gpus={gpus}", *(["--allow-cpu=true"] if params.allow_cpu else [])]


def _vllm_environment(params: Params) -> list[Manifest]:
    values = {
        # What vLLM compiles at its start, beside its own files.
        "VLLM_CACHE_ROOT": f"{_SCRATCH}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{_SCRATCH}/inductor",
        "TRITON_CACHE_DIR": f"{_SCRATCH}/triton",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(int(params.timeout_seconds)),
        # torch asks for the user's name, and the image has none for the number.
        "USER": "argotune",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _probe(path: str, *, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": _PROBE_SECONDS,
        "timeoutSeconds": _PROBE_SECONDS,
        "failureThreshold": failures,
    }


def _resources(params: Params) -> Manifest:
    resources: Manifest = {"requests": {"cpu": SERVER_CPU, "memory": params.server_memory()}}
    limits = {"cpu": _MOST_CPUS, "memory": params.server_memory()} if params.limits else {}
    if params.server_gpus():
        limits[GPU_RESOURCE] = str(params.server_gpus())
    return {**resources, "limits": limits} if limits else resources


def _adapter_dir(adapter: Adapter) -> str:
    if isinstance(adapter, AdapterInCache):
        return f"{MODELS}/{adapter.directory}"
    return f"{_ADAPTER}/data"


def _mounts(params: Params, adapter: Adapter) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "models", "mountPath": MODELS, "readOnly": True},
        {"name": "scratch", "mountPath": _SCRATCH},
    ]
    if params.server_engine() == "vllm":
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    if isinstance(adapter, AdapterImage):
        mounts.append({"name": "adapter", "mountPath": _ADAPTER, "readOnly": True})
    if params.api_keys_secret:
        # The directory, because a mounted file would not change with the Secret.
        mounts.append({"name": "keys", "mountPath": _KEYS, "readOnly": True})
    return mounts


def _volumes(params: Params, adapter: Adapter) -> list[Manifest]:
    claim = {"claimName": params.model_cache_claim, "readOnly": True}
    volumes: list[Manifest] = [
        {"name": "models", "persistentVolumeClaim": claim},
        {"name": "scratch", "emptyDir": {}},
    ]
    if params.server_engine() == "vllm":
        # Its processes hand each other tensors there, and a container has 64 MiB.
        memory = {"medium": "Memory", "sizeLimit": _SHARED_MEMORY}
        volumes.append({"name": "shared-memory", "emptyDir": memory})
    if isinstance(adapter, AdapterImage):
        image = {"reference": adapter.reference, "pullPolicy": "IfNotPresent"}
        volumes.append({"name": "adapter", "image": image})
    if params.api_keys_secret:
        # Without the Secret no pod starts, rather than one that answers everybody.
        secret = {
            "secretName": params.api_keys_secret,
            "items": [{"key": FILE_NAME, "path": FILE_NAME}],
        }
        volumes.append({"name": "keys", "secret": secret})
    return volumes
