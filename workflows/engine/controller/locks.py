"""Mutexes and semaphores as locked files, which all runs of this machine share."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from argotune.workflows.engine.errors import PodError
from argotune.workflows.engine.model import JsonObject

LOCK_POLL_SECONDS = 0.25
"""Time between two attempts to take a lock that another run holds."""


@dataclass(frozen=True, slots=True)
class LockName:
    """A lock with Argo's name, such as `default/Mutex/NAME`."""

    kind: str
    namespace: str
    name: str
    limit: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.kind}/{self.name}"

    @property
    def file_prefix(self) -> str:
        """The beginning of the names of its files, without slashes."""
        return f"{self.namespace}.{self.kind}.{self.name}".replace("/", ".")


def lock_names(
    synchronization: JsonObject | None,
    namespace: str,
    config_maps: Mapping[str, Mapping[str, str]],
) -> list[LockName]:
    """The locks that a `synchronization` names. Raises PodError if a semaphore has no limit."""
    wanted = synchronization or {}
    names = [
        LockName("Mutex", mutex.get("namespace") or namespace, mutex["name"], 1)
        for mutex in wanted.get("mutexes") or []
    ]
    for semaphore in wanted.get("semaphores") or []:
        reference = semaphore["configMapKeyRef"]
        limit = config_maps.get(reference["name"], {}).get(reference["key"])
        if limit is None or not limit.isdigit():
            raise PodError(
                f"semaphore: configMap {reference['name']!r} has no whole number under "
                f"{reference['key']!r}"
            )
        name = f"{reference['name']}/{reference['key']}"
        names.append(
            LockName("ConfigMap", semaphore.get("namespace") or namespace, name, int(limit))
        )
    return names


class LockTable:
    """The locks of one run, by holder: a node's id, or the empty string for the workflow."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, list[IO[str]]] = {}

    def acquire(self, holder: str, names: list[LockName]) -> LockName | None:
        """Take all locks or none; return None, or the first lock that another holder has."""
        if holder in self._held or not names:
            return None
        self._directory.mkdir(parents=True, exist_ok=True)
        taken: list[IO[str]] = []
        for name in sorted(names, key=str):  # one order for all runs prevents deadlocks
            slot = self._slot(name)
            if slot is None:
                _close(taken)
                return name
            taken.append(slot)
        self._held[holder] = taken
        return None

    def release(self, holder: str) -> None:
        """Release the locks of `holder`, if it has any."""
        _close(self._held.pop(holder, []))

    def release_all(self) -> None:
        """Release the locks of all holders."""
        for holder in list(self._held):
            self.release(holder)

    def _slot(self, name: LockName) -> IO[str] | None:
        for index in range(name.limit):
            file = (self._directory / f"{name.file_prefix}.{index}").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            return file
        return None


def waiting_message(name: LockName) -> str:
    """Argo's message of a node that waits for a lock."""
    return f"Waiting for {name} lock. Lock status: 0/{name.limit}"


def _close(files: list[IO[str]]) -> None:
    for file in files:
        file.close()
