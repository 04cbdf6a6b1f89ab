"""One step at a time fills one place of the model cache."""

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
    """Hold the file's lock; waits for another holder, and dies with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.event(_logger, "waiting", reason="another run fills this place of the cache")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
