"""A Kubernetes API server on loopback that knows server-side apply: who owns which field.

Objects of every kind lie under their paths. There is no schema and no controller; lists are one
field. What a real server does beside is tested on one (tests/e2e/test_install.py).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.listening import KeepAlive, listening
from tests.fakes.listing import has_labels, listed

Object = dict[str, Any]
Fields = dict[tuple[str, ...], Any]
"""Path of names -> value, for every value that is no mapping."""

_IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


@dataclass
class Refusal:
    """What this server says no to, every time."""

    method: str
    path: str
    """A regular expression, searched in path and query."""
    status: int
    message: str
    kind_is_missing: bool = False
    """Answer as a server does that does not know the kind: without a name."""


@dataclass
class ApiServer:
    """The state of the fake, for tests to set up and to look at."""

    objects: dict[str, Object] = field(default_factory=dict)
    """Path -> object."""
    owners: dict[str, dict[tuple[str, ...], set[str]]] = field(default_factory=dict)
    """Path -> field -> the managers that want its value."""
    refusals: list[Refusal] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """`METHOD path` of every request."""
    url: str = ""

    def add_namespace(self, name: str, **labels: str) -> None:
        """A namespace, as somebody else made it."""
        self.put(
            f"/api/v1/namespaces/{name}", {"kind": "Namespace", "metadata": {"labels": labels}}
        )

    def put(self, path: str, item: Object, manager: str = "somebody") -> None:
        """Make an object, or what a manager says of it, true; nobody is asked."""
        named = copy.deepcopy(item)
        named.setdefault("metadata", {})["name"] = path.rpartition("/")[2]
        self.apply(path, named, manager, force=True)

    def apply(
        self, path: str, wanted: Object, manager: str, *, force: bool, keep: bool = True
    ) -> tuple[Object, list[Object]]:
        """The object after a server-side apply, and the conflicts; it is kept if there are none."""
        live = _fields(self.objects.get(path, {}))
        owners = copy.deepcopy(self.owners.get(path, {}))
        new = {name: value for name, value in _fields(wanted).items() if name not in _IDENTITY}
        conflicts = [
            {
                "reason": "FieldManagerConflict",
                "field": f".{'.'.join(name)}",
                "message": f'conflict with "{owner}" using v1',
            }
            for name, value in new.items()
            for owner in sorted(owners.get(name, set()) - {manager})
            if live.get(name) != value and not force
        ]
        for name in [name for name, names in owners.items() if names == {manager}]:
            del owners[name], live[name]
        for name, value in new.items():
            others = owners.get(name, set()) if live.get(name) == value else set()
            owners[name] = others | {manager}
        after = _object({**live, **_fields(wanted)}, owners)
        if keep and not conflicts:
            self.objects[path], self.owners[path] = after, owners
        return after, conflicts

    def names(self) -> list[str]:
        """PLURAL/NAME of every object, in the order in which they were made."""
        return ["/".join(path.split("/")[-2:]) for path in self.objects]

    def named(self, text: str) -> Object:
        """The object of a PLURAL/NAME."""
        (found,) = (item for path, item in self.objects.items() if path.endswith(f"/{text}"))
        return found


@contextmanager
def serving(server: ApiServer) -> Iterator[ApiServer]:
    """Run the fake until the block ends."""
    with listening(_Handler, api=server) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


class _Handler(KeepAlive):
    api: ApiServer

    def do_GET(self) -> None:
        self._handle()

    do_PATCH = do_DELETE = do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read `ApiServer.requests`."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.api.requests.append(f"{self.command} {urlsplit(self.path).path}")
        for refusal in self.api.refusals:
            if refusal.method == self.command and re.search(refusal.path, self.path):
                details = {} if refusal.kind_is_missing else {"name": "it"}
                self._refuse(refusal.status, refusal.message, details)
                return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        getattr(self, f"_{self.command.lower()}")(url.path, query, body)

    def _get(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        if path in self.api.objects:
            self._answer(200, self.api.objects[path])
        elif path.rpartition("/")[2] in _PLURALS:
            found = self._selected(path, query)
            self._answer(200, listed(found, query, self.headers["Accept"]))
        else:
            self._not_found(path)

    def _post(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        item: Object = json.loads(body)
        path = f"{path}/{item['metadata']['name']}"
        keep = query.get("dryRun") != "All"
        after, _ = self.api.apply(path, item, query["fieldManager"], force=True, keep=keep)
        self._answer(201, after)

    def _patch(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        namespace = re.match(r"/apis?/.*?/?namespaces/[^/]+(?=/)", path)
        if namespace and f"/api/v1/namespaces/{namespace[0].rpartition('/')[2]}" not in (
            self.api.objects
        ):
            self._not_found(namespace[0])
            return
        if self.headers["Content-Type"] == "application/merge-patch+json":
            self._merge(path, json.loads(body))
            return
        if self.headers["Content-Type"] != "application/apply-patch+yaml":
            self._refuse(415, f"{self.headers['Content-Type']} is no server-side apply", {})
            return
        after, conflicts = self.api.apply(
            path,
            json.loads(body),
            query["fieldManager"],
            force=query.get("force", "").lower() == "true",
            keep=query.get("dryRun") != "All",
        )
        if conflicts:
            self._refuse(409, f"Apply failed with {len(conflicts)} conflict", {"causes": conflicts})
        else:
            self._answer(200, after)

    def _merge(self, path: str, change: Object) -> None:
        """Change an object; the fake does not say who owns what was changed."""
        if path not in self.api.objects:
            self._not_found(path)
            return
        self.api.objects[path] = _merged(self.api.objects[path], change)
        self._answer(200, self.api.objects[path])

    def _delete(self, path: str, query: Mapping[str, str], body: bytes) -> None:
        if path not in self.api.objects:
            self._not_found(path)
            return
        item = self.api.objects[path]
        if query.get("dryRun") != "All":
            del self.api.objects[path], self.api.owners[path]
        self._answer(200, item)

    def _selected(self, path: str, query: Mapping[str, str]) -> list[Object]:
        """The objects of a list, which is that of all namespaces where the path names none."""
        return [
            item
            for its_path, item in self.api.objects.items()
            if path in (parent := its_path.rpartition("/")[0], _NAMESPACE.sub("", parent))
            and has_labels(item, query.get("labelSelector", ""))
        ]

    def _not_found(self, path: str) -> None:
        plural, name = path.split("/")[-2:]
        self._refuse(404, f'{plural} "{name}" not found', {"kind": plural, "name": name})

    def _refuse(self, status: int, message: str, details: Object) -> None:
        said = {"kind": "Status", "code": status, "message": message, "details": details}
        self._answer(status, said)

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_NAMESPACE = re.compile(r"/namespaces/[^/]+(?=/)")
_PLURALS = {
    "clusterrolebindings",
    "clusterroles",
    "configmaps",
    "cronworkflows",
    "customresourcedefinitions",
    "deployments",
    "endpointslices",
    "networkpolicies",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "rolebindings",
    "roles",
    "secrets",
    "serviceaccounts",
    "servicemonitors",
    "services",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "workflows",
    "workflowtemplates",
    "workspaces",
}


def _merged(item: Object, change: Object) -> Object:
    """As JSON Merge Patch (RFC 7396)."""
    after = dict(item)
    for name, value in change.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            after[name] = _merged(after.get(name) or {}, value)
        else:
            after[name] = value
    return after


def _fields(item: Mapping[str, Any], path: tuple[str, ...] = ()) -> Fields:
    found: Fields = {}
    for name, value in item.items():
        here = (*path, name)
        if here == ("metadata", "managedFields"):
            continue
        found |= _fields(value, here) if isinstance(value, dict) and value else {here: value}
    return found


def _object(fields: Fields, owners: Mapping[tuple[str, ...], set[str]]) -> Object:
    made: Object = {"metadata": {}}
    for path, value in fields.items():
        place = made
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    managers = sorted(set().union(*owners.values()))
    made["metadata"]["managedFields"] = [
        {
            "manager": manager,
            "operation": "Apply",
            "fieldsV1": {f"f:{path[0]}": {} for path, names in owners.items() if manager in names},
        }
        for manager in managers
    ]
    return made
