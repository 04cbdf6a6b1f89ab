"""Inference servers that run as processes on this machine: their records, and how to stop them.

The record of a service is SERVICES_DIR/NAME/service.json, which stays when the service is stopped,
because it says which adapter was in service; while a deploy changes servers, those of
the other servers stand beside it, and a killed deploy leaves them. A process is identified by its
id and its start time, so that an unrelated process with a reused id is never mistaken for the
server.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write, remove_directory
from argotune.steps.contracts.ending import STOP_SECONDS

RECORD = "service.json"
STARTING, STOPPING = "starting.json", "stopping.json"
LOG = "server.log"
KEYS = "private/keys"
"""The keys of the service's clients, if only these are answered; its directory is private."""
ADAPTERS = "adapters"
"""Further adapters that the server serves, each in a directory of its name."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Service:
    """One server process."""

    name: str
    """Name of the service and of the served adapter."""
    pid: int
    process_started: str
    """Identifies the process together with its id; from the function `process_started`."""
    port: int
    endpoint: str
    """URL, e.g. http://127.0.0.1:8080."""
    digest: str
    """sha256:HEX of the adapter image."""
    model: str
    """The base model, REPOSITORY@REVISION."""
    started: str
    """Start time, RFC 3339."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Those that a Deployment has (steps/contracts/in_service.py); none in records of earlier
    versions."""
    host: str = ""
    """Name of the service whose server answers with this adapter, which joined it; empty: it has a
    server of its own."""


def read_service(services_dir: Path, name: str) -> Service | None:
    """The record of a service, or None if it has none. Raises PermanentError as `read_record`."""
    service = read_record(services_dir / name / RECORD)
    return None if service is None else _answering(services_dir, service)


def list_services(services_dir: Path) -> list[Service]:
    """All services that have a record, sorted by name; their processes may be dead."""
    records = sorted(services_dir.glob(f"*/{RECORD}"))
    found = (service for service in map(read_record, records) if service is not None)
    return [_answering(services_dir, service) for service in found]


def joined_to(services_dir: Path, host: str) -> list[str]:
    """Names of the adapters that joined a service, sorted."""
    return [service.name for service in list_services(services_dir) if service.host == host]


def kept_names(services_dir: Path) -> set[str]:
    """Names of which anything is kept, also of a first deploy that failed and left no record."""
    return {folder.name for folder in services_dir.glob("*") if folder.is_dir()}


def names_of_running(services_dir: Path) -> set[str]:
    """Names with a living server, also one that a deploy starts or stops."""
    records = (services_dir.glob(f"*/{name}") for name in (RECORD, STARTING, STOPPING))
    found = (read_record(path) for paths in records for path in paths)
    services = (_answering(services_dir, service) for service in found if service is not None)
    return {service.name for service in services if is_alive(service)}


def read_record(path: Path) -> Service | None:
    """Read one record; None if the file does not exist. Raises PermanentError if it is invalid."""
    try:
        values = json.loads(path.read_bytes())
        known = {"annotations": {}, "host": "", **values}
        return Service(**{field.name: known[field.name] for field in fields(Service)})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"{path}: not a record of a service; delete the file") from error


def write_record(path: Path, service: Service) -> None:
    """Write one record atomically."""
    atomic_write(path, json.dumps(asdict(service), indent=2) + "\n")


def is_alive(service: Service) -> bool:
    """Whether the process of the record still runs."""
    return process_started(service.pid) == service.process_started


def stop_service(services_dir: Path, name: str, *, timeout_seconds: float = STOP_SECONDS) -> bool:
    """Stop the server with that name, and keep its record; False if none was running.

    Of an adapter that joined a service the server goes on without it. Servers that a killed deploy
    has left are stopped too; a living deploy ends its own. Raises PermanentError if a process
    cannot be killed.
    """
    folder = services_dir / name
    if not folder.is_dir():
        return False
    with deploy_lock(folder) as is_held:
        paths = [folder / file for file in ((RECORD, STARTING, STOPPING) if is_held else (RECORD,))]
        found = [(path, service) for path in paths if (service := read_record(path)) is not None]
        was_running = any(is_alive(_answering(services_dir, service)) for _, service in found)
        for path, service in found:
            if service.host:
                remove_directory(_joined_dir(services_dir, service))
                write_record(path, _without_server(service))
                continue
            stop_process(service, timeout_seconds=timeout_seconds)
            if path.name != RECORD:
                path.unlink(missing_ok=True)
    return was_running


def forget_service(services_dir: Path, name: str) -> None:
    """Delete all that is kept of a stopped service.

    Raises PermanentError while a server of it runs, or a deploy.
    """
    folder = services_dir / name
    if not folder.is_dir():
        return
    with deploy_lock(folder) as is_held:
        if not is_held or name in names_of_running(services_dir):
            raise PermanentError(f"{name}: is running; stop it first: argotune stop {name}")
        remove_directory(folder)


def _answering(services_dir: Path, service: Service) -> Service:
    """The record with the server that answers now, where that is another service's."""
    if not service.host:
        return service
    host = read_record(services_dir / service.host / RECORD)
    if host is None or not _joined_dir(services_dir, service).is_dir():
        return _without_server(service)
    return replace(
        service,
        pid=host.pid,
        process_started=host.process_started,
        port=host.port,
        endpoint=host.endpoint,
    )


def _joined_dir(services_dir: Path, service: Service) -> Path:
    return services_dir / service.host / ADAPTERS / service.name


def _without_server(service: Service) -> Service:
    """The record of an adapter that left the service which it had joined."""
    return replace(service, pid=0, process_started="", port=0, host="")


@contextlib.contextmanager
def deploy_lock(folder: Path) -> Iterator[bool]:
    """Lock a service's folder until the block or the process ends; yields False if a deploy has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        is_held = False
    else:
        is_held = True
    try:
        yield is_held
    finally:
        os.close(descriptor)


def stop_process(service: Service, *, timeout_seconds: float = STOP_SECONDS) -> None:
    """Send SIGTERM to the server's process group, and SIGKILL after the timeout.

    Raises PermanentError if the process outlives both.
    """
    for request in (signal.SIGTERM, signal.SIGKILL):
        if not is_alive(service):
            return
        # The server leads its own session, so its process group is the server and its children.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.pid, request)
        if _ends(service, timeout_seconds):
            return
    raise PermanentError(f"process {service.pid} of service {service.name} cannot be killed")


def process_started(pid: int) -> str | None:
    """Start time of a process, as a string to compare with an earlier one of the same id.

    None if there is no such process, or it is a zombie.
    """
    if Path("/proc/self/stat").exists():
        return _started_from_proc(pid)
    return _started_from_ps(pid)


def _started_from_proc(pid: int) -> str | None:
    try:
        # The command's name is in parentheses and may itself contain spaces and parentheses.
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, threads, start_ticks = after_name[0], int(after_name[17]), after_name[19]
    # As long as a thread is left, so are the process's sockets, though it is called a zombie.
    has_ended = state in "ZX" and threads <= 1
    return None if has_ended else f"{boot}/{start_ticks}"


def _started_from_ps(pid: int) -> str | None:
    """For systems without /proc, such as macOS."""
    result = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    state, _, started = result.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def _ends(service: Service, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while is_alive(service):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
