"""A Hugging Face Hub on loopback: what huggingface_hub asks for, with the real one's headers.

Small files are served by themselves; `*.safetensors` and `*.parquet` are large files, for which
the Hub redirects to a content server and names size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from tests.fakes import tls
from tests.fakes.listening import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"

_MODEL = re.compile(
    r"/api/models/(?P<repository>[^/]+/[^/?]+)(?:/revision/(?P<revision>[^/?]+))?(?:\?.*)?"
)
_TREE = re.compile(
    r"/api/(?P<repository>datasets/[^/]+/[^/]+)/tree/(?P<revision>[^/?]+)(?:/(?P<directory>[^?]+))?"
    r"\?recursive=(?P<recursive>true|false)(?:&cursor=(?P<cursor>\d+))?"
)
_DATASET = re.compile(r"/api/(?P<repository>datasets/[^/]+/[^/]+)/revision/(?P<revision>[^/?]+)")
_FILE = re.compile(
    r"/(?P<repository>(?:datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)"
)
_LARGE = (".safetensors", ".parquet")
_CONTENT = re.compile(r"/content/(?P<sha256>[0-9a-f]{64})")


@dataclass
class FakeHub:
    """The state of the Hub, for tests to set up and to look at."""

    endpoint: str = ""
    content_endpoint: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository -> file name -> content, all at revision main and COMMIT; those of data sets are
    datasets/OWNER/NAME."""
    page: int = 1000
    """Files on one page of a list."""
    records: dict[str, dict[str, object]] = field(default_factory=dict)
    """What the Hub says of a model beside its files, such as cardData and safetensors."""
    commits: dict[str, list[str]] = field(default_factory=dict)
    """A repository's commits, the newest last, which main is; all have the same files. None:
    COMMIT alone."""
    gated: set[str] = field(default_factory=set)
    """Repositories that need TOKEN."""
    token: str = "hf_right"
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers of the content server break off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers, whatever they are about."""
    damaged: int = 0
    """How many of the next large files come with other bytes of the same length."""
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, path and headers."""

    def downloads(self) -> list[str]:
        """Paths of the files whose content was asked for."""
        return [
            path for method, path, _ in self.requests if method == "GET" and "/api/" not in path
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[FakeHub]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        self.hub.requests.append((self.command, self.path, dict(self.headers.items())))
        if self.hub.statuses:
            self._send(self.hub.statuses.pop(0))
        elif match := _MODEL.fullmatch(self.path) or _DATASET.match(self.path):
            self._model(match["repository"], match["revision"] or "main")
        elif match := _TREE.fullmatch(self.path):
            self._tree(match)
        elif match := _FILE.match(self.path):
            self._file(match["repository"], match["revision"], match["name"])
        elif match := _CONTENT.match(self.path):
            self._content(match["sha256"])
        else:
            self._send(404)

    def _model(self, asked: str, revision: str) -> None:
        # The real one knows a model in any case of letters, and answers with its name.
        known = {name.lower(): name for name in self.hub.repositories}
        repository = known.get(asked.lower(), asked)
        files = self._files(repository, revision, listing=True)
        if files is None:
            return
        commits = self.hub.commits.get(repository, [COMMIT])
        siblings = [_sibling(name, content) for name, content in files.items()]
        answer = {
            "id": repository,
            "modelId": repository,
            "sha": commits[-1] if revision == "main" else revision,
            "private": False,
            "gated": repository in self.hub.gated,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
            **self.hub.records.get(repository, {}),
        }
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _tree(self, asked: re.Match[str]) -> None:
        files = self._files(asked["repository"], asked["revision"], listing=True)
        if files is None:
            return
        prefix = f"{asked['directory']}/" if asked["directory"] else ""
        entries: dict[str, dict[str, object]] = {}
        for name, content in sorted(files.items()):
            if not name.startswith(prefix):
                continue
            inside = name.removeprefix(prefix)
            parts = inside.split("/")
            for depth in range(1, len(parts) if asked["recursive"] == "true" else 2):
                if depth < len(parts):
                    directory = prefix + "/".join(parts[:depth])
                    entries[directory] = {"type": "directory", "oid": "0", "path": directory}
            if len(parts) == 1 or asked["recursive"] == "true":
                entries[name] = _entry(name, content)
        if not entries:
            self._send(404, headers={"X-Error-Code": "EntryNotFound"})
            return
        begin = int(asked["cursor"] or 0)
        headers = {"Content-Type": "application/json"}
        if begin + self.hub.page < len(entries):
            path = self.path.partition("&cursor")[0]
            following = f"{self.hub.endpoint}{path}&cursor={begin + self.hub.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        page = list(entries.values())[begin : begin + self.hub.page]
        self._send(200, json.dumps(page).encode(), headers)

    def _file(self, repository: str, revision: str, name: str) -> None:
        files = self._files(repository, revision)
        if files is None:
            return
        if name not in files:
            self._send(404, headers={"X-Error-Code": "EntryNotFound"})
            return
        commits = self.hub.commits.get(repository, [COMMIT])
        commit = commits[-1] if revision == "main" else revision
        content, headers = files[name], {"X-Repo-Commit": commit}
        if name.endswith(_LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
            headers |= {
                "Location": f"{self.hub.content_endpoint}/content/{sha256}?signature=SECRET"
            }
            self._send(302, headers=headers)
            return
        headers["ETag"] = f'"{_git_hash(content)}"'
        self._send(200, content, headers)

    def _content(self, sha256: str) -> None:
        everything = [body for files in self.hub.repositories.values() for body in files.values()]
        content = next(body for body in everything if hashlib.sha256(body).hexdigest() == sha256)
        if self.command == "GET" and self.hub.damaged:
            self.hub.damaged -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None:
            self._send(200, content, {"ETag": f'"{sha256}"'}, cut=True)
            return
        begin, size = int(match[1]), len(content)
        content_range = {"Content-Range": f"bytes {begin}-{size - 1}/{size}"}
        self._send(206, content[begin:], content_range, cut=True)

    def _files(
        self, repository: str, revision: str, *, listing: bool = False
    ) -> dict[str, bytes] | None:
        """The repository's files, or None after answering why not."""
        authorized = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        # The real one lists a gated repository's files to everybody.
        if repository in self.hub.gated and not authorized and not listing:
            message = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
            self._send(403 if self.headers.get("Authorization") else 401, headers=message)
        elif repository not in self.hub.repositories:
            self._send(401, headers={"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", *self.hub.commits.get(repository, [COMMIT])):
            self._send(404, headers={"X-Error-Code": "RevisionNotFound"})
        else:
            return self.hub.repositories[repository]
        return None

    def _send(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut and self.hub.cut_after:
            self.wfile.write(body[: self.hub.cut_after.pop(0)])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(body)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    sibling: dict[str, object] = {
        "rfilename": name,
        "size": len(content),
        "blobId": _git_hash(content),
    }
    if name.endswith(_LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return sibling


def _entry(name: str, content: bytes) -> dict[str, object]:
    """An entry of a tree, whose large files name the SHA-256 as oid."""
    found: dict[str, object] = {"type": "file", "path": name, "size": len(content)}
    found["oid"] = _git_hash(content)
    if name.endswith(_LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return found


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def fake_hub(context: ssl.SSLContext | None = None) -> Iterator[FakeHub]:
    """A Hub on a free port of 127.0.0.1 that ends with the block."""
    hub = FakeHub()
    scheme = "http" if context is None else "https"
    with listening(_Handler, tls=context, hub=hub) as port:
        hub.endpoint = f"{scheme}://127.0.0.1:{port}"
        # Another host, as the real one's content servers are.
        hub.content_endpoint = f"{scheme}://localhost:{port}"
        yield hub


def ask_by_default(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library ask this Hub where no endpoint is given, as HF_ENDPOINT does.

    The library reads that variable when it is imported.
    """
    urls = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", urls)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)


@contextmanager
def private_hub(directory: Path) -> Iterator[tuple[FakeHub, Path]]:
    """A Hub with a certificate of its own, and the file of the authority that gave it."""
    certificate, key = tls.self_signed(directory, ["127.0.0.1", "localhost"])
    try:
        with fake_hub(tls.server_context(certificate, key)) as hub:
            yield hub, certificate
    finally:
        # The library has one client for all tests of a process.
        set_client_factory(default_client_factory)
