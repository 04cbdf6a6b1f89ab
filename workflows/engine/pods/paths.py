"""Container paths on this machine: the files and directories that stand for declared paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# What may not stand before or after a path for it to be that path: `/x/work` is not in
# `/data/x/work`, `$DIR/x/work`, `/x/workshop` or `/x/work.tar`, and is in `oci:/x/work`.
_BEFORE = r"(?:(?<![\w./\-~})\]*])|(?<=file://))"
_AFTER = r"(?![\w\-]|\.\w)"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of this machine at a path of the container."""

    host: Path
    path: str
    read_only: bool = False


class PathMap:
    """Translates texts that contain container paths; the longest path wins."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._hosts = {_normal(path): str(host) for path, host in paths.items()}
        self._forward = _pattern(self._hosts)
        self._containers = {host: path for path, host in self._hosts.items()}
        self._backward = _pattern(self._containers)

    def to_host(self, text: str) -> str:
        """`text` with all declared container paths replaced by paths of this machine."""
        return _replace(text, self._forward, self._hosts)

    def to_container(self, text: str) -> str:
        """`text` with paths of this machine replaced by the container paths that they stand for."""
        return _replace(text, self._backward, self._containers)

    def host_of(self, path: str) -> Path | None:
        """The path on this machine of a container path; None if no declared path contains it."""
        normal = _normal(path)
        for declared in sorted(self._hosts, key=len, reverse=True):
            if normal == declared:
                return Path(self._hosts[declared])
            if normal.startswith(declared + "/"):
                return Path(self._hosts[declared]) / normal[len(declared) + 1 :]
        return None


def _normal(path: str) -> str:
    return path.rstrip("/") or "/"


def _pattern(paths: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(paths, key=len, reverse=True)
    if not ordered:
        return None
    return re.compile(f"{_BEFORE}(?:{'|'.join(map(re.escape, ordered))}){_AFTER}")


def _replace(text: str, pattern: re.Pattern[str] | None, by: Mapping[str, str]) -> str:
    if pattern is None:
        return text
    return pattern.sub(lambda match: by[match.group()], text)
