"""A Kubernetes API server on a loopback socket, as far as argotune talks to one.

Get, create, server-side apply, merge, replacement and delete of objects, lists, watches, logs of
pods and port-forwards; the official client talks to it. There is no controller: a test's `on_apply`
says what becomes of what was applied, and `Cluster.put` is what a controller would do.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import ApiClient, Configuration

from argotune.steps.cluster.connection import Connection
from argotune.steps.cluster.kube import Kube
from tests.fakes.listening import KeepAlive, listening
from tests.fakes.listing import as_accepted, has_fields, has_labels, listed
from tests.fakes.port_forward import forward

Object = dict[str, Any]

_PLURALS = {
    "configmaps": "ConfigMap",
    "cronworkflows": "CronWorkflow",
    "deployments": "Deployment",
    "services": "Service",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "httproutes": "HTTPRoute",
    "ingresses": "Ingress",
    "leases": "Lease",
    "networkpolicies": "NetworkPolicy",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "secrets": "Secret",
    "servicemonitors": "ServiceMonitor",
    "storageclasses": "StorageClass",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "pods": "Pod",
    "workflows": "Workflow",
    "workflowtemplates": "WorkflowTemplate",
    "workspaces": "Workspace",
}
_MERGE = "application/merge-patch+json"
_KARPENTERS = {"nodeclaims": "NodeClaim", "nodepools": "NodePool"}
"""Objects of the whole cluster; their namespace here is empty."""
_RANDOM_END = "x7k2p"
_CREATED = "2026-01-01T00:00:00Z"
_WAIT_SECONDS = 30.0
"""A test that waits longer than this for something is wrong."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One event of a watch."""

    version: int
    type: str
    item: Object


@dataclass
class Fault:
    """A refusal of the next `times` requests that match."""

    method: str
    path: str
    """A regular expression, searched in path and query."""
    status: int
    message: str = "no"
    times: int = 1


