"""The operations of steps and the command line on a Kubernetes API server.

Objects are dictionaries with the names of the YAML. Every call has a timeout. Writes are
server-side apply, creation of a missing object, a merge or a deletion, so that another try does no
harm. Each call raises an ApiError of `errors`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from argotune.steps.cluster.errors import ApiRefusal, NoCluster, refusal
from argotune.steps.cluster.kinds import Kind, api_path, kind_of

if TYPE_CHECKING:
    from argotune.steps.cluster.connection import Connection, OnSilence

FIELD_MANAGER = "argotune"
Object = dict[str, Any]
Objects = list[Object]

_CLUSTER_EVENTS = "default"
"""Namespace of the events about objects without a namespace."""
_JSON = "application/json"
_APPLY_PATCH = "application/apply-patch+yaml"
_MERGE_PATCH = "application/merge-patch+json"
_METADATA = "application/json;as={kind};g=meta.k8s.io;v=v1"
"""Asks for metadata alone: a Workflow of 113 kB is then 2 kB."""
_PAGE_OBJECTS = 500
"""Objects of one answer, as kubectl asks for."""
_EXPIRED = 410


def connect() -> Kube:
    """Connect with this pod's service account, or with the kubeconfig's current context.

    Raises NoCluster where there is neither.
    """
    own = cluster_of_pod()
    if own is not None:
        return own
    try:
        return cluster_of_kubeconfig()
    except NoCluster as error:
        raise NoCluster(
            f"this is no pod with a service account, and kubeconfig says: {error.reason}"
        ) from error


def cluster_of_pod() -> Kube | None:
    """Connect with this pod's service account; None where the process has none."""
    connections = _connections()
    connection = connections.connection_of_pod()
    return None if connection is None else Kube(connection)


def cluster_of_kubeconfig(
    context: str | None = None, *, retries: bool = True, on_silence: OnSilence | None = None
) -> Kube:
    """Connect with a context of the kubeconfig.

    Without `retries` a server that does not answer is asked once, because a person waits;
    `on_silence` hears of one that takes its time. Raises NoCluster where the kubeconfig names no
    cluster.
    """
    connections = _connections()
    return Kube(
        connections.connection_of_kubeconfig(context, retries=retries, on_silence=on_silence)
    )


def namespace_of_kubeconfig(context: str | None = None) -> str:
    """Read the namespace of a context of the kubeconfig."""
    return str(_connections().namespace_of_kubeconfig(context))


