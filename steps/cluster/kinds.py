"""The kinds of objects that argotune reads and writes, and their paths on an API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

ARGO = "argoproj.io"
KAITO = "kaito.sh"
KARPENTER = "karpenter.sh"
KUEUE = "kueue.x-k8s.io"
_MONITORING = "monitoring.coreos.com"
"""Of Prometheus' operator."""
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_REVIEWS = "authorization.k8s.io"


@dataclass(frozen=True)
class Kind:
    """A kind of objects, as the API server serves it."""

    name: str
    """Kind of the YAML, such as Deployment."""
    plural: str
    """Name of the resource in paths and roles, such as deployments."""
    group: str = ""
    """API group; empty for the core."""
    version: str = "v1"
    is_namespaced: bool = True

    @property
    def api_path(self) -> str:
        """Path of the group's version."""
        return api_path(self.group, self.version)

    def path(self, namespace: str | None = None, name: str = "", part: str = "") -> str:
        """Return the path of one object, or of the list of objects where `name` is empty.

        The list is that of a namespace, or of all namespaces without one. `part` is a subresource,
        such as log.
        """
        space = ""
        if self.is_namespaced and namespace is not None:
            space = f"/namespaces/{quote(namespace, safe='')}"
        ends = [self.plural, *([quote(name, safe="")] if name else []), *([part] if part else [])]
        return f"{self.api_path}{space}/{'/'.join(ends)}"

    def shown(self, namespace: str | None, name: str) -> str:
        """Describe the object in a message: Deployment NAMESPACE/NAME, or Node NAME."""
        return (
            f"{self.name} {namespace}/{name}" if self._is_in(namespace) else f"{self.name} {name}"
        )

    def shown_list(self, namespace: str | None) -> str:
        """Describe the kind's objects in a message: pods in NAMESPACE, or nodes."""
        if not self.is_namespaced:
            return self.plural
        return f"{self.plural} in {namespace}" if namespace else f"{self.plural} of all namespaces"

    def _is_in(self, namespace: str | None) -> bool:
        return self.is_namespaced and namespace is not None


_TABLE = (
    Kind("ClusterRole", "clusterroles", _RBAC, is_namespaced=False),
    Kind("ClusterRoleBinding", "clusterrolebindings", _RBAC, is_namespaced=False),
    Kind("ConfigMap", "configmaps"),
    Kind("CronWorkflow", "cronworkflows", ARGO, "v1alpha1"),
    Kind(
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "apiextensions.k8s.io",
        is_namespaced=False,
    ),
    Kind("DaemonSet", "daemonsets", "apps"),
    Kind("Deployment", "deployments", "apps"),
    Kind("EndpointSlice", "endpointslices", "discovery.k8s.io"),
    Kind("Event", "events"),
    Kind("HTTPRoute", "httproutes", "gateway.networking.k8s.io"),
    Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "v2"),
    Kind("Ingress", "ingresses", "networking.k8s.io"),
    Kind("Lease", "leases", "coordination.k8s.io"),
    Kind("Namespace", "namespaces", is_namespaced=False),
    Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io"),
    Kind("Node", "nodes", is_namespaced=False),
    Kind("NodeClaim", "nodeclaims", KARPENTER, is_namespaced=False),
    Kind("NodePool", "nodepools", KARPENTER, is_namespaced=False),
    Kind("PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("Pod", "pods"),
    Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy"),
    Kind("Role", "roles", _RBAC),
    Kind("RoleBinding", "rolebindings", _RBAC),
    Kind("Secret", "secrets"),
    Kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", _REVIEWS, is_namespaced=False),
    Kind("SelfSubjectReview", "selfsubjectreviews", "authentication.k8s.io", is_namespaced=False),
    Kind("Service", "services"),
    Kind("ServiceAccount", "serviceaccounts"),
    Kind("ServiceMonitor", "servicemonitors", _MONITORING),
    Kind("StorageClass", "storageclasses", "storage.k8s.io", is_namespaced=False),
    Kind("SubjectAccessReview", "subjectaccessreviews", _REVIEWS, is_namespaced=False),
    Kind(
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        _ADMISSION,
        is_namespaced=False,
    ),
    Kind(
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        _ADMISSION,
        is_namespaced=False,
    ),
    Kind("Workflow", "workflows", ARGO, "v1alpha1"),
    Kind("WorkflowTemplate", "workflowtemplates", ARGO, "v1alpha1"),
    Kind("Workspace", "workspaces", KAITO, "v1beta1"),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _TABLE}
"""Name -> kind."""


def kind_of(kind: str | Kind) -> Kind:
    """Look up a kind by name; a Kind is returned as it is, so that callers may use others."""
    return KINDS[kind] if isinstance(kind, str) else kind


def api_path(group: str, version: str) -> str:
    """Return the path of an API; a GET of it lists the API's kinds."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"
