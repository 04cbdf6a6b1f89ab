"""Objects that `argotune install` applies: found, applied server-side, and deleted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client

from argotune.workflows.cli.installation.objects import MANAGED_BY, MANAGER, NAMESPACE_LABEL
from argotune.workflows.cli.remote import kinds
from argotune.workflows.cli.remote.api_errors import ApiRefusal, explained
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.kinds import CLUSTER_KINDS, TIMEOUT_SECONDS, Object, json_of

KINDS = (
    "ConfigMap",
    "ServiceAccount",
    "Secret",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "WorkflowTemplate",
    "CronWorkflow",
)
"""Every kind of an installation, in the order in which it is made."""

# What the server writes by itself; the rest tells whether an apply changed anything.
_SERVER_METADATA = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The installation's objects in one namespace, or on the cluster for it."""

    cluster: Cluster

    def find(self, kind: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return json_of(self._call("get", kind, name))
        except ApiRefusal as error:
            if _is_of_a_name(error):
                return None
            raise

    def find_all(self, kind: str) -> list[Object]:
        """The objects of a kind that `argotune install` made for this namespace: the label says
        so and the field manager, for a label is copied easily."""
        selector = f"{MANAGED_BY}={MANAGER}"
        if kind in CLUSTER_KINDS:
            selector += f",{NAMESPACE_LABEL}={self.cluster.namespace}"
        items = json_of(self._call("list", kind, label_selector=selector))["items"]
        return [{**item, "kind": kind} for item in items if is_ours(item)]

    def apply(self, manifest: Object, *, dry_run: bool, force: bool) -> str:
        """Apply server-side, every field checked by the server: created, configured or
        unchanged. A dry run is one of the server: it checks all and keeps nothing."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        before = self.find(kind, name)
        after = json_of(
            self._call(
                "patch",
                kind,
                name,
                body=manifest,
                field_manager=MANAGER,
                field_validation="Strict",
                force=force,
                _content_type="application/apply-patch+yaml",
                **_only_tried(dry_run),
            )
        )
        if before is None:
            return "created"
        return "unchanged" if _content(before) == _content(after) else "configured"

    def create_namespace(self, manifest: Object, *, dry_run: bool) -> None:
        """Create the namespace; it must not be there."""
        # The client takes manifests too, its types do not say so.
        body: Any = manifest
        options: dict[str, Any] = {"_request_timeout": TIMEOUT_SECONDS, **_only_tried(dry_run)}
        with explained(shown(manifest), self.cluster.host):
            client.CoreV1Api(self.cluster.api_client).create_namespace(
                body, field_manager=MANAGER, field_validation="Strict", **options
            )

    def delete(self, kind: str, name: str, *, dry_run: bool) -> None:
        """Delete the object and what it owns; one that has gone meanwhile is well."""
        try:
            self._call(
                "delete", kind, name, propagation_policy="Background", **_only_tried(dry_run)
            )
        except ApiRefusal as error:
            if error.status != 404:
                raise

    def _call(
        self, verb: str, kind: str, name: str | None = None, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        cluster = self.cluster
        what = kinds.shown(kind, name) if name else f"{kind}s"
        with _advised(kind, what), explained(what, cluster.host):
            return kinds.request(cluster.api_client, verb, kind, cluster.namespace, name, **options)


def shown(item: Object) -> str:
    """The object as kubectl names it, such as role.rbac.authorization.k8s.io/argotune-user."""
    return kinds.shown(item["kind"], item["metadata"]["name"])


def is_ours(item: Object) -> bool:
    """Whether `argotune install` applied it."""
    return (
        MANAGER in field_managers(item)
        and item["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER
    )


def field_managers(item: Object, field: str | None = None) -> set[str]:
    """Who wrote something of the object, or of one of its top fields, such as spec."""
    return {
        entry["manager"]
        for entry in item["metadata"].get("managedFields") or []
        if field is None or f"f:{field}" in entry.get("fieldsV1", {})
    }


@contextlib.contextmanager
def _advised(kind: str, what: str) -> Iterator[None]:
    """Say of a refusal what whoever installs can do about it."""
    try:
        yield
    except ApiRefusal as error:
        advice = _advice(kind, error.status)
        said = f"{what}: {_reason(error)}"
        raise ApiRefusal(f"{said}; {advice}" if advice else said, error.status) from error.__cause__


def _advice(kind: str, status: int) -> str:
    if status == 403 and kind in CLUSTER_KINDS:
        return "it takes an administrator of the cluster; --no-cluster-roles leaves it to one"
    if status == 403:
        return "it takes an administrator of the namespace"
    if status == 404 and kinds.is_of_argo(kind):
        return "is Argo Workflows installed in this cluster?"
    return "--force-conflicts takes these fields over" if status == 409 else ""


def _reason(error: ApiRefusal) -> str:
    """The server's words alone; for a conflict, the fields that others wrote with their writers."""
    status = _status(error)
    found = [
        f"{cause['field']} ({cause['message']})"
        for cause in (status.get("details") or {}).get("causes") or []
        if cause.get("reason") == "FieldManagerConflict"
    ]
    return ", ".join(found) or " ".join(str(status.get("message") or error).split())


def _is_of_a_name(error: ApiRefusal) -> bool:
    """Whether the object is not there, rather than its kind."""
    return error.status == 404 and "name" in (_status(error).get("details") or {})


def _status(error: ApiRefusal) -> Object:
    """What the server answered, a Status object; empty for a text."""
    try:
        status = json.loads(getattr(error.__cause__, "body", None) or b"{}")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def _only_tried(dry_run: bool) -> dict[str, str]:
    return {"dry_run": "All"} if dry_run else {}


def _content(item: Object) -> Object:
    metadata = {k: v for k, v in item["metadata"].items() if k not in _SERVER_METADATA}
    return {**item, "metadata": metadata, "status": None}
