"""How much of its memory a container uses, said before the kernel kills it for using all.

A killed process has no last word, so its message is written in advance and kept up to date.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_LOOK_SECONDS = 1.0
_ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
"""cgroup v1 writes a number of this size where there is none."""
_MORE = 1.5
_MIB, _GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Of one container, in bytes."""

    used: int
    """Without the page cache that the kernel would drop first."""
    limit: int


def host_memory(root: Path = _ROOT) -> HostMemory | None:
    """What the cgroup's files say, of version 2 or 1; None where there is no limit."""
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


def sentence(memory: HostMemory, parameter: str) -> str:
    """What to say of a container that was killed for its memory."""
    more = memory.limit * _MORE
    needed = f"{math.ceil(more / _GIB)}Gi" if more >= _GIB else f"{math.ceil(more / _MIB)}Mi"
    return (
        f"host memory: {_size(memory.used)} used of {_size(memory.limit)} (parameter {parameter}); "
        f"if it ran out, give at least {needed}"
    )


class MemoryWatch:
    """Says the memory's state once a second while the `with` block runs, and nothing after it."""

    def __init__(
        self,
        parameter: str | None,
        say: Callable[[str], None],
        *,
        look: Callable[[], HostMemory | None] = host_memory,
        every_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._parameter = parameter
        self._say = say
        self._look = look
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemoryWatch:
        if self._parameter is not None and self._look() is not None:
            self._thread = threading.Thread(target=self._watch, args=(self._parameter,))
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
        self._say("")

    def _watch(self, parameter: str) -> None:
        while True:
            memory = self._look()
            if memory is not None:
                self._say(sentence(memory, parameter))
            if self._stop.wait(self._every_seconds):
                return


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"
