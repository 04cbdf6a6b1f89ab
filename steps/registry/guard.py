"""Keep a program or library that looks names up itself from addresses inside the network.

Who submits a run names the registry, and a registry names further servers: for tokens, and by
redirects. skopeo looks all of them up itself, so that a check of the names before would not hold.
Therefore it gets a proxy on this machine, which looks a name up once, checks the addresses, and
connects to what it checked.

What it connects to gets TLS and nothing else, for the proxy forwards no plain HTTP. Go's library
takes no proxy to 127.0.0.1, ::1 and localhost; `confine` keeps skopeo from them.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

from argotune.steps.common.errors import PermanentError, StepError, TransientError

_CONNECT = re.compile(
    r"CONNECT (?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:]+):(?P<port>[0-9]{1,5}) HTTP/1\.[01]"
)
_MOST_HEAD_BYTES = 8192
_CONNECT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 18
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")

Connect = Callable[[tuple[str, int], float], socket.socket]
"""Address and port, and seconds to wait -> a connection. Raises OSError."""


class Policy(Protocol):
    """What may be connected to."""

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """The checked addresses of a name. Raises StepError."""
        ...


class Guard(socketserver.ThreadingTCPServer):
    """The proxy; `failure` is the first connection that it refused or could not make."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, policy: Policy, environment: Mapping[str, str], connect: Connect) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failure: StepError | None = None
        self._policy = policy
        self._connect = connect
        self._user = f"argotune:{secrets.token_urlsafe()}"
        kept = {
            name: value
            for name, value in environment.items()
            if name.upper() not in _PROXY_VARIABLES
        }
        url = f"http://{self._user}@127.0.0.1:{self.server_address[1]}"
        self.url = url
        """With the login that the proxy asks for."""
        self.environment = {**kept, "HTTPS_PROXY": url, "HTTP_PROXY": url}
        """Variables for what is to use the proxy."""

    def admits(self, head: str) -> bool:
        """Whether the request comes from this step, not from another process of this machine."""
        login = base64.b64encode(self._user.encode()).decode()
        return f"\r\nproxy-authorization: basic {login}\r\n".lower() in head.lower()

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to the first address of the name that answers. Raises StepError."""
        addresses = self._policy.addresses(host, port)
        reason = "the name has no address"
        for text in addresses:
            try:
                return self._connect((text, port), _CONNECT_SECONDS)
            except OSError as error:
                reason = f"{text}: {error.strerror or error}"
        raise TransientError(f"{host}:{port} cannot be reached: {reason}")

    def note(self, failure: StepError) -> None:
        """Remember why skopeo is about to fail; the first reason is the cause of later ones."""
        self.failure = self.failure or failure


class _Handler(socketserver.BaseRequestHandler):
    """One connection of skopeo."""

    server: Guard
    _REFUSED: ClassVar = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"

    def handle(self) -> None:
        head = self._head()
        if not self.server.admits(head):
            self.request.sendall(self._REFUSED)
            return
        try:
            target = self._target(head)
        except StepError as error:
            self.server.note(error)
            with contextlib.suppress(OSError):
                self.request.sendall(self._REFUSED)
            return
        with target:
            target.settimeout(None)
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(target, self.request), daemon=True)
            back.start()
            _pump(self.request, target)
            back.join()

    def _head(self) -> str:
        data = b""
        while not data.endswith(b"\r\n\r\n") and len(data) < _MOST_HEAD_BYTES:
            chunk = self.request.recv(_MOST_HEAD_BYTES)
            if not chunk:
                break
            data += chunk
        return data.decode("latin-1")

    def _target(self, head: str) -> socket.socket:
        line = head.partition("\r\n")[0]
        found = _CONNECT.match(line)
        if found is None:
            where = " ".join(line.split()[:2]).partition("?")[0]
            raise PermanentError(f"this leads to a server without TLS ({where}), which is refused")
        return self.server.connect(found["host"].strip("[]"), int(found["port"]))


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until the source ends, and end the target's direction with it."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def guarded(
    policy: Policy,
    environment: Mapping[str, str] = os.environ,
    *,
    connect: Connect = socket.create_connection,
) -> Iterator[Guard]:
    """A proxy while the block runs; it forwards to addresses that the policy permits."""
    with Guard(policy, environment, connect) as guard:
        thread = threading.Thread(target=guard.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield guard
        finally:
            guard.shutdown()
            thread.join()


def has_own_proxy(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a proxy of the user's own is set, which decides in our place; no pod has one."""
    return any(
        environment.get(name) or environment.get(name.lower()) for name in _PROXY_VARIABLES[:3]
    )
