"""An OCI registry on a loopback socket: enough of the distribution protocol for skopeo.

Basic authentication, blob uploads in one or several pieces, manifests by tag and digest, and
faults that happen a set number of times. What it stores is checked as a real one does: digests
must be right, and a manifest's blobs must be there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from tests.fakes.listening import listening

USER, PASSWORD = "pusher", "p:ss wörd"


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match."""

    method: str
    path: str
    """A regular expression, searched in the path."""
    times: int = 1
    status: int | None = None
    """Status to answer; None: the connection is cut in the middle of the request's body."""
    body: str = ""
    hold_seconds: float = 0.0
    """Wait so long before that."""


@dataclass
class Registry:
    """The state of the fake, for tests to set up and to look at."""

    login: bool = False
    """Whether USER and PASSWORD are needed."""
    challenge: str = 'Basic realm="fake"'
    """What it asks for then."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and answered status of every request; status 0 where it was cut."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    """(repository, tag or digest) -> (media type, content)."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    host: str = ""
    """HOST:PORT."""
    echo: bool = False
    """Whether to print a line for each request."""

    def note(self, method: str, path: str, status: int) -> None:
        self.requests.append((method, path, status))
        if self.echo:
            print(method, path, status, flush=True)

    def take_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def count(self, method: str, path: str) -> int:
        """How many requests of this kind came."""
        return sum(1 for m, p, _ in self.requests if m == method and re.search(path, p))


def docker_config(host: str, *, user: str = USER, password: str = PASSWORD) -> str:
    """A config.json as `kubectl create secret docker-registry` writes it."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    login = {"username": user, "password": password, "auth": auth}
    return json.dumps({"auths": {host: login}})


@contextmanager
def serving(
    *,
    login: bool = False,
    tls: ssl.SSLContext | None = None,
    faults: list[Fault] | None = None,
    address: tuple[str, int] = ("127.0.0.1", 0),
    echo: bool = False,
) -> Iterator[Registry]:
    """Run the fake until the block ends."""
    registry = Registry(login=login, faults=faults or [], echo=echo)
    with listening(_Handler, address=address, tls=tls, registry=registry) as port:
        registry.host = f"127.0.0.1:{port}"
        yield registry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read `Registry.requests`."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        fault = self.registry.take_fault(self.command, url.path)
        if fault is not None and fault.hold_seconds:
            time.sleep(fault.hold_seconds)
        if fault is not None and fault.status is None:
            self._cut()
            return
        body = self._body()
        if fault is not None:
            assert fault.status is not None
            self._answer(fault.status, fault.body.encode(), {"Content-Type": "text/plain"})
            return
        if self.registry.login and not self._logged_in():
            challenge = {"WWW-Authenticate": self.registry.challenge}
            self._error(401, "UNAUTHORIZED", "authentication required", challenge)
            return
        self._route(url.path, parse_qs(url.query), body)

    def _route(self, path: str, query: Mapping[str, list[str]], body: bytes) -> None:
        if path == "/v2/":
            self._answer(200, b"{}")
            return
        parsed = re.fullmatch(r"/v2/(.+)/(blobs/uploads|blobs|manifests|tags)/([^/]*)", path)
        if parsed is None:
            self._error(404, "NAME_UNKNOWN", path)
            return
        repository, kind, name = parsed.groups()
        if kind == "blobs/uploads":
            self._upload(repository, name, query, body)
        elif kind == "blobs":
            self._send_blob(name)
        elif kind == "tags":
            self._send_tags(repository)
        elif self.command == "PUT":
            self._put_manifest(repository, name, body)
        else:
            self._send_manifest(repository, name)

    def _upload(
        self, repository: str, session: str, query: Mapping[str, list[str]], body: bytes
    ) -> None:
        if self.command == "POST":
            session = uuid.uuid4().hex
            self.registry.uploads[session] = b""
        if session not in self.registry.uploads:
            self._error(404, "BLOB_UPLOAD_UNKNOWN", session)
            return
        self.registry.uploads[session] += body
        location = f"/v2/{repository}/blobs/uploads/{session}"
        if "digest" not in query:
            end = max(len(self.registry.uploads[session]) - 1, 0)
            self._answer(202, b"", {"Location": location, "Range": f"0-{end}"})
            return
        content = self.registry.uploads.pop(session)
        digest = query["digest"][0]
        if digest != _digest(content):
            self._error(400, "DIGEST_INVALID", digest)
            return
        self.registry.blobs[digest] = content
        self._answer(201, b"", {"Location": f"/v2/{repository}/blobs/{digest}"})

    def _send_blob(self, digest: str) -> None:
        content = self.registry.blobs.get(digest)
        if content is None:
            self._error(404, "BLOB_UNKNOWN", digest)
            return
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        self._answer(200, content, headers)

    def _send_tags(self, repository: str) -> None:
        names = sorted(name for where, name in self.registry.manifests if where == repository)
        if not names:
            self._error(404, "NAME_UNKNOWN", repository)
            return
        tags = [name for name in names if ":" not in name]
        self._answer(200, json.dumps({"name": repository, "tags": tags}).encode())

    def _put_manifest(self, repository: str, name: str, body: bytes) -> None:
        manifest = json.loads(body)
        needed = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
        missing = [digest for digest in needed if digest not in self.registry.blobs]
        if missing:
            self._error(404, "MANIFEST_BLOB_UNKNOWN", ", ".join(missing))
            return
        stored = (self.headers["Content-Type"], body)
        self.registry.manifests[repository, name] = stored
        self.registry.manifests[repository, _digest(body)] = stored
        self._answer(201, b"", {"Docker-Content-Digest": _digest(body)})

    def _send_manifest(self, repository: str, name: str) -> None:
        stored = self.registry.manifests.get((repository, name))
        if stored is None:
            self._error(404, "MANIFEST_UNKNOWN", name)
            return
        media_type, content = stored
        headers = {"Content-Type": media_type, "Docker-Content-Digest": _digest(content)}
        self._answer(200, content, headers)

    def _logged_in(self) -> bool:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _cut(self) -> None:
        self.rfile.read(1)
        self.registry.note(self.command, self.path, 0)
        self.close_connection = True

    def _error(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.registry.note(self.command, self.path, status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
