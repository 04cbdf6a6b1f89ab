"""A Kubernetes API server on a loopback socket that holds whatever objects a test puts into it.

Get, list (with selectors), create and delete by path, discovery of Argo's kinds, access reviews,
and refusals in the words of RBAC. There is no controller: a test's `on_create` says what becomes
of what was created.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.listening import KeepAlive, listening
from tests.fakes.listing import has_fields, has_labels, listed

Object = dict[str, Any]

ARGO = "/apis/argoproj.io/v1alpha1"
_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "CronWorkflow": "cronworkflows",
    "CustomResourceDefinition": "customresourcedefinitions",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Event": "events",
    "Lease": "leases",
    "LocalQueue": "localqueues",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Node": "nodes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "ServiceAccount": "serviceaccounts",
    "StorageClass": "storageclasses",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "Workflow": "workflows",
    "WorkflowTemplate": "workflowtemplates",
    "Workspace": "workspaces",
}
_PATH = re.compile(
    r"(?P<api>/api/v1|/apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z0-9]+)(?:/(?P<name>[^/]+))?"
)
_VERBS = {"POST": "create", "DELETE": "delete"}


@dataclass
class ApiServer:
    """The state of the fake, for tests to set up and to look at."""

    objects: dict[str, Object] = field(default_factory=dict)
    """Path -> object."""
    forbidden: set[str] = field(default_factory=set)
    """What the person may not do: `VERB PLURAL`, e.g. `list nodes`."""
    denied: set[str] = field(default_factory=set)
    """What access reviews deny: `VERB PLURAL.GROUP` for the person, with `ACCOUNT ` before it for
    an account."""
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    """`METHOD PLURAL` -> status and message."""
    kinds: tuple[str, ...] = (
        "workflows",
        "workflowtemplates",
        "cronworkflows",
        "workflowtaskresults",
    )
    """Argo's kinds; empty: Argo is not installed."""
    discovery: dict[str, Object] = field(default_factory=dict)
    """Path of an API group or version -> what it has; those that others bring."""
    full_definitions: bool = True
    image_volumes: bool = True
    on_create: Callable[[ApiServer, str, Object], None] = lambda server, path, created: None
    admit: Callable[[Object], str | None] = lambda created: None
    """What an admission plugin says against an object that is to be created, tried or not."""
    requests: list[str] = field(default_factory=list)
    """`METHOD path?query` of every request."""
    url: str = ""

    def put(self, manifest: Mapping[str, Any]) -> str:
        """Put an object where its kind and names say; returns its path."""
        metadata, version = manifest["metadata"], manifest["apiVersion"]
        api = f"/apis/{version}" if "/" in version else f"/api/{version}"
        space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        path = f"{api}{space}/{_PLURALS[manifest['kind']]}/{metadata['name']}"
        self.objects[path] = json.loads(json.dumps(manifest))
        return path

    def of_kind(self, kind: str) -> list[Object]:
        """The objects of a kind in all namespaces."""
        return [item for path, item in self.objects.items() if f"/{_PLURALS[kind]}/" in path]


@contextmanager
def serving(server: ApiServer) -> Iterator[ApiServer]:
    """Run the fake until the block ends."""
    with listening(_Handler, server_state=server) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


