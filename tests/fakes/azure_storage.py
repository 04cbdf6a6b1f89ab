"""Azure's Blob Storage on loopback: an account without hierarchical namespace.

A request needs the signature that the account's key makes, as Azure's documentation describes
Shared Key: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
or a token that an authority gave (cloud_tokens.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.fakes.listening import KeepAlive, listening

HOSTS = ("*.blob.core.windows.net", "*.dfs.core.windows.net")
KEY = base64.b64encode(b"the key of the account").decode()
_NUMBERS = itertools.count()
_TIME = "Sat, 31 Jan 2026 12:00:00 GMT"
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


@dataclass
class FakeAzureStorage:
    """The state of the account, for tests to set up and to look at."""

    port: int = 0
    account: str = field(default_factory=lambda: f"account{next(_NUMBERS)}")
    """Not the same in two tests: the library keeps connections to an account's hosts for later."""
    containers: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Container -> name of a blob -> content."""
    tokens: set[str] = field(default_factory=set)
    """Tokens of the authority that may read it."""
    page: int = 1000
    """Most blobs on one page of a list."""


class _Handler(KeepAlive):
    store: ClassVar[FakeAzureStorage]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        container, _, name = unquote(url.path).strip("/").partition("/")
        logins = {f"Bearer {token}" for token in self.store.tokens}
        logins.add(f"SharedKey {self.store.account}:{self._signature(query)}")
        if self.headers.get("Authorization") not in logins:
            self._refuse(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        elif container not in self.store.containers:
            self._refuse(404, "ContainerNotFound", "The specified container does not exist.")
        elif query.get("action") == "getAccessControl":
            # Azure's answer to a question about directories of an account that has none.
            self._refuse(400, "", "This operation is only supported on a hierarchical namespace.")
        elif query.get("comp") == "list":
            self._list(container, query)
        elif name not in self.store.containers[container]:
            self._refuse(404, "BlobNotFound", "The specified blob does not exist.")
        else:
            self._content(self.store.containers[container][name])

    def _signature(self, query: dict[str, str]) -> str:
        given = {name.lower(): value for name, value in self.headers.items()}
        own = sorted(name for name in given if name.startswith("x-ms-"))
        lines = [self.command, *(given.get(name, "") for name in _SIGNED)]
        lines += [f"{name}:{given[name]}" for name in own]
        lines += [f"/{self.store.account}{urlsplit(self.path).path}"]
        lines += [f"{name.lower()}:{query[name]}" for name in sorted(query)]
        digest = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
        return base64.b64encode(digest).decode()

    def _list(self, container: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        blobs = self.store.containers[container]
        entries: dict[str, str] = {}
        for name in sorted(blobs):
            if not name.startswith(prefix):
                continue
            head, cut, _ = name.removeprefix(prefix).partition(delimiter or "\0")
            if cut:
                path = f"{prefix}{head}{delimiter}"
                entries[path] = f"<BlobPrefix><Name>{escape(path)}</Name></BlobPrefix>"
            else:
                entries[name] = _blob(name, blobs[name])
        begin = int(query.get("marker") or 0)
        size = min(self.store.page, int(query.get("maxresults", 5000)))
        page = list(entries.values())[begin : begin + size]
        following = str(begin + size) if begin + size < len(entries) else ""
        body = (
            '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint='
            f'"https://{self.headers["Host"]}/" ContainerName="{container}">'
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{''.join(page)}</Blobs><NextMarker>{following}</NextMarker>"
            "</EnumerationResults>"
        )
        self._send(200, body.encode(), {"Content-Type": "application/xml"})

    def _content(self, content: bytes) -> None:
        headers = {
            "ETag": _etag(content),
            "Last-Modified": _TIME,
            "x-ms-creation-time": _TIME,
            "x-ms-blob-type": "BlockBlob",
            "x-ms-lease-state": "available",
            "x-ms-lease-status": "unlocked",
            "x-ms-server-encrypted": "true",
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        if asked is None or self.command == "HEAD":
            self._send(200, content, headers)
            return
        begin, _, end = asked.removeprefix("bytes=").partition("-")
        part = content[int(begin) : int(end) + 1 if end else None]
        last = int(begin) + len(part) - 1
        headers["Content-Range"] = f"bytes {begin}-{last}/{len(content)}"
        self._send(206, part, headers)

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        )
        headers = {"x-ms-error-code": code} if code else {}
        if self.command != "HEAD":
            headers["Content-Type"] = "application/xml"
        self._send(status, body.encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("x-ms-version", self.headers.get("x-ms-version", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(content: bytes) -> str:
    return f'"0x{hashlib.sha256(content).hexdigest()[:15].upper()}"'


def _blob(name: str, content: bytes) -> str:
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{_TIME}</Creation-Time>"
        f"<Last-Modified>{_TIME}</Last-Modified><Etag>{_etag(content)}</Etag>"
        f"<Content-Length>{len(content)}</Content-Length><BlobType>BlockBlob</BlobType>"
        "</Properties></Blob>"
    )


@contextmanager
def fake_azure_storage(tls: ssl.SSLContext) -> Iterator[FakeAzureStorage]:
    """Serve an account that the test fills; its certificate is that of HOSTS."""
    store = FakeAzureStorage()
    with listening(_Handler, tls=tls, store=store) as store.port:
        yield store
