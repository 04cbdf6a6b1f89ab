"""The port of a service on this machine, which stays its own."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.listener import HOST, listen, take_listener
from argotune.steps.contracts.services import Service, is_alive, list_services

_LOGGER = logging.getLogger(__name__)
_LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp."""
_LONGEST_COMMAND = 120


def open_listener(folder: Path, known: Service | None, fixed_port: int) -> socket.socket:
    """Take the listening socket of the service's server, or open one.

    Args:
        folder: The service's.
        known: Record of the server that runs, or ran last.
        fixed_port: The port that it must have; 0: the one that it had, or else any.

    Raises PermanentError where the fixed port is taken.
    """
    if known is not None and fixed_port in (0, known.port) and is_alive(known):
        taken = take_listener(folder, known.pid)
        if taken is not None:
            return taken
    if fixed_port:
        return _open_fixed(folder.parent, fixed_port)
    try:
        return listen(known.port if known is not None else 0)
    except OSError:
        log.warn(_LOGGER, "other-port", reason=f"port {known.port if known else 0} is taken")
        return listen(0)


def _open_fixed(services_dir: Path, port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError as error:
        raise PermanentError(
            f"port {port} of {HOST} (service-port) cannot be had: {error.strerror or error};"
            f" {_owner(services_dir, port)}"
        ) from error


def _owner(services_dir: Path, port: int) -> str:
    """Say who listens there, as far as this user may know."""
    for service in list_services(services_dir):
        if service.port == port and is_alive(service):
            return (
                f"service {service.name} of argotune has it; `argotune stop {service.name}` ends it"
            )
    pid = _process_at(port)
    if pid is None:
        return f"`ss -ltnp sport = :{port}` shows who has it"
    return f"process {pid} has it: {_command_of(pid)}"


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(bytes(1))
    except OSError:
        return "which has ended meanwhile"
    return b" ".join(words).decode(errors="replace").strip()[:_LONGEST_COMMAND]


def _process_at(port: int) -> int | None:
    """Find the process of this user that listens at the port; None where none is seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in inodes:
                return int(link.parts[2])
        except OSError:
            continue
    return None
