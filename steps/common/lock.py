"""Locks in files, which the kernel releases when their process ends in any way.

A lock's file holds nothing: on SMB shares, such as Azure Files, a locked file cannot be written
through another descriptor.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the file's lock; call `on_wait` before waiting for a process that holds it.

    An error of `on_wait` ends the attempt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
