"""Google's storage on loopback: the JSON API that its C++ library asks.

A request needs a statement that the service account's key signed, which Google takes as a token
(https://google.aip.dev/auth/4111), or a token that Google gave (cloud_tokens.py); without one only
buckets that are public answer.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.listening import KeepAlive, listening

HOST = "storage.googleapis.com"


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    """One for all, because it takes up to a second to find."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class FakeGoogleStorage:
    """The state of the storage, for tests to set up and to look at."""

    port: int = 0
    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Bucket -> name of an object -> content."""
    public: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    """Tokens of Google that may read it."""
    page: int = 1000
    """Objects on one page of a list."""
    key: rsa.RSAPrivateKey = field(default_factory=_key)

    def key_file(self) -> str:
        """The text of a service account's key file."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "team",
                "private_key_id": "one",
                "private_key": key.decode(),
                "client_email": "reader@team.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )

    def admits(self, token: str) -> bool:
        """Whether Google gave it, or the account signed the statement that a token is."""
        if token in self.tokens:
            return True
        statement, _, signature = token.rpartition(".")
        try:
            self.key.public_key().verify(
                base64.urlsafe_b64decode(signature + "=="),
                statement.encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except (InvalidSignature, ValueError):
            return False
        return True


class _Handler(KeepAlive):
    store: ClassVar[FakeGoogleStorage]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        # /storage/v1/b/BUCKET/o/OBJECT
        bucket, name = parts[3], "/".join(parts[5:])
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if bucket not in self.store.public and not self.store.admits(token):
            self._refuse(403 if token else 401, f"{bucket}: access denied")
        elif bucket not in self.store.buckets:
            self._refuse(404, "The specified bucket does not exist.")
        elif not name:
            self._list(bucket, query)
        elif name not in self.store.buckets[bucket]:
            self._refuse(404, f"No such object: {bucket}/{name}")
        elif query.get("alt") == "media":
            self._content(self.store.buckets[bucket][name])
        else:
            self._json(200, _metadata(bucket, name, self.store.buckets[bucket][name]))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        objects = self.store.buckets[bucket]
        names = sorted(name for name in objects if name.startswith(query.get("prefix", "")))
        begin = int(query.get("pageToken") or 0)
        page = names[begin : begin + self.store.page]
        answer: dict[str, object] = {
            "kind": "storage#objects",
            "items": [_metadata(bucket, name, objects[name]) for name in page],
        }
        if begin + self.store.page < len(names):
            answer["nextPageToken"] = str(begin + self.store.page)
        self._json(200, answer)

    def _content(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, message: str) -> None:
        self._json(status, {"error": {"code": status, "message": message}})

    def _json(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _metadata(bucket: str, name: str, content: bytes) -> dict[str, str]:
    digest = hashlib.md5(content).digest()
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": bucket,
        "size": str(len(content)),
        "etag": base64.b64encode(digest[:6]).decode(),
        "generation": str(int.from_bytes(digest[:6], "big")),
        "metageneration": "1",
        "md5Hash": base64.b64encode(digest).decode(),
        "timeCreated": "2026-01-31T12:00:00.000Z",
        "updated": "2026-01-31T12:00:00.000Z",
    }


@contextmanager
def fake_google_storage(tls: ssl.SSLContext) -> Iterator[FakeGoogleStorage]:
    """Serve a storage that the test fills; its certificate is that of HOST."""
    store = FakeGoogleStorage()
    with listening(_Handler, tls=tls, store=store) as store.port:
        yield store