@dataclass
class Cluster:
    """The state of the fake, for tests to set up and to look at."""

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    """(kind, namespace, name) -> object."""
    applied_annotations: dict[tuple[str, str, str], Mapping[str, str]] = field(default_factory=dict)
    """Of each object, those of its last apply."""
    merged_labels: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    """Labels that a merge has set, which so are no apply's."""
    pods: list[Object] = field(default_factory=list)
    nodes: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    """Pod -> log of its container before the restart."""
    faults: list[Fault] = field(default_factory=list)
    missing_namespaces: set[str] = field(default_factory=set)
    """All others are there."""
    ending_namespaces: set[str] = field(default_factory=set)
    """Those that are being deleted."""
    requests: list[str] = field(default_factory=list)
    """`METHOD path?query` of every request."""
    sent_bytes: int = 0
    """Of all answers that are not chunked."""
    on_apply: Callable[[Cluster, Object], None] = lambda cluster, applied: None
    on_create: Callable[[Cluster, Object], None] = lambda cluster, created: None
    """Called for Karpenter's objects."""
    on_delete: Callable[[Cluster, Object], None] = lambda cluster, deleted: None
    """Called for an object that has finalizers, and so stays."""
    made: int = 0
    """Objects of Karpenter that were ever made; the UID of the next."""
    has_karpenter: bool = True
    """Whether Karpenter's definitions are installed."""
    today: Callable[[], str] = lambda: _CREATED
    """Time of creation and deletion."""
    url: str = ""
    """Where it is served."""
    apis: dict[str, list[str]] = field(default_factory=dict)
    """GROUP/VERSION -> the plurals of its kinds; the server has no other API beside its own."""
    image_volumes: bool = True
    """Whether the feature gate ImageVolume is on."""
    watches: list[str] = field(default_factory=list)
    """What becomes of the next watches: `end` at once, `reset` after the first event, `expired`.
    Then they are served well."""
    writing: set[str] = field(default_factory=set)
    """Pods whose containers go on writing their logs."""
    ports: dict[str, int] = field(default_factory=dict)
    """Pod -> the port of this machine that stands for its own."""
    changes: list[Change] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def of_kind(self, kind: str) -> list[Object]:
        return [item for (k, _, _), item in self.objects.items() if k == kind]

    def put(self, item: Object) -> Object:
        """Make the object, or another state of it, known to everybody who watches."""
        metadata = item["metadata"]
        key = (item["kind"], metadata["namespace"], metadata["name"])
        with self.changed:
            version = len(self.changes) + 1
            there = key in self.objects
            stored = {**item, "metadata": {**metadata, "resourceVersion": str(version)}}
            self.objects[key] = stored
            kind = "MODIFIED" if there else "ADDED"
            self.changes.append(Change(version=version, type=kind, item=stored))
            self.changed.notify_all()
        return stored

    def take(self, kind: str, namespace: str, name: str) -> Object:
        """Delete the object."""
        with self.changed:
            item = self.objects.pop((kind, namespace, name))
            version = len(self.changes) + 1
            self.changes.append(Change(version=version, type="DELETED", item=item))
            self.changed.notify_all()
        return item

    def write_log(self, pod: str, *lines: str) -> None:
        """Let a pod write lines."""
        with self.changed:
            self.logs[pod] = self.logs.get(pod, "") + "".join(f"{line}\n" for line in lines)
            self.changed.notify_all()

    def end_log(self, pod: str) -> None:
        """Let a pod's container end."""
        with self.changed:
            self.writing.discard(pod)
            self.changed.notify_all()

    def changes_since(self, version: int, timeout_seconds: float) -> list[Change]:
        """The changes after a version; waits for one where there is none."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.changes) > version, timeout_seconds)
            return self.changes[version:]

    def wait_for_lines(self, pod: str, count: int) -> None:
        """Wait until a pod has written more lines than that, or writes no more."""
        self.wait_for(lambda: pod not in self.writing or len(self.logs[pod].splitlines()) > count)

    def wait_for(self, met: Callable[[], bool]) -> None:
        """Wait for a change after which the condition holds."""
        with self.changed:
            assert self.changed.wait_for(met, _WAIT_SECONDS), "it did not happen"


@contextmanager
def serving(cluster: Cluster) -> Iterator[Kube]:
    """Run the fake until the block ends, and give the client for it."""
    with listening(_Handler, cluster=cluster) as port:
        cluster.url = f"http://127.0.0.1:{port}"
        with ApiClient(Configuration(host=cluster.url)) as api_client:
            yield Kube(Connection(api_client))


class _Handler(KeepAlive):
    cluster: Cluster

    def do_GET(self) -> None:
        self._handle()

    do_PATCH = do_DELETE = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read `Cluster.requests`."""

    def _handle(self) -> None:
        self.cluster.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for fault in self.cluster.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, self.path):
                fault.times -= 1
                self._status(fault.status, fault.message)
                return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        with self.cluster.changed:
            self.cluster.changed.notify_all()
        self._route(url.path, query, body)

    def _route(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        karpenters = re.fullmatch(r"/apis/karpenter\.sh/v1/([a-z]+)(?:/([^/]+))?", path)
        if karpenters is not None:
            self._route_karpenters(karpenters[1], karpenters[2], query, body)
            return
        api = re.fullmatch(r"/apis/([a-z0-9.]+\.[a-z0-9.]+(?:/v[0-9a-z]+)?)", path)
        if api is not None:
            kinds = self.cluster.apis.get(api[1])
            if kinds is None:
                self._answer(404, b"404 page not found", "text/plain")
            else:
                self._json({"resources": [{"name": plural} for plural in kinds]})
            return
        namespace_itself = re.fullmatch(r"/api/v1/namespaces/([^/]+)", path)
        if namespace_itself is not None:
            self._read_namespace(namespace_itself[1])
            return
        named = re.fullmatch(r"/apis?/.*?/?namespaces/([^/]+)/([a-z]+)/([^/]+)(/\w+)?", path)
        if self.command == "POST":
            self._create(path, body)
            return
        if named is None:
            if query.get("watch"):
                self._watch(path, query)
            else:
                self._list(path, query)
            return
        namespace, plural, name, part = named.groups()
        if part == "/portforward":
            forward(self, int(query["ports"]), self.cluster.ports[name])
            return
        if part == "/log":
            self._log(name, query)
            return
        if plural == "events":
            self._repeat(name, json.loads(body))
            return
        key = (_PLURALS[plural], namespace, name)
        if self.command == "PATCH" and self.headers["Content-Type"] == _MERGE:
            self._merge(key, json.loads(body))
        elif self.command == "PATCH":
            self._apply(key, query, body)
        elif key not in self.cluster.objects:
            self._status(404, f'{plural} "{name}" not found')
        elif self.command == "DELETE":
            self._delete(key)
        elif self.command == "PUT":
            self._json(self.cluster.put(json.loads(body) | {"kind": key[0]}))
        else:
            self._json(as_accepted(self.cluster.objects[key], self.headers["Accept"]))

    def _delete(self, key: tuple[str, str, str]) -> None:
        """An object with finalizers stays until they are gone."""
        found = self.cluster.objects[key]
        if not found["metadata"].get("finalizers"):
            self._json(self.cluster.take(*key))
            return
        metadata = {"deletionTimestamp": self.cluster.today(), **found["metadata"]}
        self._json(self.cluster.put({**found, "metadata": metadata}))

    def _read_namespace(self, name: str) -> None:
        if name in self.cluster.missing_namespaces:
            self._status(404, f'namespaces "{name}" not found')
        else:
            ends = {"deletionTimestamp": self.cluster.today()}
            metadata = ends if name in self.cluster.ending_namespaces else {}
            self._json({"kind": "Namespace", "metadata": {"name": name, **metadata}})

    def _route_karpenters(
        self, plural: str, name: str | None, query: Mapping[str, str], body: bytes
    ) -> None:
        if not self.cluster.has_karpenter:
            self._answer(404, b"404 page not found", "text/plain")
            return
        kind = _KARPENTERS[plural]
        key = (kind, "", name or "")
        if self.command == "POST":
            self._create_of_cluster(kind, json.loads(body))
        elif name is None:
            self._items(self.cluster.of_kind(kind), query)
        elif key not in self.cluster.objects:
            self._status(404, f'{plural}.karpenter.sh "{name}" not found')
        elif self.command == "DELETE":
            self._delete_of_cluster(key)
        elif self.command == "PATCH":
            self._merge_of_cluster(key, json.loads(body))
        else:
            self._json(self.cluster.objects[key])

    def _create_of_cluster(self, kind: str, created: Object) -> None:
        key = (kind, "", created["metadata"]["name"])
        if key in self.cluster.objects:
            self._status(409, f'"{key[2]}" already exists')
            return
        self.cluster.made += 1
        created["metadata"] |= {
            "uid": f"uid-{self.cluster.made}",
            "resourceVersion": "1",
            "creationTimestamp": self.cluster.today(),
        }
        self.cluster.objects[key] = created
        answer = copy.deepcopy(created)
        self.cluster.on_create(self.cluster, created)
        self._json(answer, 201)

    def _merge_of_cluster(self, key: tuple[str, str, str], change: Object) -> None:
        """In place, for who holds the object; only where it still is as the client saw it."""
        found = self.cluster.objects[key]
        version = found["metadata"]["resourceVersion"]
        if change["metadata"].get("resourceVersion") not in (None, version):
            self._status(
                409, "the object has been modified; please apply your changes to the latest"
            )
            return
        found |= _merged(found, change)
        found["metadata"]["resourceVersion"] = str(int(version) + 1)
        self._json(found)

    def _delete_of_cluster(self, key: tuple[str, str, str]) -> None:
        found = self.cluster.objects[key]
        if not found["metadata"].get("finalizers"):
            del self.cluster.objects[key]
        elif "deletionTimestamp" not in found["metadata"]:
            found["metadata"]["deletionTimestamp"] = self.cluster.today()
            self.cluster.on_delete(self.cluster, found)
        self._json(found)

    def _create(self, path: str, body: bytes) -> None:
        created: Object = json.loads(body)
        if created.get("kind") == "SelfSubjectReview":
            self._json({**created, "status": {"userInfo": {"username": "ann"}}}, 201)
            return
        namespace, _, plural = path.partition("/namespaces/")[2].partition("/")
        metadata = created["metadata"]
        if plural == "events":
            metadata["name"] = f"{metadata['generateName']}{len(self.cluster.events)}"
            self.cluster.events.append(created)
            self._json(created, 201)
            return
        name = metadata.get("name") or f"{metadata['generateName']}{_RANDOM_END}"
        key = (_PLURALS[plural], namespace, name)
        if key in self.cluster.objects:
            self._status(409, f'{plural} "{name}" already exists')
            return
        # Who sends it may leave it out.
        created["kind"] = key[0]
        metadata |= {"name": name, "namespace": namespace}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata |= {"uid": f"uid-of-{name}", "creationTimestamp": now}
        self._json(self.cluster.put(created), 201)

    def _repeat(self, name: str, change: Object) -> None:
        """Merge into an event."""
        found = [event for event in self.cluster.events if event["metadata"].get("name") == name]
        if not found:
            self._status(404, f'events "{name}" not found')
            return
        found[0].update(change)
        self._json(found[0])

    def _merge(self, key: tuple[str, str, str], change: Object) -> None:
        if key not in self.cluster.objects:
            self._status(404, f'"{key[2]}" not found')
            return
        seen = change.get("metadata", {}).get("resourceVersion")
        # An applied object has none here.
        if seen not in (None, self.cluster.objects[key]["metadata"].get("resourceVersion")):
            self._status(409, "the object has been modified")
            return
        labels = change.get("metadata", {}).get("labels")
        if labels is not None:
            self.cluster.merged_labels[key] = _merged(self.cluster.merged_labels.get(key), labels)
        changed = self.cluster.put(_merged(self.cluster.objects[key], change))
        metadata = changed["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.cluster.take(*key)
        self._json(changed)

    def _apply(self, key: tuple[str, str, str], query: Mapping[str, str], body: bytes) -> None:
        applied: Object = json.loads(body)
        if self.headers["Content-Type"] != "application/apply-patch+yaml":
            self._status(415, f"{self.headers['Content-Type']} is no server-side apply")
        elif not query.get("fieldManager"):
            self._status(400, "fieldManager is required for apply patch")
        elif problem := self._volume_problem(applied):
            self._status(422, problem)
        elif query.get("dryRun") == "All":
            self._json(applied)
        else:
            self._store(key, applied)

    def _volume_problem(self, applied: Object) -> str | None:
        volumes = applied.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", [])
        if self.cluster.image_volumes or not any("image" in volume for volume in volumes):
            return None
        return "spec.template.spec.volumes[2]: Required value: must specify a volume type"

    def _store(self, key: tuple[str, str, str], applied: Object) -> None:
        old = self.cluster.objects.get(key, {"metadata": {"generation": 0}})
        new = copy.deepcopy(applied)
        changed = old.get("spec") != new.get("spec")
        new["metadata"]["generation"] = old["metadata"]["generation"] + changed
        new["status"] = old.get("status", {})
        # Those that the apply before had are this manager's, so it takes them away; others were
        # patched, and stay.
        applied_before = self.cluster.applied_annotations.get(key, {})
        wanted = new["metadata"].get("annotations", {})
        there = old["metadata"].get("annotations", {})
        patched = {name: text for name, text in there.items() if name not in applied_before}
        if patched or wanted:
            new["metadata"]["annotations"] = patched | wanted
        self.cluster.applied_annotations[key] = wanted
        merged = self.cluster.merged_labels.get(key, {})
        if merged and "labels" in new["metadata"]:
            new["metadata"]["labels"] = {**merged, **new["metadata"]["labels"]}
        self.cluster.objects[key] = new
        self.cluster.on_apply(self.cluster, new)
        self._json(new)

    def _list(self, path: str, query: Mapping[str, str]) -> None:
        place, _, plural = path.rpartition("/")
        items = {"nodes": self.cluster.nodes, "events": self.cluster.events}.get(plural)
        if items is None:
            _, _, namespace = place.partition("/namespaces/")
            items = [
                item
                for (kind, where, _), item in self.cluster.objects.items()
                if kind == _PLURALS[plural] and namespace in ("", where)
            ]
        if plural == "pods":
            items = [*self.cluster.pods, *items]
        self._items(items, query)

    def _items(self, items: Sequence[Object], query: Mapping[str, str]) -> None:
        fields = query.get("fieldSelector", "")
        found = [
            item
            for item in items
            if has_labels(item, query.get("labelSelector", "")) and has_fields(item, fields)
        ]
        version = len(self.cluster.changes)
        self._json(listed(found, query, self.headers["Accept"], version))

    def _watch(self, path: str, query: Mapping[str, str]) -> None:
        """The changes since a version, until the timeout or as the test has it."""
        what = self.cluster.watches.pop(0) if self.cluster.watches else "well"
        kind = _PLURALS[path.rpartition("/")[2]]
        self._begin_chunks("application/json")
        if what == "expired":
            status = {"kind": "Status", "code": 410, "message": "too old resource version"}
            self._chunk(json.dumps({"type": "ERROR", "object": status}) + "\n")
        elif what != "end":
            self._send_changes(kind, query, reset=what == "reset")
        if what != "reset":
            self._chunk("")

    def _send_changes(self, kind: str, query: Mapping[str, str], *, reset: bool) -> None:
        version = int(query["resourceVersion"])
        deadline = time.monotonic() + int(query["timeoutSeconds"])
        while (left := deadline - time.monotonic()) > 0:
            for change in self.cluster.changes_since(version, left):
                version = change.version
                item = change.item
                if (
                    item["kind"] == kind
                    and has_labels(item, query.get("labelSelector", ""))
                    and has_fields(item, query.get("fieldSelector", ""))
                ):
                    shown = as_accepted(item, self.headers["Accept"])
                    self._chunk(json.dumps({"type": change.type, "object": shown}) + "\n")
                    if reset:
                        self.close_connection = True
                        return

    def _log(self, pod: str, query: Mapping[str, str]) -> None:
        if pod not in self.cluster.logs:
            self._status(404, f'pods "{pod}" not found')
            return
        self._begin_chunks("text/plain")
        sent = 0
        while True:
            is_written = query.get("follow") == "true" and pod in self.cluster.writing
            lines = self.cluster.logs[pod].splitlines()
            for number, line in enumerate(lines[sent:], start=sent):
                stamp = f"2026-01-01T00:00:00.{number:09d}Z "
                self._chunk((stamp if query.get("timestamps") else "") + line + "\n")
            sent = len(lines)
            if not is_written:
                break
            self.cluster.wait_for_lines(pod, sent)
        self._chunk("")

    def _begin_chunks(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, text: str) -> None:
        """One chunk; the empty one is the last."""
        data = text.encode()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    def _status(self, status: int, message: str) -> None:
        self._json({"kind": "Status", "code": status, "message": message}, status)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.cluster.sent_bytes += len(body)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _merged(old: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
