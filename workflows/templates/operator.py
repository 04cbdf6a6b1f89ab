"""The operator: its Deployment, and the rights of its account.

It has the verbs that its code calls. It creates no pod, and a Secret with a run's URLs it creates
and deletes; that it may read Secrets is because RBAC has no verb for asking whether one is there,
and it asks for metadata alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from argotune.steps.nodes.labels import RUN_LABEL
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.templates.cluster_permissions import NAMESPACE, NAMESPACE_LABEL
from argotune.workflows.templates.manifest import PART_OF, Manifest, manifest
from argotune.workflows.templates.network import egress
from argotune.workflows.templates.permissions import (
    API_GROUP,
    API_VERSION,
    MARKER,
    Rule,
    of_services,
    rule,
)
from argotune.workflows.templates.step import MODEL_SECRET_DIR, image_of
from argotune.workflows.templates.workspace_crd import GROUP, PLURAL

NAME = "operator"
_OPERATOR = "argotune-operator"
"""Name of all its objects, and of its Lease."""
_OF_ALL = "argotune-cluster-operator"
"""Name of the rights in all namespaces, before that of the operator's own."""
_LABELS = {**PART_OF, "app.kubernetes.io/name": _OPERATOR}
_MODEL_SECRET = "model-secret"
_HUB_TOKEN = "HF_TOKEN"
_USER = 65532
_PORT, _PORT_NAME = 8080, "http"
_READ = ["get", "list", "watch"]
_WRITE = [*_READ, "create", "update", "patch", "delete"]
_RULES = [
    # So that the admission policy holds for what it deletes too: others say what that is.
    MARKER,
    rule(GROUP, [PLURAL], ["list", "watch", "patch"]),
    rule(GROUP, [f"{PLURAL}/status"], ["patch"]),
    rule("argoproj.io", ["workflows"], [*_READ, "create", "patch"]),
    rule("argoproj.io", ["cronworkflows"], ["get", "list", "create", "patch", "delete"]),
    rule("argoproj.io", ["workflowtemplates"], ["get"]),
    rule("apps", ["deployments"], ["list", "watch"]),
    *of_services(["get", "delete"]),
    rule("", ["configmaps"], _READ),
    rule("", ["secrets"], ["get", "create", "delete"]),
    rule("", ["events"], ["create"]),
    # Whether it is being deleted: then nothing can be created in it that stops a run.
    rule("", ["namespaces"], ["get"]),
]
"""In each namespace whose Workspaces it works on."""
_LEASE = rule("coordination.k8s.io", ["leases"], ["get", "create", "update"])
_CLUSTER_RULES = [
    # The cloud of a file that does not say it, and whether a run's volume gets a class.
    rule("", ["nodes"], ["list"]),
    rule("storage.k8s.io", ["storageclasses"], ["list"]),
]


