"""The listening socket of a service on this machine, which its servers pass on.

deploy gives it to each new server, and the server offers it to the next deploy. So one socket is
open from the first server to the last: connections that come between two servers wait in its queue,
and nobody else gets the port. Two sockets of one port (SO_REUSEPORT) would lose what waits in the
queue of the one that is closed, and let any program of the user listen beside.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

HOST = "127.0.0.1"
_BACKLOG = 128
_WAIT_SECONDS = 5.0


def listen(port: int) -> socket.socket:
    """Open a listening socket; port 0 takes any. Raises OSError where it is taken."""
    listener = socket.socket()
    try:
        # As servers do: connections that have ended do not hold the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def offer_listener(listener: socket.socket, folder: Path) -> None:
    """Give the socket to whoever of this user asks for it, until this process ends."""
    place = _place(folder, os.getpid())
    place.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The path of such a socket has at most 104 bytes, so it is bound by its name alone.
    with contextlib.chdir(folder):
        door.bind(place.name)
    place.chmod(0o600)
    door.listen()
    threading.Thread(target=_give, args=(door, listener), name="listener", daemon=True).start()


def take_listener(folder: Path, pid: int) -> socket.socket | None:
    """Take the socket from the server with that process id; None where it offers none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_WAIT_SECONDS)
        try:
            with contextlib.chdir(folder):
                asking.connect(_place(folder, pid).name)
            _, descriptors, _, _ = socket.recv_fds(asking, 1, 1)
        except OSError:
            return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def forget_offers(folder: Path, *, but_of: int | None) -> None:
    """Remove the offers of servers that have ended."""
    kept = None if but_of is None else _place(folder, but_of)
    for place in folder.glob(_place(folder, "*").name):
        if place != kept:
            place.unlink(missing_ok=True)


def _place(folder: Path, pid: int | str) -> Path:
    return folder / f"listener-{pid}"


def _give(door: socket.socket, listener: socket.socket) -> None:
    while True:
        asking, _ = door.accept()
        with asking, contextlib.suppress(OSError):
            socket.send_fds(asking, [b"\0"], [listener.fileno()])
