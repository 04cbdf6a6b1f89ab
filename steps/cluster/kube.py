"""The calls that argotune's steps make to a Kubernetes API server.

Objects are dictionaries with the names of the YAML. Every call has a timeout; writes are
server-side apply, creation of what is not there yet, or deletion, so that another try does no
harm. Importing the kubernetes client
takes most of a second: only what talks to a cluster imports this module.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from kubernetes import config
from kubernetes.client import (
    ApiClient,
    AppsV1Api,
    Configuration,
    CoreV1Api,
    CustomObjectsApi,
    NetworkingV1Api,
)
from kubernetes.client.exceptions import ApiException

from argotune.steps.common.errors import PermanentError, TransientError

FIELD_MANAGER = "argotune"
Object = dict[str, Any]

_TIMEOUT_SECONDS = (5, 30)
"""To connect, and between two reads."""
_KARPENTER = ("karpenter.sh", "v1")
_ARGO = ("argoproj.io", "v1alpha1")
_CLUSTER_EVENTS = "default"
"""Namespace of the events about objects that have none."""
_MERGE_PATCH = "application/merge-patch+json"
_MAY_PASS = (408, 409, 425, 429, 500, 502, 503, 504)
_KINDS: Mapping[str, tuple[type, str]] = {
    "Deployment": (AppsV1Api, "namespaced_deployment"),
    "Service": (CoreV1Api, "namespaced_service"),
    "NetworkPolicy": (NetworkingV1Api, "namespaced_network_policy"),
}


class ApiRefusal(PermanentError):
    """The API server understood and said no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status: 403 no right, 404 not there, 422 not valid."""


def connect() -> Kube:
    """The cluster of this pod's service account, or the kubeconfig's current context."""
    own = cluster_of_pod()
    if own is not None:
        return own
    configuration = Configuration()
    _load_kubeconfig(configuration)
    return Kube(ApiClient(configuration))


def cluster_of_pod() -> Kube | None:
    """The cluster of this pod's service account; None where this is no pod, or one without."""
    configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        return None
    return Kube(ApiClient(configuration))


def _load_kubeconfig(configuration: Configuration) -> None:
    try:
        config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise PermanentError(
            f"no cluster: this is no pod with a service account, and kubeconfig says: {error}"
        ) from error


