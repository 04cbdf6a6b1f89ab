"""Target process: the server as a background process on this machine.

The new server starts beside the old one, at a port that only deploy knows, and gets the service's
listening socket when it has answered; then the old one ends what it is answering. The records
starting.json and stopping.json identify servers that an interrupted attempt left behind; a server
does not run before it has such a record.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from argotune.steps.cluster.kube import connect
from argotune.steps.cluster.this_run import read_this_run
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.fields import fields_of, text_of
from argotune.steps.common.fs import remove_directory, remove_partials
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import read_in_service
from argotune.steps.contracts.listener import HOST, forget_offers
from argotune.steps.contracts.services import (
    ADAPTERS,
    KEYS,
    LOG,
    RECORD,
    STARTING,
    STOPPING,
    Service,
    deploy_lock,
    is_alive,
    process_started,
    read_record,
    read_service,
    stop_process,
    write_record,
)
from argotune.steps.deploy.adapter import unpack_adapter
from argotune.steps.deploy.ask import ask, serves
from argotune.steps.deploy.client_key import client_key, kept_keys
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.port import open_listener
from argotune.steps.deploy.server_flags import model_flags, server_flags
from argotune.steps.deploy.version import in_service, record_version

_LOGGER = logging.getLogger(__name__)

SERVE_COMMAND = (sys.executable, "-m", "argotune.steps.serve")
_ONCE_RECORDED = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "serve")
"""Replaces itself by the command after a line on stdin, and ends when there comes none."""
_STARTING_LOG, _FAILED_LOG = "server.starting.log", "server.failed.log"
_POLL_SECONDS = 0.1
_LOG_LINES = 15


@dataclass(frozen=True, kw_only=True)
class _Server:
    """A newly started server process."""

    process: subprocess.Popen[bytes]
    started: str
    """Start time of the process, from argotune.steps.contracts.services.process_started."""
    log_file: Path

    def begin(self) -> None:
        """Let the server run, which waits for a line on its stdin."""
        if self.process.stdin is None:
            raise AssertionError("stdin is a pipe")
        # That the process has ended is found by those who wait for it.
        with contextlib.suppress(BrokenPipeError), self.process.stdin as line:
            line.write(b"\n")


def deploy_process(
    params: Params,
    model: str,
    services_dir: Path,
    *,
    progress: Progress,
    serve_command: Sequence[str] = SERVE_COMMAND,
    clock: Clock = REAL_CLOCK,
) -> Result:
    """Start the server, wait until it serves the adapter, ask it, and replace the old one.

    `model` is the title of the base model, for the record.
    On any failure the new server is killed and the old one keeps running. Raises PermanentError
    with the end of the server's log.
    """
    deadline = time.monotonic() + params.timeout_seconds
    folder = services_dir.absolute() / params.name
    with service_lock(folder):
        _refuse_joined(services_dir, params.name)
        _end_leftovers(folder)
        remove_partials(folder)
        (folder / ADAPTERS).mkdir(exist_ok=True)
        with kept_keys(params, folder / KEYS):
            key = client_key(params, folder / KEYS)
            found = _find_running(params, model, folder, key)
            if found is not None:
                service, answer = found, _ask(found, params, key, deadline, clock)
            else:
                service, answer = _start_beside(
                    params, model, folder, key, deadline, progress, serve_command, clock
                )
        if found is None:
            # From here on both servers work and have records, so an interruption loses neither.
            service = _take_over(folder, service)
            _end_leftovers(folder)
        _remove_other_adapters(folder, _adapter_dir(params, folder))
        version = _describe(params, folder, service)
    progress.update(4, 4)
    log.event(_LOGGER, "serving", name=params.name, endpoint=service.endpoint, pid=service.pid)
    return Result(endpoint=service.endpoint, answer=answer, version=version)


def _start_beside(
    params: Params,
    model: str,
    folder: Path,
    key: str | None,
    deadline: float,
    progress: Progress,
    serve_command: Sequence[str],
    clock: Clock,
) -> tuple[Service, str]:
    """Start a server beside the old one; it has the listening socket too when it has answered."""
    adapter_dir = unpack_adapter(params, _adapter_dir(params, folder))
    progress.update(1, 4)
    with open_listener(folder, read_record(folder / RECORD), params.port) as listener:
        command = [*serve_command, *flags_of(params, adapter_dir, folder, listener.fileno())]
        with _start_server(command, folder, listener) as server:
            write_record(folder / STARTING, _service(params, model, server, port=0))
            server.begin()
            port = _wait_until_ready(server, folder / "port", params.name, key, deadline)
            progress.update(2, 4)
            asked = _service(params, model, server, port=port)
            answer = _ask(asked, params, key, deadline, clock)
            progress.update(3, 4)
            os.kill(server.process.pid, signal.SIGUSR1)
        port = listener.getsockname()[1]
    return _service(params, model, server, port=port), answer


def _describe(params: Params, folder: Path, service: Service) -> str:
    """Move the tags of versions, and complete the service's record; returns the version."""
    tagged = record_version(params)
    before = read_in_service(service.annotations)
    annotations = in_service(params, tagged, before, run=run_of(params)).annotations()
    write_record(folder / RECORD, dataclasses.replace(service, annotations=annotations))
    return tagged.version


