"""The model cache: cache_dir/OWNER--NAME/REVISION holds one base model.

A directory counts as a complete model if it has the marker file, which is written last and lists
every file with its size and SHA-256.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import msgspec

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fs import atomic_write, sha256_file

MARKER = ".argotune-complete.json"
"""Name of the marker file of a complete model directory."""

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class CachedFile(msgspec.Struct, frozen=True, kw_only=True):
    """The marker's entry for one file."""

    size: int
    """Bytes."""
    sha256: str
    """Lower-case hex."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the marker file."""

    files: dict[str, CachedFile]
    """Path below the model directory, with forward slashes -> expected size and sum."""

    @property
    def size(self) -> int:
        """Total size of all files, bytes."""
        return sum(file.size for file in self.files.values())


def cache_path(cache_dir: Path, repository: str, revision: str) -> Path:
    """Path of a model revision, existing or not: cache_dir/OWNER--NAME/REVISION.

    Raises ParamsError for names that would lead outside the cache.
    """
    problems = []
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        problems.append(f"model repository {repository!r}: expected OWNER/NAME or NAME")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        problems.append(f"model revision {revision!r}: expected a commit, tag or branch without /")
    if problems:
        raise ParamsError(problems)
    return cache_dir / repository.replace("/", "--") / revision


def mark_complete(directory: Path) -> Marker:
    """Write the marker for all files of a model directory; call this after all other writes."""
    files = {
        name: CachedFile(
            size=(directory / name).stat().st_size, sha256=sha256_file(directory / name)
        )
        for name in _file_names(directory)
    }
    marker = Marker(files=files)
    text = json.dumps(msgspec.to_builtins(marker), indent=2, sort_keys=True)
    atomic_write(directory / MARKER, text + "\n")
    return marker


def is_complete(directory: Path) -> bool:
    """Whether the marker and all its files exist with the right sizes; contents are not read."""
    return read_marker(directory) is not None and not damage(directory)


def read_marker(directory: Path) -> Marker | None:
    """The marker, or None if it is missing or unreadable."""
    try:
        return msgspec.json.decode((directory / MARKER).read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError):
        return None


def damage(directory: Path, *, read_contents: bool = False) -> list[str]:
    """Differences from the marker, one message per file; `read_contents` compares SHA-256 too."""
    marker = read_marker(directory)
    if marker is None:
        return [f"{MARKER} is missing or unreadable"]
    found = (
        _file_damage(directory / name, name, expected, read_contents)
        for name, expected in sorted(marker.files.items())
    )
    return [problem for problem in found if problem]


def _file_damage(path: Path, name: str, expected: CachedFile, read_contents: bool) -> str | None:
    try:
        size = path.stat().st_size
    except OSError:
        return f"{name} is missing"
    if size != expected.size:
        return f"{name} has {size} bytes instead of {expected.size}"
    if read_contents and sha256_file(path) != expected.sha256:
        return f"{name} differs from its SHA-256"
    return None


def _file_names(directory: Path) -> list[str]:
    """Names of all files, also in subdirectories, without hidden ones (temporary files)."""
    names = []
    for root, folders, files in os.walk(directory):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        below = Path(root).relative_to(directory)
        names += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)
