"""Tells a process from a later one with the same number."""

import os
import signal
import subprocess
import time
from pathlib import Path

_PROC = Path("/proc")
_POLL_SECONDS = 0.05


def identity_of(pid: int) -> str | None:
    """What no later process with this pid has: its start time and boot; None if it is gone."""
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
    """Keeps a process's pid and identity in a file."""
    path.write_text(f"{pid} {identity_of(pid) or ''}\n")


def end_stale_group(path: Path, grace_seconds: float) -> bool:
    """Ends the process group of a pid file if it still runs; whether there was one."""
    try:
        text, _, identity = path.read_text().strip().partition(" ")
        pid = int(text)
    except (OSError, ValueError):
        return False
    if not identity or not _is_group(pid, identity):
        return False
    deadline = time.monotonic() + grace_seconds
    signal_group(pid, signal.SIGTERM)
    while _group_lives(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    signal_group(pid, signal.SIGKILL)
    return True


def signal_group(pid: int, number: int) -> None:
    """Sends a signal to a process group that may be gone."""
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