def _refuse_joined(services_dir: Path, name: str) -> None:
    """Raise PermanentError where the adapter of this name is that of another service's server.

    The record of one that was taken out by hand forgets that server, or else it would be stopped.
    """
    service, path = read_service(services_dir, name), services_dir / name / RECORD
    if service is None:
        return
    if service.host:
        raise PermanentError(
            f"{service.name} has joined service {service.host}; `argotune stop {service.name}`"
            " takes it out, and then it can have one of its own"
        )
    if service != read_record(path):
        write_record(path, service)


def run_of(params: Params) -> Mapping[str, Any]:
    """The Workflow of this step; empty where nothing says it."""
    if params.run_record is None:
        return {}
    return read_this_run("", params.run_name or "", record=params.run_record, connect=connect)


@contextlib.contextmanager
def service_lock(folder: Path) -> Iterator[None]:
    """Lock the service's folder; the lock is released when this process ends in any way."""
    folder.mkdir(parents=True, exist_ok=True)
    with deploy_lock(folder) as is_held:
        if not is_held:
            raise TransientError(
                f"another deploy of service {folder.name} is running on this machine; wait for its "
                "end"
            )
        yield


@contextlib.contextmanager
def _start_server(
    command: Sequence[str], folder: Path, listener: socket.socket
) -> Iterator[_Server]:
    """Yield a server in its own session, so that it outlives this step; a failure kills it.

    The server waits for `begin`, and ends when this process ends before.
    """
    (folder / "port").unlink(missing_ok=True)
    log_file = folder / _STARTING_LOG
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [*_ONCE_RECORDED, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(folder),
            start_new_session=True,
            pass_fds=[listener.fileno()],
        )
    try:
        started = process_started(process.pid) or ""
        yield _Server(process=process, started=started, log_file=log_file)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log_file.rename(folder / _FAILED_LOG)
        (folder / STARTING).unlink(missing_ok=True)
        raise
    # The server keeps running; otherwise Popen would warn that nothing waits for it.
    process.returncode = 0


