"""The end of an engine together with its watchdog, as when all processes of a user are killed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path


def kill_with_watchdog(engine: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """SIGKILL both, so that nobody ends the steps."""
    children = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()
    (watchdog,) = (pid for pid in children if _is_watchdog(pid))
    for pid in (int(watchdog), engine.pid):
        os.kill(pid, signal.SIGKILL)
    engine.wait(10)


def _is_watchdog(pid: str) -> bool:
    return b"argotune.workflows.engine.orphans" in Path(f"/proc/{pid}/cmdline").read_bytes()
