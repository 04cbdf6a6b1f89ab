"""A file lock, so that only one step at a time writes a model into the cache."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from argotune.steps.common import log

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the file's lock and hold it; the lock is released when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.event(_logger, "waiting", reason="another run is downloading this model")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