def build() -> list[Manifest]:
    """Build its objects for one namespace, and the rights for one that works on all.

    `argotune install` leaves the latter out where they are not wanted, and replaces the namespace.
    """
    objects = [
        manifest("ServiceAccount", _OPERATOR, api_version="v1"),
        manifest("Role", _OPERATOR, api_version=API_VERSION, rules=[*_RULES, _LEASE]),
        _bound(manifest("RoleBinding", _OPERATOR, api_version=API_VERSION), "Role"),
        *_for_cluster(_OPERATOR, _CLUSTER_RULES),
        *_for_cluster(_OF_ALL, _RULES),
        *_for_people(),
        manifest("NetworkPolicy", _OPERATOR, api_version="networking.k8s.io/v1", spec=_network()),
        manifest("Service", _OPERATOR, api_version="v1", spec=_service()),
        manifest("Deployment", _OPERATOR, api_version="apps/v1", spec=_deployment()),
        manifest(
            "PodDisruptionBudget",
            _OPERATOR,
            api_version="policy/v1",
            spec={
                "maxUnavailable": 1,
                "selector": {"matchLabels": dict(_LABELS)},
                # A pod that cannot become ready must not keep its node from being drained.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        ),
    ]
    for item in objects:
        # By it an operator is found in all namespaces.
        item["metadata"]["labels"] |= _LABELS
    return objects


def _bound(binding: Manifest, role_kind: str) -> Manifest:
    name = binding["metadata"]["name"]
    return {
        **binding,
        "roleRef": {"apiGroup": API_GROUP, "kind": role_kind, "name": name},
        # Without a namespace it is the binding's.
        "subjects": [{"kind": "ServiceAccount", "name": _OPERATOR}],
    }


def _for_cluster(name: str, rules: list[Rule]) -> list[Manifest]:
    full_name = f"{name}-{NAMESPACE}"
    role = manifest("ClusterRole", full_name, api_version=API_VERSION, rules=rules)
    binding = _bound(
        manifest("ClusterRoleBinding", full_name, api_version=API_VERSION), "ClusterRole"
    )
    binding["subjects"][0]["namespace"] = NAMESPACE
    for item in (role, binding):
        item["metadata"]["labels"][NAMESPACE_LABEL] = NAMESPACE
    return [role, binding]


def _for_people() -> Iterator[Manifest]:
    """Let who views or edits a namespace, by Kubernetes' own roles, do so with its Workspaces."""
    for role, others, verbs in (("view", ["edit", "admin"], _READ), ("edit", ["admin"], _WRITE)):
        item = manifest(
            "ClusterRole",
            f"argotune-workspaces-{role}-{NAMESPACE}",
            api_version=API_VERSION,
            rules=[rule(GROUP, [PLURAL], verbs)],
        )
        aggregated = {f"rbac.authorization.k8s.io/aggregate-to-{each}": "true" for each in others}
        item["metadata"]["labels"] |= {
            NAMESPACE_LABEL: NAMESPACE,
            f"rbac.authorization.k8s.io/aggregate-to-{role}": "true",
            **aggregated,
        }
        yield item


def _network() -> dict[str, Any]:
    """Let Prometheus in; what goes out is what may go out of runs."""
    return {
        "podSelector": {"matchLabels": dict(_LABELS)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": _PORT}]}],
        "egress": egress(),
    }


def _service() -> dict[str, Any]:
    """Name both replicas for the ServiceMonitor, which `argotune install` makes if it can."""
    return {
        "selector": dict(_LABELS),
        "ports": [{"name": _PORT_NAME, "port": _PORT, "targetPort": _PORT_NAME}],
    }


def _deployment() -> dict[str, Any]:
    return {
        # One works, and the other stands by for its Lease.
        "replicas": 2,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(_LABELS)},
        "template": {"metadata": {"labels": dict(_LABELS)}, "spec": _pod()},
    }


def _pod() -> dict[str, Any]:
    has_no_run = {"key": RUN_LABEL, "operator": "DoesNotExist"}
    terms = [{"matchExpressions": [has_no_run]}]
    return {
        "serviceAccountName": _OPERATOR,
        "enableServiceLinks": False,
        # What it does for one Workspace takes seconds; killed at any place it loses nothing.
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # A node that is made for a run goes with it.
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(_LABELS)},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "containers": [_container()],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, _model_secret()],
    }


def _model_secret() -> dict[str, Any]:
    """Build the volume of the Hub's token, which is that of runs whose file names no Secret."""
    return {
        "name": _MODEL_SECRET,
        "secret": {
            "secretName": SETTINGS["model-access-secret"].default,
            "items": [{"key": _HUB_TOKEN, "path": _HUB_TOKEN}],
            "optional": True,
        },
    }


def _container() -> dict[str, Any]:
    return {
        "name": NAME,
        "image": image_of(NAME),
        # `argotune install` has the flags for all namespaces, and for Kaito's own definition.
        "args": [f"argotune.workflows.{NAME}", "--namespace=$(NAMESPACE)"],
        "env": [
            {
                "name": "NAMESPACE",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
            },
            # huggingface_hub reads the file at each request: a variable with the token itself
            # would keep the one that was there when the pod began.
            {"name": "HF_TOKEN_PATH", "value": f"{MODEL_SECRET_DIR}/{_HUB_TOKEN}"},
        ],
        "ports": [{"name": _PORT_NAME, "containerPort": _PORT, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "1Gi"},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": _MODEL_SECRET, "mountPath": MODEL_SECRET_DIR, "readOnly": True},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        # Its imports take seconds, on a busy node many.
        "startupProbe": _probe("/healthz", failures=30),
        "readinessProbe": _probe("/readyz", failures=3),
        "livenessProbe": _probe("/healthz", failures=6),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": _PORT_NAME},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
