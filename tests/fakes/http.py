"""A file server on loopback that fails on request: what real servers and networks do to
downloads, over a real socket."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from tests.fakes.listening import listening

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer the request well, but for what is said here."""

    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""
    ignore_range: bool = False
    """Answer 200 with the whole file to a request for a part."""
    wrong_range: bool = False
    """Answer 206 with the first bytes whatever was asked for."""
    say_length: int | None = None
    """Content-Length that is not the length."""
    no_length: bool = False
    """Neither Content-Length nor chunks: the end of the connection is the end."""
    hold: threading.Event | None = None
    """Send nothing of the body before this is set, or half a minute has passed."""
    chunk: int = 1 << 16
    """Bytes of one send."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Answer with a status, and a body that is no file."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Behaviour = Serve | Status


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request that came."""

    path: str
    headers: Mapping[str, str]


@dataclass
class _File:
    body: bytes
    headers: dict[str, str]
    script: list[Behaviour]


class FileServer:
    """Files by path; each request to a path takes the next behaviour of its script."""

    def __init__(self, echo: bool = False) -> None:
        self.requests: list[Seen] = []
        self.echo = echo
        self.address = ("127.0.0.1", 0)
        self.scheme = "http"
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    def add(
        self,
        path: str,
        body: bytes = b"",
        *script: Behaviour,
        etag: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Put a file under a path; returns its URL.

        After the script, requests are answered well. The ETag is the content's hash unless one,
        or None for none, is given.
        """
        found = f'"{hashlib.sha256(body).hexdigest()[:16]}"' if etag == "" else etag
        every = dict(headers or {}) | ({"ETag": found} if found else {})
        with self._lock:
            self._files[path.partition("?")[0]] = _File(body, every, list(script))
        return self.url(path)

    def url(self, path: str, host: str | None = None) -> str:
        """A URL of this server, by another name of it where one is given."""
        return f"{self.scheme}://{host or self.address[0]}:{self.address[1]}{path}"

    def paths(self) -> list[str]:
        """Paths of all requests, in order."""
        return [seen.path for seen in self.requests]

    def take(self, path: str, headers: Mapping[str, str]) -> tuple[_File, Behaviour] | None:
        """The file of a request and what to do with it."""
        if self.echo:
            print("GET", path, headers.get("Range", "-"), flush=True)
        with self._lock:
            self.requests.append(Seen(path=path, headers=headers))
            file = self._files.get(path.partition("?")[0])
            if file is None:
                return None
            return file, file.script.pop(0) if file.script else Serve()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: ClassVar[FileServer]

    def do_GET(self) -> None:
        found = self.files.take(self.path, dict(self.headers.items()))
        if found is None:
            self._status(Status(code=404))
            return
        file, behaviour = found
        if isinstance(behaviour, Status):
            self._status(behaviour)
        else:
            self._serve(file, behaviour)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: pytest shows what matters."""

    def _status(self, status: Status) -> None:
        self.send_response(status.code)
        for name, value in status.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(status.body)))
        self.end_headers()
        self.wfile.write(status.body)

    def _serve(self, file: _File, behaviour: Serve) -> None:
        begin, end = self._range(file, behaviour)
        if begin is not None and begin >= len(file.body):
            self._status(Status(code=416, headers={"Content-Range": f"bytes */{len(file.body)}"}))
            return
        body = file.body[begin or 0 : end]
        if behaviour.wrong_range:
            body = file.body[: len(body)]
        self.send_response(200 if begin is None else 206)
        if begin is not None:
            first = 0 if behaviour.wrong_range else begin
            last = first + len(body) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(file.body)}")
        for name, value in file.headers.items():
            self.send_header(name, value)
        if behaviour.no_length:
            self.close_connection = True
        else:
            length = len(body) if behaviour.say_length is None else behaviour.say_length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self._send(body, behaviour)

    def _range(self, file: _File, behaviour: Serve) -> tuple[int | None, int | None]:
        """What is asked for, if the file is still the one that If-Range names."""
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None or behaviour.ignore_range:
            return None, None
        condition = self.headers.get("If-Range")
        version = (file.headers.get("ETag"), file.headers.get("Last-Modified"))
        if condition is not None and condition not in version:
            return None, None
        return int(match[1]), int(match[2]) + 1 if match[2] else None

    def _send(self, body: bytes, behaviour: Serve) -> None:
        if behaviour.hold is not None:
            behaviour.hold.wait(timeout=30.0)
        end = len(body) if behaviour.cut_after is None else behaviour.cut_after
        try:
            for start in range(0, end, behaviour.chunk):
                self.wfile.write(body[start : min(end, start + behaviour.chunk)])
            self.wfile.flush()
        except ConnectionError:
            # The client had enough; that is its right.
            self.close_connection = True
            return
        if behaviour.cut_after is not None or behaviour.say_length is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def file_server(
    tls: ssl.SSLContext | None = None,
    *,
    address: tuple[str, int] = ("127.0.0.1", 0),
    echo: bool = False,
) -> Iterator[FileServer]:
    """A server that ends with the block, on a free port of 127.0.0.1 unless told otherwise; with
    echo it prints a line for each request."""
    files = FileServer(echo)
    with listening(_Handler, address=address, tls=tls, files=files) as port:
        files.address = ("127.0.0.1", port)
        files.scheme = "http" if tls is None else "https"
        yield files