class Kube:
    """An API server."""

    def __init__(self, api_client: ApiClient) -> None:
        self._client = api_client
        self._core = CoreV1Api(api_client)
        self._custom = CustomObjectsApi(api_client)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return self._call(kind, "read", name, namespace)
        except ApiRefusal as error:
            if error.status == 404:
                return None
            raise

    def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Server-side apply: create the object, or make what this manager says of it true."""
        metadata = manifest["metadata"]
        return self._call(
            manifest["kind"],
            "patch",
            metadata["name"],
            metadata["namespace"],
            body=dict(manifest),
            field_manager=FIELD_MANAGER,
            field_validation="Strict",
            force=True,
            _content_type="application/apply-patch+yaml",
            **({"dry_run": "All"} if dry_run else {}),
        )

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete the object and what it owns; one that is not there is well."""
        try:
            self._call(kind, "delete", name, namespace, propagation_policy="Background")
        except ApiRefusal as error:
            if error.status != 404:
                raise

    def pods(self, namespace: str, label_selector: str) -> list[Object]:
        """Pods of a namespace by labels."""
        with _said("list", f"pods in {namespace}"):
            return _items(
                self._core.list_namespaced_pod(
                    namespace, label_selector=label_selector, **_request_options()
                )
            )

    def pods_on_nodes(self) -> list[Object]:
        """Pods of all namespaces that are bound to a node and not finished."""
        fields = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        with _said("list", "pods of all namespaces"):
            return _items(
                self._core.list_pod_for_all_namespaces(field_selector=fields, **_request_options())
            )

    def nodes(self, label_selector: str) -> list[Object]:
        """Nodes by labels."""
        with _said("list", "nodes"):
            return _items(self._core.list_node(label_selector=label_selector, **_request_options()))

    def warnings(self, namespace: str, name: str) -> list[str]:
        """What the events warn of about one object, oldest first: `REASON: message`."""
        return self._warnings(namespace, f"involvedObject.name={name},type=Warning")

    def warnings_about(self, uid: str) -> list[str]:
        """What the events warn of about one object of the cluster, oldest first:
        `REASON: message`. By UID, because names are used again."""
        return self._warnings(_CLUSTER_EVENTS, f"involvedObject.uid={uid},type=Warning")

    def node_claims(self, label_selector: str) -> list[Object]:
        """Karpenter's NodeClaims by labels."""
        with _said("list", "nodeclaims"):
            return _items(
                self._custom.list_cluster_custom_object(
                    *_KARPENTER, "nodeclaims", label_selector=label_selector, **_request_options()
                )
            )

    def node_claim(self, name: str) -> Object | None:
        """The NodeClaim, or None where there is none."""
        try:
            with _said("read", f"nodeclaim {name}"):
                response = self._custom.get_cluster_custom_object(
                    *_KARPENTER, "nodeclaims", name, **_request_options()
                )
                return _object(response)
        except ApiRefusal as error:
            if error.status == 404:
                return None
            raise

    def create_node_claim(self, manifest: Mapping[str, Any]) -> Object | None:
        """Create a NodeClaim; None where one of that name is there already."""
        with _said("create", f"nodeclaim {manifest['metadata']['name']}"):
            try:
                response = self._custom.create_cluster_custom_object(
                    *_KARPENTER,
                    "nodeclaims",
                    dict(manifest),
                    field_manager=FIELD_MANAGER,
                    field_validation="Strict",
                    **_request_options(),
                )
            except ApiException as error:
                if error.status == 409:
                    return None
                raise
            return _object(response)

    def change_node_claim(self, seen: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
        """Merge labels and annotations into a NodeClaim, None for those that go; False where it is
        not any more as it was seen."""
        version = {"resourceVersion": seen["metadata"]["resourceVersion"]}
        name = seen["metadata"]["name"]
        with _said("change", f"nodeclaim {name}"):
            try:
                self._custom.patch_cluster_custom_object(
                    *_KARPENTER,
                    "nodeclaims",
                    name,
                    {"metadata": {**metadata, **version}},
                    field_manager=FIELD_MANAGER,
                    _content_type=_MERGE_PATCH,
                    **_request_options(),
                )
            except ApiException as error:
                if error.status in (404, 409):
                    return False
                raise
        return True

    def delete_node_claim(self, name: str) -> None:
        """Ask for the deletion of a NodeClaim, which takes Karpenter a while; one that is not
        there is well."""
        try:
            with _said("delete", f"nodeclaim {name}"):
                self._custom.delete_cluster_custom_object(
                    *_KARPENTER, "nodeclaims", name, **_request_options()
                )
        except ApiRefusal as error:
            if error.status != 404:
                raise

    def workflow(self, namespace: str, name: str) -> Object | None:
        """Argo's Workflow, or None where there is none."""
        try:
            with _said("read", f"workflow {namespace}/{name}"):
                response = self._custom.get_namespaced_custom_object(
                    *_ARGO, namespace, "workflows", name, **_request_options()
                )
                return _object(response)
        except ApiRefusal as error:
            if error.status == 404:
                return None
            raise

    def stop_workflow(self, namespace: str, name: str) -> None:
        """Stop it as `argo stop` does: what runs is ended, its exit handler still runs."""
        with _said("stop", f"workflow {namespace}/{name}"):
            self._custom.patch_namespaced_custom_object(
                *_ARGO,
                namespace,
                "workflows",
                name,
                {"spec": {"shutdown": "Stop"}},
                field_manager=FIELD_MANAGER,
                _content_type=_MERGE_PATCH,
                **_request_options(),
            )

    def create_event(self, manifest: Mapping[str, Any]) -> Object:
        """Create a core/v1 Event in the namespace that it names."""
        namespace = manifest["metadata"]["namespace"]
        with _said("create", f"an event in {namespace}"):
            return _object(
                self._core.create_namespaced_event(
                    namespace,
                    dict(manifest),  # type: ignore[arg-type]
                    field_manager=FIELD_MANAGER,
                    **_request_options(),
                )
            )

    def repeat_event(self, namespace: str, name: str, *, count: int, last: str) -> bool:
        """Say that an Event happened again; False where the cluster has forgotten it."""
        try:
            with _said("patch", f"event {namespace}/{name}"):
                self._core.patch_namespaced_event(
                    name,
                    namespace,
                    {"count": count, "lastTimestamp": last},
                    field_manager=FIELD_MANAGER,
                    _content_type=_MERGE_PATCH,
                    **_request_options(),
                )
        except ApiRefusal as error:
            if error.status != 404:
                raise
            return False
        return True

    def node_pools(self) -> list[Object]:
        """Karpenter's NodePools."""
        with _said("list", "nodepools"):
            return _items(
                self._custom.list_cluster_custom_object(
                    *_KARPENTER, "nodepools", **_request_options()
                )
            )

    def pod_log(self, namespace: str, name: str, *, previous: bool, tail_lines: int) -> str:
        """The end of a container's log; of the one before its restart with `previous`."""
        with _said("read", f"log of pod {namespace}/{name}"):
            response: Any = self._core.read_namespaced_pod_log(
                name,
                namespace,
                previous=previous,
                tail_lines=tail_lines,
                **_request_options(),
            )
            return bytes(response.data).decode(errors="replace")

    def _warnings(self, namespace: str, fields: str) -> list[str]:
        with _said("list", f"events in {namespace}"):
            events = _items(
                self._core.list_namespaced_event(
                    namespace, field_selector=fields, **_request_options()
                )
            )
        events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [f"{event.get('reason')}: {event.get('message')}" for event in events]

    def _call(self, kind: str, verb: str, name: str, namespace: str, **options: Any) -> Object:
        api_type, suffix = _KINDS[kind]
        method = getattr(api_type(self._client), f"{verb}_{suffix}")
        with _said(verb, f"{kind} {namespace}/{name}"):
            return _object(method(name, namespace, **options, **_request_options()))


def _request_options() -> dict[str, Any]:
    # The typed models would refuse what a newer API server adds; plain JSON reads on.
    return {"_request_timeout": _TIMEOUT_SECONDS, "_preload_content": False}


def _object(response: Any) -> Object:
    found: Object = json.loads(response.data)
    return found


def _items(response: Any) -> list[Object]:
    items: list[Object] = json.loads(response.data)["items"]
    return items


@contextlib.contextmanager
def _said(verb: str, what: str) -> Iterator[None]:
    """Turn the client's errors into ours, with what was to be done."""
    try:
        yield
    except ApiException as error:
        raise _error(verb, what, error) from error
    except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
        raise TransientError(f"cannot {verb} {what}: the API server: {error}") from error


def _error(verb: str, what: str, error: ApiException) -> PermanentError | TransientError:
    status = int(error.status or 0)
    message = f"cannot {verb} {what}: {_message_in(error)}"
    if status in _MAY_PASS and "field not declared in schema" not in message:
        return TransientError(message)
    return ApiRefusal(message, status)


def _message_in(error: ApiException) -> str:
    """The Status object's message, which names user, verb and resource for a missing right."""
    body = error.body or b""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