def _connections() -> Any:
    """Import the module with the Kubernetes client.

    This is its only import, at the first connection: the client takes 0.8 s to import, and most
    commands, mistakes in options and files, and runs on this machine never connect.
    """
    from argotune.steps.cluster import connection

    return connection


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The objects of a list."""

    items: Objects
    resource_version: str
    """Version of the list: a watch from here misses nothing."""


class Kube:
    """An API server, by the verbs that argotune uses."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def host(self) -> str:
        """URL of the API server."""
        return self._connection.host

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._connection.requests

    def read(self, kind: str | Kind, namespace: str | None, name: str) -> Object:
        """Read an object. Raises ApiRefusal with status 404 where it or its kind is missing."""
        found = kind_of(kind)
        return self._connection.request(
            f"read {found.shown(namespace, name)}", "get", found.path(namespace, name)
        )

    def get(self, kind: str | Kind, namespace: str | None, name: str) -> Object | None:
        """Read an object; None where it or its kind is missing."""
        try:
            return self.read(kind, namespace, name)
        except ApiRefusal as error:
            if error.status == 404:
                return None
            raise

    def metadata(self, kind: str | Kind, namespace: str | None, name: str) -> Object | None:
        """Read an object's metadata; None where it is missing. What a Secret holds stays there."""
        found = kind_of(kind)
        try:
            answer = self._connection.request(
                f"read {found.shown(namespace, name)}",
                "get",
                found.path(namespace, name),
                accept=_accepted("PartialObjectMetadata", metadata_only=True),
            )
        except ApiRefusal as error:
            if error.status == 404:
                return None
            raise
        metadata: Object = answer["metadata"]
        return metadata

    def list(
        self,
        kind: str | Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int | None = None,
    ) -> Objects:
        """List the objects of a namespace, or of all, by selectors of labels and fields.

        Without a `limit` it reads all of them, page by page.
        """
        if limit is None:
            return self.collection(kind, namespace, labels=labels, fields=fields).items
        query = {**_selectors(labels, fields), "limit": str(limit)}
        items: Objects = self._listed(kind_of(kind), namespace, query)["items"]
        return items

    def collection(
        self,
        kind: str | Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Collection:
        """List all objects, page by page, with the version for a watch after it.

        With `metadata_only` an object has nothing but its metadata.
        """
        found, selectors = kind_of(kind), _selectors(labels, fields)
        accept = _accepted("PartialObjectMetadataList", metadata_only)
        items: Objects = []
        query = {**selectors, "limit": str(_PAGE_OBJECTS)}
        while True:
            try:
                answer = self._listed(found, namespace, query, accept)
            except ApiRefusal as error:
                if error.status != _EXPIRED or "continue" not in query:
                    raise
                # The server has forgotten the version of the first pages: all anew, at once.
                items, query = [], dict(selectors)
                continue
            # A list of metadata without any is null, not empty.
            items += answer["items"] or []
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                version = str(metadata.get("resourceVersion", ""))
                return Collection(items=items, resource_version=version)
            query["continue"] = metadata["continue"]

    def _listed(
        self, kind: Kind, namespace: str | None, query: Mapping[str, str], accept: str = _JSON
    ) -> Object:
        return self._connection.request(
            f"list {kind.shown_list(namespace)}",
            "get",
            kind.path(namespace),
            query=query,
            accept=accept,
        )

    def create(
        self,
        manifest: Mapping[str, Any],
        namespace: str | None = None,
        *,
        dry_run: bool = False,
        strict: bool = True,
        field_manager: str = FIELD_MANAGER,
    ) -> Object:
        """Create the object in the namespace of its metadata, or else in the given one.

        With `strict` the server refuses a field that it does not know; otherwise it drops the
        field.
        """
        kind, metadata = kind_of(manifest["kind"]), manifest.get("metadata") or {}
        where = metadata.get("namespace", namespace)
        name = str(metadata.get("name", ""))
        shown = kind.shown(where, name) if name else f"{kind.name} in {where}"
        query = {"fieldManager": field_manager, **_only_a_trial(dry_run)}
        if strict:
            query["fieldValidation"] = "Strict"
        return self._connection.request(
            f"create {shown}", "post", kind.path(where), query=query, body=manifest
        )

    def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        dry_run: bool = False,
        force: bool = True,
        field_manager: str = FIELD_MANAGER,
    ) -> Object:
        """Server-side apply: create the object, or set the fields that this manager owns.

        Without `force` a field that another manager owns is a refusal with status 409.
        """
        kind, metadata = kind_of(manifest["kind"]), manifest["metadata"]
        namespace, name = metadata.get("namespace"), metadata["name"]
        return self._connection.request(
            f"apply {kind.shown(namespace, name)}",
            "patch",
            kind.path(namespace, name),
            query={
                "fieldManager": field_manager,
                "fieldValidation": "Strict",
                "force": str(force).lower(),
                **_only_a_trial(dry_run),
            },
            body=manifest,
            content_type=_APPLY_PATCH,
        )

    def patch(
        self, kind: str | Kind, namespace: str | None, name: str, change: Mapping[str, Any]
    ) -> Object:
        """Merge the change into the object; None deletes a field."""
        found = kind_of(kind)
        return self._connection.request(
            f"patch {found.shown(namespace, name)}",
            "patch",
            found.path(namespace, name),
            query={"fieldManager": FIELD_MANAGER},
            body=change,
            content_type=_MERGE_PATCH,
        )

    def patch_status(
        self, kind: str | Kind, namespace: str, name: str, status: Mapping[str, Any]
    ) -> Object:
        """Merge into the status of an object whose kind has it as a subresource."""
        found = kind_of(kind)
        return self._connection.request(
            f"patch status of {found.shown(namespace, name)}",
            "patch",
            found.path(namespace, name, "status"),
            query={"fieldManager": FIELD_MANAGER},
            body={"status": dict(status)},
            content_type=_MERGE_PATCH,
        )

    def delete(
        self,
        kind: str | Kind,
        namespace: str | None,
        name: str,
        *,
        dry_run: bool = False,
        grace_seconds: int | None = None,
    ) -> None:
        """Delete the object and what it owns in the background; a missing one is no error."""
        found = kind_of(kind)
        query = {"propagationPolicy": "Background", **_only_a_trial(dry_run)}
        if grace_seconds is not None:
            query["gracePeriodSeconds"] = str(grace_seconds)
        try:
            self._connection.request(
                f"delete {found.shown(namespace, name)}",
                "delete",
                found.path(namespace, name),
                query=query,
            )
        except ApiRefusal as error:
            if error.status != 404:
                raise

    def watch(
        self,
        kind: str | Kind,
        namespace: str,
        name: str | None = None,
        *,
        labels: str = "",
        metadata_only: bool = False,
        resource_version: str,
        timeout_seconds: int,
    ) -> Iterator[Object]:
        """Read events since that version: type and object, and sometimes a bookmark.

        They are of the object with the name, or without one of all with the labels.

        Ends after `timeout_seconds`, or when the server ends the watch. Raises ApiRefusal with
        status 410 when the server no longer knows the version.
        """
        found = kind_of(kind)
        task = f"watch {found.shown(namespace, name) if name else found.shown_list(namespace)}"
        query = {
            **_selectors(labels, f"metadata.name={name}" if name else ""),
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_seconds),
            "watch": "true",
        }
        for line in self._connection.lines(
            task,
            found.path(namespace),
            query,
            read_seconds=timeout_seconds + self._connection.READ_SECONDS,
            accept=_accepted("PartialObjectMetadata", metadata_only),
        ):
            event: Object = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                raise refusal(
                    task, status=int(status.get("code", 0)), message=str(status.get("message"))
                )
            yield event

    def pod_log(self, namespace: str, name: str, *, previous: bool, tail_lines: int) -> str:
        """Read the last lines of a pod's log.

        With `previous` they are those of the container before its restart.
        """
        return self._connection.text(
            f"read log of pod {namespace}/{name}",
            kind_of("Pod").path(namespace, name, "log"),
            {"previous": str(previous).lower(), "tailLines": str(tail_lines)},
        )

    def pod_log_lines(
        self, namespace: str, name: str, *, container: str, follow: bool
    ) -> Iterator[str]:
        """Read the lines of a container's log, each after its time and a space.

        With `follow` the lines go on until the container ends.
        """
        connection = self._connection
        lines = connection.lines(
            f"read log of pod {namespace}/{name}",
            kind_of("Pod").path(namespace, name, "log"),
            {"container": container, "follow": str(follow).lower(), "timestamps": "true"},
            read_seconds=connection.LOG_READ_SECONDS if follow else connection.READ_SECONDS,
        )
        for line in lines:
            yield line.decode(errors="replace")

    def port_forward(self, namespace: str, pod: str, port: int) -> Any:
        """Open a port-forward to a pod, as kubectl does; its `socket(port)` is the connection."""
        return self._connection.port_forward(
            f"reach port {port} of pod {namespace}/{pod}", namespace, pod, port
        )

    def server_version(self) -> str:
        """Read the version of the API server, such as v1.34.4."""
        found = self._connection.request("read the server's version", "get", "/version")
        return str(found.get("gitVersion", "of unknown version"))

    def user_name(self) -> str:
        """The name by which the API server knows this client; empty before Kubernetes 1.28."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = self.create(review)
        except ApiRefusal as error:
            if error.status == 404:
                return ""
            raise
        return str(answer["status"]["userInfo"].get("username", ""))

    def api(self, group: str, version: str = "") -> Object | None:
        """Read what the server lists of an API.

        For a group these are its versions; with `version`, the kinds of that version. Returns None
        where the server does not have the API.
        """
        path = api_path(group, version) if version else f"/apis/{group}"
        try:
            return self._connection.request(f"read API {path}", "get", path)
        except ApiRefusal as error:
            if error.status == 404:
                return None
            raise

    def knows(self, kind: str | Kind) -> bool:
        """Whether the server has the kind, which others may bring."""
        found = kind_of(kind)
        known = self.api(found.group, found.version) or {}
        return found.plural in {each["name"] for each in known.get("resources", [])}

    def pods(self, namespace: str, label_selector: str) -> Objects:
        """List the pods of a namespace by labels."""
        return self.list("Pod", namespace, labels=label_selector)

    def deployments(self, namespace: str, label_selector: str) -> Objects:
        """List Deployments by labels."""
        return self.list("Deployment", namespace, labels=label_selector)

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Read a Deployment; None where it is missing."""
        return self.get("Deployment", namespace, name)

    def change_deployment(self, seen: Object, annotations: Object, spec: Object) -> None:
        """Merge annotations and spec into a Deployment; None deletes one.

        Raises ApiRefusal 409, with nothing changed, where it has changed since it was `seen`.
        """
        metadata = seen["metadata"]
        only = {"resourceVersion": metadata["resourceVersion"], "annotations": annotations}
        change = {"metadata": only, "spec": spec}
        self.patch("Deployment", metadata["namespace"], metadata["name"], change)

    def pods_on_nodes(self) -> Objects:
        """List the pods of all namespaces that are bound to a node and have not ended."""
        fields = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        return self.list("Pod", fields=fields)

    def nodes(self, label_selector: str) -> Objects:
        """List nodes by labels."""
        return self.list("Node", labels=label_selector)

    def warnings(self, namespace: str, name: str) -> Sequence[str]:
        """List warnings about one object of a namespace, oldest first: `REASON: message`."""
        return self._warnings(namespace, f"involvedObject.name={name},type=Warning")

    def warnings_about(self, uid: str) -> Sequence[str]:
        """List warnings about one object without a namespace, oldest first: `REASON: message`.

        The object is identified by UID, because names are used again.
        """
        return self._warnings(_CLUSTER_EVENTS, f"involvedObject.uid={uid},type=Warning")

    def node_claims(self, label_selector: str) -> Objects:
        """List Karpenter's NodeClaims by labels."""
        return self.list("NodeClaim", labels=label_selector)

    def node_claim(self, name: str) -> Object | None:
        """Read a NodeClaim; None where it is missing."""
        return self.get("NodeClaim", None, name)

    def create_node_claim(self, manifest: Mapping[str, Any]) -> Object | None:
        """Create a NodeClaim; None where one with that name exists."""
        try:
            return self.create(manifest)
        except ApiRefusal as error:
            if error.status == 409:
                return None
            raise

    def change_node_claim(self, seen: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
        """Merge labels and annotations into a NodeClaim; the value None deletes one.

        Returns False, with nothing changed, where the NodeClaim has changed since it was `seen`.
        """
        version = {"resourceVersion": seen["metadata"]["resourceVersion"]}
        try:
            self.patch(
                "NodeClaim", None, seen["metadata"]["name"], {"metadata": {**metadata, **version}}
            )
        except ApiRefusal as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    def delete_node_claim(self, name: str) -> None:
        """Request the deletion of a NodeClaim, which takes Karpenter a while.

        A missing one is no error.
        """
        self.delete("NodeClaim", None, name)

    def node_pools(self) -> Objects:
        """List Karpenter's NodePools."""
        return self.list("NodePool")

    def workflow(self, namespace: str, name: str) -> Object | None:
        """Read Argo's Workflow; None where it is missing."""
        return self.get("Workflow", namespace, name)

    def stop_workflow(
        self, namespace: str, name: str, strategy: Literal["Stop", "Terminate"] = "Stop"
    ) -> None:
        """Set Argo's shutdown: its pods end, and with Stop its exit handler still runs.

        A suspended Workflow is let go, because Argo ends none that is suspended.
        """
        change = {"spec": {"shutdown": strategy, "suspend": None}}
        self.patch("Workflow", namespace, name, change)

    def annotate_workflow(self, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Merge annotations into a Workflow."""
        self.patch("Workflow", namespace, name, {"metadata": {"annotations": dict(annotations)}})

    def apply_config_map(self, manifest: Mapping[str, Any]) -> Object:
        """Create a ConfigMap in the namespace that it names, or set its keys."""
        return self.apply(manifest)

    def create_event(self, manifest: Mapping[str, Any]) -> Object:
        """Create a core/v1 Event in the namespace that it names."""
        return self.create(manifest)

    def repeat_event(self, namespace: str, name: str, *, count: int, last: str) -> bool:
        """Record that an Event happened again; False where the cluster no longer has it."""
        try:
            self.patch("Event", namespace, name, {"count": count, "lastTimestamp": last})
        except ApiRefusal as error:
            if error.status != 404:
                raise
            return False
        return True

    def _warnings(self, namespace: str, fields: str) -> Sequence[str]:
        events = self.list("Event", namespace, fields=fields)
        events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [f"{event.get('reason')}: {event.get('message')}" for event in events]


def _selectors(labels: str, fields: str) -> dict[str, str]:
    query = {"labelSelector": labels, "fieldSelector": fields}
    return {name: text for name, text in query.items() if text}


def _accepted(kind: str, metadata_only: bool) -> str:
    return _METADATA.format(kind=kind) if metadata_only else _JSON


def _only_a_trial(dry_run: bool) -> Mapping[str, str]:
    """Return the query of a dry run, in which the server checks all and stores nothing."""
    return {"dryRun": "All"} if dry_run else {}
