"""Objects that `argotune install` applies: found, applied server-side, and deleted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kinds import ARGO, KINDS, Kind
from argotune.steps.cluster.kube import Object, Objects
from argotune.workflows.cli.installation.objects import (
    CLAIM,
    CLUSTER_KINDS,
    MANAGED_BY,
    MANAGER,
    NAMESPACE_LABEL,
)
from argotune.workflows.cli.installation.operator import MONITOR
from argotune.workflows.cli.remote.api_errors import explain_errors
from argotune.workflows.cli.remote.cluster import Cluster

INSTALLED_KINDS = (
    "ConfigMap",
    "ServiceAccount",
    "Secret",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "NetworkPolicy",
    "Service",
    MONITOR,
    "Deployment",
    "PodDisruptionBudget",
    "PersistentVolumeClaim",
    "WorkflowTemplate",
    "CronWorkflow",
)
"""Every kind of an installation, in the order of creation, but the definition of Workspaces, which
all namespaces share."""

# Fields that the server writes; the others show whether an apply changed anything.
_SERVER_METADATA = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")

_OF_CLAIM = (
    "a claim that is there can only grow, where its storage class permits it: leave out"
    " --models-storage-class and --models-access-mode, and a --models-size below its own; or make"
    f" it anew with all weights, by `kubectl delete pvc {CLAIM}` in the namespace before the next"
    " install"
)
"""What to do where the claim of the weights would have to change."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The installation's objects in one namespace, or on the cluster for it."""

    cluster: Cluster

    def find(self, kind: str, name: str) -> Object | None:
        """Read an object; None where it is missing. A missing kind is an error."""
        with _refusal_advice(kind, name):
            try:
                return self.cluster.kube.read(kind, self.cluster.namespace, name)
            except ApiRefusal as error:
                if error.is_of_object:
                    return None
                raise

    def find_all(self, kind: str) -> Objects:
        """List the objects of a kind that `argotune install` made for this namespace.

        They have its label and its field manager, because a label is copied easily.
        """
        selector = f"{MANAGED_BY}={MANAGER}"
        if kind in CLUSTER_KINDS:
            selector += f",{NAMESPACE_LABEL}={self.cluster.namespace}"
        with _refusal_advice(kind):
            items = self.cluster.kube.list(kind, self.cluster.namespace, labels=selector)
        return [{**item, "kind": kind} for item in items if is_ours(item)]

    def knows(self, kind: str) -> bool:
        """Whether the cluster has the kind, which others may bring."""
        with _refusal_advice(kind):
            return self.cluster.kube.knows(kind)

    def api_server_addresses(self) -> tuple[str, ...]:
        """The addresses by which pods reach the API server: its Service's and those behind it."""
        service, space = "kubernetes", "default"
        with _refusal_advice("Service", service):
            found = self.cluster.kube.read("Service", space, service)
        addresses = list(found["spec"].get("clusterIPs") or [found["spec"]["clusterIP"]])
        with _refusal_advice("EndpointSlice"):
            slices = self.cluster.kube.list(
                "EndpointSlice", space, labels=f"kubernetes.io/service-name={service}"
            )
        for each in slices:
            for endpoint in each.get("endpoints") or []:
                addresses += endpoint["addresses"]
        return tuple(dict.fromkeys(addresses))

    def apply(self, manifest: Object, before: Object | None, *, dry_run: bool, force: bool) -> str:
        """Apply server-side, every field checked by the server: created, configured or unchanged.

        `before` is what was found of it. In a dry run the server checks all and stores nothing.
        """
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        with _refusal_advice(kind, name):
            after = self.cluster.kube.apply(
                manifest, dry_run=dry_run, force=force, field_manager=MANAGER
            )
        if before is None:
            return "created"
        return "unchanged" if _content(before) == _content(after) else "configured"

    def create_namespace(self, manifest: Object, *, dry_run: bool) -> None:
        """Create the namespace, which must not exist."""
        with explain_errors(shown(manifest)):
            self.cluster.kube.create(manifest, dry_run=dry_run, field_manager=MANAGER)

    def delete(self, kind: str, name: str, *, dry_run: bool) -> None:
        """Delete the object and what it owns; a missing one is no error."""
        with _refusal_advice(kind, name):
            self.cluster.kube.delete(kind, self.cluster.namespace, name, dry_run=dry_run)


def shown(item: Object) -> str:
    """Format the object as kubectl does, such as role.rbac.authorization.k8s.io/argotune-user."""
    return _shown(KINDS[item["kind"]], item["metadata"]["name"])


def _shown(kind: Kind, name: str) -> str:
    return f"{kind.name.lower()}{f'.{kind.group}' if kind.group else ''}/{name}"


def is_ours(item: Object) -> bool:
    """Whether `argotune install` applied it."""
    return (
        MANAGER in field_managers(item)
        and item["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER
    )


def field_managers(item: Object, field: str | None = None) -> set[str]:
    """List the managers of an object's fields, or of one of its top fields, such as spec."""
    return {
        entry["manager"]
        for entry in item["metadata"].get("managedFields") or []
        if field is None or f"f:{field}" in entry.get("fieldsV1", {})
    }


@contextlib.contextmanager
def _refusal_advice(kind: str, name: str | None = None) -> Iterator[None]:
    """Add advice for the installer to a refusal; without a name it is that of a list."""
    what = _shown(KINDS[kind], name) if name else f"{kind}s"

    def say_refusal(error: ApiRefusal) -> str:
        said, advice = f"{what}: {_reason(error)}", _advice(kind, error)
        return f"{said}; {advice}" if advice else said

    with explain_errors(what, say_refusal):
        yield


def _advice(kind: str, error: ApiRefusal) -> str:
    status = error.status
    if kind == "PersistentVolumeClaim" and (status == 422 or "resize" in error.message):
        return _OF_CLAIM
    if status == 403 and "exceeded quota:" in error.message:
        smaller = "--models-size takes less, or " if kind == "PersistentVolumeClaim" else ""
        return f"{smaller}let an administrator raise that ResourceQuota"
    if status == 403 and kind in CLUSTER_KINDS:
        return "it takes an administrator of the cluster; --no-cluster-roles leaves it to one"
    if status == 403:
        return "it takes an administrator of the namespace"
    if status == 404 and KINDS[kind].group == ARGO:
        return "is Argo Workflows installed in this cluster?"
    return "--force-conflicts takes these fields over" if status == 409 else ""


def _reason(error: ApiRefusal) -> str:
    """Return the server's message; for a conflict, the fields with their managers."""
    found = [
        f"{cause['field']} ({cause['message']})"
        for cause in error.details.get("causes") or []
        if cause.get("reason") == "FieldManagerConflict"
    ]
    return ", ".join(found) or error.message


def _content(item: Object) -> Object:
    metadata = {k: v for k, v in item["metadata"].items() if k not in _SERVER_METADATA}
    return {**item, "metadata": metadata, "status": None}
