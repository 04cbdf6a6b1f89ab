"""Process groups of pods, which are still recognized after the engine was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from argotune.workflows.engine.errors import naming

GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL: Kubernetes' default of terminationGracePeriodSeconds."""
_PROC = Path("/proc")
_POLL_SECONDS = 0.05
_KILL_SECONDS = 5.0  # nothing outlives SIGKILL for long


def identity_of(pid: int) -> str | None:
    """A process's start time and boot, which no later process with its pid has; None if gone."""
    if _PROC.is_dir():
        fields = _stat(pid)
        if fields is None or fields[0] == "Z":
            return None
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{fields[19]}"
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return found.stdout.strip() or None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on: state is 0, group 2, start time 19."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def write_pid(path: Path, pid: int) -> None:
    """Write the pid and identity of a process to a file."""
    with naming(path):
        path.write_text(f"{pid} {identity_of(pid) or ''}\n")


def groups_of_pods(pods_dir: Path) -> dict[str, set[int]]:
    """The living process groups of the pods below a directory, by the name of a pod's directory.

    A pod's pid file names the group. If the engine was killed before it wrote that file, the
    processes are found by their environment, which names the directory (Linux only).
    """
    found = {}
    for directory in pods_dir.iterdir() if pods_dir.is_dir() else ():
        groups = _groups_with(f"ARGO_PROGRESS_FILE={directory}/".encode())
        recorded = _recorded_group(directory / "pid")
        if recorded is not None:
            groups.add(recorded)
        if groups := {group for group in groups if _group_lives(group)}:
            found[directory.name] = groups
    return found


def end_groups(groups: Collection[int], grace_seconds: float) -> None:
    """End process groups: SIGTERM, and SIGKILL after `grace_seconds`."""
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
        for group in groups:
            signal_group(group, number)
        deadline = time.monotonic() + patience
        while any(map(_group_lives, groups)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def _recorded_group(path: Path) -> int | None:
    """The group of a pid file; None if its pid now belongs to another process."""
    try:
        text, _, identity = path.read_text().strip().partition(" ")
        pid = int(text)
    except (OSError, ValueError):
        return None
    return pid if identity and _is_group(pid, identity) else None


def _groups_with(variable: bytes) -> set[int]:
    """The process groups of all processes with an environment variable that begins so."""
    groups: set[int] = set()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        fields = _stat(int(entry.name))
        if fields is not None and any(each.startswith(variable) for each in environment):
            groups.add(int(fields[2]))
    return groups - {os.getpgrp()}


def signal_group(pid: int, number: int) -> None:
    """Send a signal to a process group, which may be gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _is_group(pid: int, identity: str) -> bool:
    """Whether the group is the recorded one: by its leader, or by members no older than it."""
    found = identity_of(pid)
    if found is not None:
        return found == identity
    boot, _, started = identity.rpartition("/")
    if not _PROC.is_dir() or boot != (_PROC / "sys/kernel/random/boot_id").read_text().strip():
        return False
    return any(int(fields[19]) >= int(started) for fields in _members(pid))


def _group_lives(pid: int) -> bool:
    if _PROC.is_dir():
        return bool(_members(pid))
    return identity_of(pid) is not None


def _members(group: int) -> list[list[str]]:
    """The stat fields of the group's living processes."""
    stats = (_stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [f for f in stats if f is not None and f[0] != "Z" and f[2] == str(group)]
