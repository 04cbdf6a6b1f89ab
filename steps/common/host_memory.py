"""Report a container's memory use before the kernel kills it for exceeding its limit.

A killed process cannot write a message, so the message is written in advance and kept up to date.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_INTERVAL_SECONDS = 1.0
_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
"""cgroup v1 writes a number of this size when there is no limit."""
_ADVISED_INCREASE = 1.5
_MIB, _GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Memory use and limit of one container, bytes."""

    used: int
    """Used memory, without the page cache that the kernel drops first."""
    limit: int


def host_memory(root: Path = _ROOT) -> HostMemory | None:
    """Read the memory use and limit from cgroup v2 or v1; None if there is no limit."""
    v1 = root / "memory"
    if (root / "memory.current").exists():
        paths, cache = (root / "memory.current", root / "memory.max"), "inactive_file"
    else:
        paths = (v1 / "memory.usage_in_bytes", v1 / "memory.limit_in_bytes")
        cache = "total_inactive_file"
    try:
        usage, limit = (path.read_text().strip() for path in paths)
        stat = dict(
            line.split() for line in (paths[0].parent / "memory.stat").read_text().splitlines()
        )
    except (OSError, ValueError):
        return None
    if limit == "max" or int(limit) >= _NO_LIMIT:
        return None
    return HostMemory(used=max(0, int(usage) - int(stat.get(cache, 0))), limit=int(limit))


def memory_message(memory: HostMemory, parameter: str | None) -> str:
    """The error message of a container that the kernel kills for its memory use.

    `parameter` is the workflow parameter that sets the limit, None if the template does.
    """
    more = memory.limit * _ADVISED_INCREASE
    needed = f"{math.ceil(more / _GIB)}Gi" if more >= _GIB else f"{math.ceil(more / _MIB)}Mi"
    use = f"host memory: {_size(memory.used)} used of {_size(memory.limit)}"
    if parameter is None:
        return (
            f"{use}; if it ran out of memory, its input is far larger than this step is made for: "
            "give it less, or raise the step's resources.limits.memory in the WorkflowTemplate to "
            f"{needed}"
        )
    return f"{use} (parameter {parameter}); if it ran out of memory, set at least {needed}"


class MemoryWatch:
    """Passes the memory message to `write` every second while the `with` block runs.

    At the end of the block it passes the empty string, which clears the message.
    """

    def __init__(
        self,
        parameter: str | None,
        write: Callable[[str], None],
        *,
        read: Callable[[], HostMemory | None] = host_memory,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._parameter = parameter
        self._write = write
        self._read = read
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemoryWatch:
        if self._read() is not None:
            self._thread = threading.Thread(target=self._watch)
            self._thread.daemon = True
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._write("")

    def _watch(self) -> None:
        while True:
            memory = self._read()
            if memory is not None:
                self._write(memory_message(memory, self._parameter))
            if self._stop.wait(self._interval_seconds):
                return


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"
