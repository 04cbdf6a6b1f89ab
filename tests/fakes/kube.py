"""A Kubernetes API server on a loopback socket, as far as argotune's steps talk to one.

Get, create, server-side apply and delete of objects, lists of pods, nodes and events, and logs of
pods; the official client talks to it. There is no controller: a test's `on_apply` says
what becomes of what was applied.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import ApiClient, Configuration

from steps.common.kube import Kube

Object = dict[str, Any]

_PLURALS = {
    "configmaps": "ConfigMap",
    "deployments": "Deployment",
    "services": "Service",
    "networkpolicies": "NetworkPolicy",
    "secrets": "Secret",
    "workflows": "Workflow",
}
_RANDOM_END = "x7k2p"


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
    pods: list[Object] = field(default_factory=list)
    nodes: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    """Pod -> log of its container before the restart."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """`METHOD path?query` of every request."""
    on_apply: Callable[[Cluster, Object], None] = lambda cluster, applied: None
    url: str = ""
    """Where it is served."""
    image_volumes: bool = True
    """Whether the feature gate ImageVolume is on."""

    def of_kind(self, kind: str) -> list[Object]:
        return [item for (k, _, _), item in self.objects.items() if k == kind]


@contextmanager
def serving(cluster: Cluster) -> Iterator[Kube]:
    """Run the fake until the block ends, and give the client for it."""
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    configuration = Configuration(host=cluster.url)
    try:
        with ApiClient(configuration) as api_client:
            yield Kube(api_client)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_GET(self) -> None:
        self._handle()

    do_PATCH = do_DELETE = do_POST = do_GET

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
        self._route(url.path, query, body)

    def _route(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        named = re.fullmatch(r"/apis?/.*?/?namespaces/([^/]+)/([a-z]+)/([^/]+)(/log)?", path)
        if self.command == "POST":
            self._create(path, body)
            return
        if named is None:
            self._list(path.rpartition("/")[2], query)
            return
        namespace, plural, name, is_log = named.groups()
        if is_log:
            self._answer(200, self.cluster.logs.get(name, "").encode(), "text/plain")
            return
        key = (_PLURALS[plural], namespace, name)
        if self.command == "PATCH":
            self._apply(key, query, body)
        elif key not in self.cluster.objects:
            self._status(404, f'{plural} "{name}" not found')
        elif self.command == "DELETE":
            self._json(self.cluster.objects.pop(key))
        else:
            self._json(self.cluster.objects[key])

    def _create(self, path: str, body: bytes) -> None:
        created: Object = json.loads(body)
        namespace, _, plural = path.partition("/namespaces/")[2].partition("/")
        metadata = created["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}{_RANDOM_END}"
        key = (_PLURALS[plural], namespace, name)
        if key in self.cluster.objects:
            self._status(409, f'{plural} "{name}" already exists')
            return
        metadata |= {"name": name, "namespace": namespace}
        self.cluster.objects[key] = created
        self._json(created, 201)

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
        volumes = applied["spec"].get("template", {}).get("spec", {}).get("volumes", [])
        if self.cluster.image_volumes or not any("image" in volume for volume in volumes):
            return None
        return "spec.template.spec.volumes[2]: Required value: must specify a volume type"

    def _store(self, key: tuple[str, str, str], applied: Object) -> None:
        old = self.cluster.objects.get(key, {"metadata": {"generation": 0}})
        new = copy.deepcopy(applied)
        changed = old.get("spec") != new["spec"]
        new["metadata"]["generation"] = old["metadata"]["generation"] + changed
        new["status"] = old.get("status", {})
        self.cluster.objects[key] = new
        self.cluster.on_apply(self.cluster, new)
        self._json(new)

    def _list(self, plural: str, query: Mapping[str, str]) -> None:
        items = {
            "pods": self.cluster.pods,
            "nodes": self.cluster.nodes,
            "events": self.cluster.events,
        }[plural]
        labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        fields = query.get("fieldSelector", "")
        found = [
            item
            for item in items
            if labels.items() <= item["metadata"].get("labels", {}).items()
            and _selected(item, fields)
        ]
        self._json({"kind": "List", "items": found})

    def _status(self, status: int, message: str) -> None:
        self._json({"kind": "Status", "code": status, "message": message}, status)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _selected(item: Object, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, operator, wanted = re.split(r"(!=|=)", term, maxsplit=1)
        value: Any = item
        for part in path.split("."):
            value = (value or {}).get(part)
        if ((value or "") == wanted) != (operator == "="):
            return False
    return True