class _Handler(KeepAlive):
    server_state: ApiServer

    def do_GET(self) -> None:
        state = self.server_state
        state.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parsed: Object = json.loads(body) if body else {}
        if url.path == "/version":
            self._json({"gitVersion": "v1.34.4"})
        elif url.path == ARGO:
            self._argo_kinds()
        elif url.path in state.discovery:
            self._json(state.discovery[url.path])
        elif (
            parsed.get("kind") == "SelfSubjectReview"
            and "POST selfsubjectreviews" in state.refusals
        ):
            self._status(*state.refusals["POST selfsubjectreviews"])
        elif parsed.get("kind") == "SelfSubjectReview":
            self._json({**parsed, "status": {"userInfo": {"username": "jane"}}}, 201)
        elif parsed.get("kind", "").endswith("AccessReview"):
            self._review(parsed)
        else:
            self._object(url.path, query, parsed)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read `ApiServer.requests`."""

    def _argo_kinds(self) -> None:
        kinds = self.server_state.kinds
        if not kinds:
            self._status(404, "the server could not find the requested resource")
            return
        self._json({"kind": "APIResourceList", "resources": [{"name": name} for name in kinds]})

    def _review(self, review: Object) -> None:
        attributes, user = review["spec"]["resourceAttributes"], review["spec"].get("user")
        subresource = f"/{attributes['subresource']}" if "subresource" in attributes else ""
        group = f".{attributes['group']}" if attributes["group"] else ""
        account = f"{user.rpartition(':')[2]} " if user else ""
        right = f"{account}{attributes['verb']} {attributes['resource']}{subresource}{group}"
        if review["kind"] == "SubjectAccessReview" and self._is_forbidden(
            "create", "subjectaccessreviews", "authorization.k8s.io", None
        ):
            return
        self._json({**review, "status": {"allowed": right not in self.server_state.denied}}, 201)

    def _object(self, path: str, query: Mapping[str, str], body: Object) -> None:
        state, match = self.server_state, _PATH.fullmatch(path)
        if match is None:
            self._status(404, "the server could not find the requested resource")
            return
        verb = _VERBS.get(self.command) or ("get" if match["name"] else "list")
        if self._is_forbidden(verb, match["plural"], match["group"] or "", match["namespace"]):
            return
        refusal = state.refusals.get(f"{self.command} {match['plural']}")
        if refusal:
            self._status(*refusal)
        elif self.command == "POST":
            self._create(path, query, body)
        elif match["name"] is None:
            self._json(listed(list(self._listed(match, query)), query, self.headers["Accept"]))
        elif path not in state.objects:
            self._status(404, f'{match["plural"]} "{match["name"]}" not found')
        else:
            found = state.objects
            self._json(found.pop(path) if self.command == "DELETE" else found[path])

    def _is_forbidden(self, verb: str, plural: str, group: str, namespace: str | None) -> bool:
        if f"{verb} {plural}" not in self.server_state.forbidden:
            return False
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        self._status(
            403,
            f'{plural} is forbidden: User "jane" cannot {verb} resource "{plural}" in API group '
            f'"{group}" {where}',
        )
        return True

    def _create(self, path: str, query: Mapping[str, str], body: Object) -> None:
        state = self.server_state
        refusal = state.admit(body)
        if refusal is not None:
            self._status(403, refusal)
            return
        if query.get("fieldValidation") == "Strict" and "noSuchField" in body["spec"]:
            if state.full_definitions:
                self._status(400, 'strict decoding error: unknown field "spec.noSuchField"')
                return
        elif not state.image_volumes and body["spec"].get("volumes"):
            self._status(422, "spec.volumes[0]: Required value: must specify a volume type")
            return
        if query.get("dryRun") != "All":
            metadata = body["metadata"]
            metadata["name"] = f"{metadata['generateName']}{len(state.objects)}"
            metadata["namespace"] = path.split("/")[-2]
            created = f"{path}/{metadata['name']}"
            state.objects[created] = body
            state.on_create(state, created, body)
        self._json(body, 201)

    def _listed(self, match: re.Match[str], query: Mapping[str, str]) -> Iterator[Object]:
        space = re.escape(match["namespace"]) if match["namespace"] else "[^/]+"
        paths = rf"{match['api']}(/namespaces/{space})?/{match['plural']}/[^/]+"
        for path, item in list(self.server_state.objects.items()):
            if re.fullmatch(paths, path) and _selected(item, query):
                yield item

    def _status(self, status: int, message: str) -> None:
        self._json({"kind": "Status", "code": status, "message": message}, status)

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _selected(item: Object, query: Mapping[str, str]) -> bool:
    return has_labels(item, query.get("labelSelector", "")) and has_fields(
        item, query.get("fieldSelector", "")
    )
