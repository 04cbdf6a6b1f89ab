"""The kinds of objects that the command line reads and writes, and a request about one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client

Object = dict[str, Any]

TIMEOUT_SECONDS = (10, 30)
"""To connect, and between two reads."""
CLUSTER_KINDS = ("ClusterRole", "ClusterRoleBinding")
"""Those of an installation that are in no namespace."""
_CORE = {
    "ConfigMap": "namespaced_config_map",
    "Event": "namespaced_event",
    "Namespace": "namespace",
    "Node": "node",
    "PersistentVolumeClaim": "namespaced_persistent_volume_claim",
    "Pod": "namespaced_pod",
    "Secret": "namespaced_secret",
    "Service": "namespaced_service",
    "ServiceAccount": "namespaced_service_account",
}
"""Kind -> how the client's methods call it."""
_RBAC, _ARGO = "rbac.authorization.k8s.io", "argoproj.io"
_GROUPS = {
    "ClusterRole": (_RBAC, "v1", "clusterroles"),
    "ClusterRoleBinding": (_RBAC, "v1", "clusterrolebindings"),
    "CronWorkflow": (_ARGO, "v1alpha1", "cronworkflows"),
    "Deployment": ("apps", "v1", "deployments"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "Role": (_RBAC, "v1", "roles"),
    "RoleBinding": (_RBAC, "v1", "rolebindings"),
    "Workflow": (_ARGO, "v1alpha1", "workflows"),
    "WorkflowTemplate": (_ARGO, "v1alpha1", "workflowtemplates"),
}
"""Kind -> API group, version and plural."""


def request(
    api: client.ApiClient,
    verb: str,
    kind: str,
    namespace: str,
    name: str | None = None,
    **options: Any,
) -> urllib3.BaseHTTPResponse:
    """Ask the API server: get, list, create, patch or delete. Raises what the client raises."""
    options = {"_request_timeout": TIMEOUT_SECONDS, "_preload_content": False, **options}
    named = [] if name is None else [name]
    call: Callable[..., urllib3.BaseHTTPResponse]
    if kind in _CORE:
        verb = "read" if verb == "get" else verb
        scope = [] if kind in ("Namespace", "Node") else [namespace]
        call = getattr(client.CoreV1Api(api), f"{verb}_{_CORE[kind]}")
        return call(*named, *scope, **options)
    group, version, plural = _GROUPS[kind]
    scope = [] if kind in CLUSTER_KINDS else [namespace]
    suffix = "namespaced" if scope else "cluster"
    call = getattr(client.CustomObjectsApi(api), f"{verb}_{suffix}_custom_object")
    return call(group, version, *scope, plural, *named, **options)


def is_of_argo(kind: str) -> bool:
    """Whether Argo Workflows brings the kind."""
    return kind in _GROUPS and _GROUPS[kind][0] == _ARGO


def shown(kind: str, name: str) -> str:
    """The object as kubectl names it, such as role.rbac.authorization.k8s.io/argotune-user."""
    group = f".{_GROUPS[kind][0]}" if kind in _GROUPS else ""
    return f"{kind.lower()}{group}/{name}"


def json_of(response: urllib3.BaseHTTPResponse) -> Object:
    """The object, or the list, that was answered."""
    found: Object = json.loads(response.data)
    return found