def _environment(folder: Path) -> dict[str, str]:
    """This step's environment without variables for files that may be deleted with the step."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARGO_")}
    return kept | {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        # Model and adapter are local; a request to the Hub would fail without a network.
        "HF_HUB_OFFLINE": "1",
    }


def flags_of(params: Params, adapter_dir: Path, folder: Path, listener_fd: int) -> list[str]:
    """The flags for argotune.steps.serve."""
    return [
        f"--model-dir={params.cache_dir.absolute() / (params.model_dir or '')}",
        *model_flags(params, adapter_dir),
        f"--adapters-dir={folder / ADAPTERS}",
        f"--host={HOST}",
        # Where deploy asks it before it gets the service's listening socket.
        "--port=0",
        f"--listener-fd={listener_fd}",
        f"--port-file={folder / 'port'}",
        *server_flags(params, folder / KEYS),
    ]


def _service(params: Params, model: str, server: _Server, *, port: int) -> Service:
    return Service(
        name=params.name,
        pid=server.process.pid,
        process_started=server.started,
        port=port,
        endpoint=f"http://{HOST}:{port}",
        digest=params.served_digest(),
        model=model,
        started=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _find_running(params: Params, model: str, folder: Path, key: str | None) -> Service | None:
    """The running server of an earlier attempt with the same adapter and model, if it serves."""
    service = read_record(folder / RECORD)
    if service is None or not is_alive(service):
        return None
    if (service.digest, service.model) != (params.served_digest(), model):
        return None
    known = read_in_service(service.annotations)
    settings = {} if known is None else known.settings
    # A file of keys is read again when it changes, whatever the Secret's name.
    if bool(settings.get("api-keys-secret")) != bool(params.api_keys_secret):
        return None
    if any(settings.get(name, default) != text for name, default, text in _of_server(params)):
        return None
    return service if serves(service.endpoint, params.name, key) else None


def _of_server(params: Params) -> Iterator[tuple[str, str, str]]:
    """Name, default and value of each flag that a running server cannot change."""
    for field in fields_of(Params):
        if field.name in ("cors_origins", "load_in_4bit", "requests_per_minute"):
            yield field.kebab, field.default or "", text_of(getattr(params, field.name))


def _wait_until_ready(
    server: _Server, port_file: Path, name: str, key: str | None, deadline: float
) -> int:
    """Wait until the server lists the adapter, and return its port."""
    while True:
        if server.process.poll() is not None:
            raise _failure(server, f"the server exited with code {server.process.returncode}")
        port = _port_in(port_file)
        if port is not None and serves(f"http://{HOST}:{port}", name, key):
            return port
        if time.monotonic() >= deadline:
            raise _failure(server, "the server was not ready in time; raise --timeout-seconds")
        time.sleep(_POLL_SECONDS)


def _failure(server: _Server, what: str) -> PermanentError:
    """The error with the end of the log, which is kept under another name."""
    text = server.log_file.read_text(errors="replace")
    lines = text.strip().splitlines()[-_LOG_LINES:]
    kept = server.log_file.with_name(_FAILED_LOG)
    log_end = " | ".join(line.strip() for line in lines) or "nothing"
    return PermanentError(f"{what}; its log ({kept}) ends with: {log_end}")


def _port_in(port_file: Path) -> int | None:
    try:
        return int(port_file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _ask(service: Service, params: Params, key: str | None, deadline: float, clock: Clock) -> str:
    """Ask the question until the deadline, but at least long enough for one answer."""
    left = max(30.0, deadline - time.monotonic())
    return ask(service.endpoint, params.question, timeout_seconds=left, key=key, clock=clock)


def _take_over(folder: Path, service: Service) -> Service:
    """Write the new server's record; the old one moves to stopping.json until it has ended.

    The annotations are the old one's until `_describe` replaces them, as those of a Deployment.
    """
    old = read_record(folder / RECORD)
    if old is not None:
        write_record(folder / STOPPING, old)
        service = dataclasses.replace(service, annotations=old.annotations)
    write_record(folder / RECORD, service)
    return service


def _end_leftovers(folder: Path) -> None:
    """Stop the servers of starting.json and stopping.json that are not the recorded one.

    The log of the recorded one gets its name, and that of another one goes.
    """
    current = read_record(folder / RECORD)
    starting = read_record(folder / STARTING)
    if current is not None and starting is not None and _same_process(starting, current):
        _rename_if_there(folder / _STARTING_LOG, folder / LOG)
    for record in (folder / STARTING, folder / STOPPING):
        service = read_record(record)
        if service is None:
            continue
        if current is None or not _same_process(service, current):
            log.event(_LOGGER, "stop", pid=service.pid, alive=is_alive(service))
            stop_process(service)
        record.unlink()
    (folder / _STARTING_LOG).unlink(missing_ok=True)
    forget_offers(folder, but_of=current.pid if current is not None else None)


def _rename_if_there(old: Path, new: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        old.rename(new)


def _same_process(one: Service, other: Service) -> bool:
    return (one.pid, one.process_started) == (other.pid, other.process_started)


def _adapter_dir(params: Params, folder: Path) -> Path:
    return folder / f"adapter-{params.served_digest().removeprefix('sha256:')[:16]}"


def _remove_other_adapters(folder: Path, current: Path) -> None:
    for path in folder.glob("adapter-*"):
        if path != current:
            remove_directory(path)
