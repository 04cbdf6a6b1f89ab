"""The fakes' servers: begun, and ended with the block."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_POLL_SECONDS = 0.01


class KeepAlive(BaseHTTPRequestHandler):
    """A handler whose connections serve many requests, as those of real servers do: a connection
    and a thread for each request take longer than the answer."""

    protocol_version = "HTTP/1.1"
    # Head and body in one segment.
    wbufsize = -1


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Those that clients keep alive, as when a server's process ends."""
        for connection in list(self._open):
            # Of a TLS connection that of the socket below it: no goodbye waits for an answer.
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or does not trust us, is its right; show the rest."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def listening(
    handler: type[BaseHTTPRequestHandler],
    *,
    address: tuple[str, int] = ("127.0.0.1", 0),
    tls: ssl.SSLContext | None = None,
    **attributes: object,
) -> Iterator[int]:
    """Serve with a handler that has these attributes; gives the port."""
    # A body behind its head would wait 40 ms for the client's delayed acknowledgement.
    attributes = {"disable_nagle_algorithm": True, **attributes}
    server = _Server(address, type("Handler", (handler,), attributes))
    if tls is not None:
        # The handshake is the handler's thread's: who never begins it holds up nobody else.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.end_connections()
