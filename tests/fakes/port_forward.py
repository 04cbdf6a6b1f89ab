"""The API server's side of a port-forward: a WebSocket on one side, a socket on the other."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler

_PROTOCOL = "v4.channel.k8s.io"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_BINARY, _CLOSE = 2, 8
_DATA_CHANNEL, _ERROR_CHANNEL = b"\0", b"\1"
_TIMEOUT_SECONDS = 30.0


def forward(handler: BaseHTTPRequestHandler, port: int, target_port: int) -> None:
    """Connect the request, which asks for `port` of a pod, with a port of this machine."""
    key = handler.headers["Sec-WebSocket-Key"].encode()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header(
        "Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
    )
    handler.send_header("Sec-WebSocket-Protocol", _PROTOCOL)
    handler.end_headers()
    handler.close_connection = True
    for channel in (_DATA_CHANNEL, _ERROR_CHANNEL):
        _send(handler, _BINARY, channel + struct.pack("<H", port))
    try:
        pod = socket.create_connection(("127.0.0.1", target_port), _TIMEOUT_SECONDS)
    except OSError as error:
        _send(handler, _BINARY, _ERROR_CHANNEL + f"error forwarding port {port}: {error}".encode())
        return
    with pod:
        answers = threading.Thread(target=_pass_answers, args=(handler, pod), daemon=True)
        answers.start()
        # Either side may leave first.
        with contextlib.suppress(OSError):
            while (data := _receive(handler)) is not None:
                pod.sendall(data)
            pod.shutdown(socket.SHUT_RDWR)
        answers.join()


def _pass_answers(handler: BaseHTTPRequestHandler, pod: socket.socket) -> None:
    try:
        while data := pod.recv(65536):
            _send(handler, _BINARY, _DATA_CHANNEL + data)
        _send(handler, _CLOSE, b"")
    except OSError:
        # The client has its answer and left.
        return


def _send(handler: BaseHTTPRequestHandler, code: int, data: bytes) -> None:
    """One frame, which a server does not mask."""
    if len(data) < 126:
        head = struct.pack("!BB", 0x80 | code, len(data))
    else:
        head = struct.pack("!BBQ", 0x80 | code, 127, len(data))
    handler.wfile.write(head + data)
    handler.wfile.flush()


def _receive(handler: BaseHTTPRequestHandler) -> bytes | None:
    """The next data for the pod; None at the end."""
    while True:
        head = handler.rfile.read(2)
        if len(head) < 2 or head[0] & 0x0F == _CLOSE:
            return None
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", handler.rfile.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", handler.rfile.read(8))
        mask = handler.rfile.read(4)
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(handler.rfile.read(length)))
        if data[:1] == _DATA_CHANNEL:
            return data[1:]
