"""Joining a service of this machine: its server takes one more adapter of its base, by its name.

As on a cluster (join.py), but for the directory, which is in the service's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.client_keys import read_keys
from argotune.steps.contracts.in_service import read_in_service
from argotune.steps.contracts.services import (
    ADAPTERS,
    KEYS,
    LOG,
    RECORD,
    Service,
    is_alive,
    read_record,
    write_record,
)
from argotune.steps.deploy.ask import ask, serves_digest
from argotune.steps.deploy.joined_files import joined, refusals_in, wait_until_served
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.process import run_of, service_lock
from argotune.steps.deploy.version import in_service, record_version

_LOGGER = logging.getLogger(__name__)
_ASK_SECONDS = 300.0


def join_process(
    params: Params,
    model: str,
    services_dir: Path,
    *,
    progress: Progress,
    clock: Clock = REAL_CLOCK,
) -> Result:
    """Put the adapter into the service, wait until its server has it, and ask it.

    `model` is the title of the base model. Raises PermanentError with all that differs where the
    service cannot take it, or with the reason of its server; then what was served before is.
    """
    folders = services_dir.absolute()
    host_folder = folders / params.serve_with
    with service_lock(folders / params.name):
        host = _host(params, model, folders)
        keys_file = host_folder / KEYS
        key = next(iter(read_keys(keys_file).values())) if keys_file.exists() else None
        server = _Server(params=params, url=host.endpoint, key=key, log_file=host_folder / LOG)
        known = server.refusals()
        with joined(params, host_folder / ADAPTERS):
            wait_until_served(server, known, params, clock=clock, progress=progress)
            answer = ask(
                host.endpoint,
                params.question,
                model=params.name,
                timeout_seconds=_ASK_SECONDS,
                key=key,
                clock=clock,
            )
        version = _record(params, host, folders / params.name / RECORD)
    progress.update(1, 1)
    log.event(_LOGGER, "joined", name=params.name, service=host.name, endpoint=host.endpoint)
    return Result(endpoint=host.endpoint, answer=answer, version=version)


@dataclass(frozen=True, kw_only=True)
class _Server:
    """The one server of the service."""

    params: Params
    url: str
    key: str | None
    log_file: Path

    def late(self) -> list[str]:
        """Say that it does not serve the adapter yet."""
        digest = self.params.adapter_digest()
        is_served = serves_digest(self.url, self.params.name, digest, key=self.key)
        return [] if is_served else [f"{self.url} does not serve it"]

    def refusals(self) -> frozenset[str]:
        """Collect what its log says of an adapter of the name that it does not take."""
        with contextlib.suppress(FileNotFoundError):
            text = self.log_file.read_text(errors="replace")
            return frozenset(refusals_in(text, self.params.name))
        return frozenset()


def _host(params: Params, model: str, folders: Path) -> Service:
    """The record of the service. Raises PermanentError with all that differs."""
    host = read_record(folders / params.serve_with / RECORD)
    problems = list(_differences(host, model))
    own = read_record(folders / params.name / RECORD)
    if own is not None and not own.host and is_alive(own):
        problems.append(
            f"{params.name} has a service of its own, which `argotune stop {params.name}` ends"
        )
    if host is None or problems:
        raise PermanentError(f"serve-with {params.serve_with}: {'; '.join(problems)}")
    return host


def _differences(host: Service | None, model: str) -> Iterator[str]:
    if host is None:
        yield "there is no such service on this machine"
        return
    if host.host:
        yield f"its adapter is one of service {host.host}; join that one"
        return
    if not is_alive(host):
        yield f"it does not run; `argotune start {host.name}` starts it"
    if host.model != model:
        yield f"it serves the base {host.model}, and the adapter belongs to {model}"


def _record(params: Params, host: Service, path: Path) -> str:
    """Move the tags of versions, and write the record; returns the version."""
    tagged = record_version(params)
    old = read_record(path)
    before = read_in_service(old.annotations) if old is not None else None
    described = in_service(params, tagged, before, run=run_of(params))
    record = dataclasses.replace(
        host,
        name=params.name,
        host=host.name,
        digest=params.adapter_digest(),
        annotations=described.annotations(),
    )
    write_record(path, record)
    return tagged.version
