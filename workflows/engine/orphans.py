"""Pods whose engine was killed: what still runs of them, and how it ends.

Each engine starts a watchdog, a process that waits for the engine's end and then ends the pods that
the engine has left. It waits at a pipe whose other end only the engine holds, so it works wherever
there are pipes. Were it killed too, `orphans` finds the pods.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from argotune.workflows.engine.pods.process_groups import GRACE_SECONDS, end_groups, groups_of_pods
from argotune.workflows.engine.record import PODS, no_engine

_WAIT = """
import os, sys
sys.stdin.buffer.read(1) or os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""The watchdog's program: nothing is imported, which takes longer, unless the engine was killed."""
_LOCK_SECONDS = 2.0
_LOCK_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def watched(run_dir: Path, grace_seconds: float) -> Iterator[None]:
    """End the run's pods should this process be killed during the block."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WAIT, "-m", __name__, str(run_dir), str(grace_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C and the loss of the terminal are the engine's to handle.
        start_new_session=True,
    )
    try:
        yield
    finally:
        # Somebody may have killed the watchdog.
        with contextlib.suppress(BrokenPipeError):
            process.communicate(b"\n")


def orphans(run_dir: Path) -> dict[str, set[int]]:
    """The process groups that a killed engine has left, by node ID; none while an engine runs.

    No engine can begin meanwhile, so none of them is that of a resumed run.
    """
    with no_engine(run_dir) as is_so:
        return groups_of_pods(run_dir / PODS) if is_so else {}


def end_orphans(run_dir: Path, grace_seconds: float = GRACE_SECONDS) -> dict[str, set[int]]:
    """End what `orphans` finds, and return it: SIGTERM, and SIGKILL after the seconds of grace."""
    found = orphans(run_dir)
    end_groups(set().union(*found.values()), grace_seconds)
    return found


def main(run_dir: Path, grace_seconds: float) -> None:
    """The watchdog, once its engine has ended without a word."""
    # The kernel may close the engine's pipe a moment before it releases the engine's lock.
    deadline = time.monotonic() + _LOCK_SECONDS
    while not end_orphans(run_dir, grace_seconds) and time.monotonic() < deadline:
        time.sleep(_LOCK_PAUSE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
