"""The model cache: one directory for the files that one source had in one version.

    presets/OWNER--NAME/REVISION    what a preset names by repository and revision
    oci/PLACE/DIGEST                what an image had, PLACE and DIGEST in hex
    dir/PLACE/DIGEST                what a directory had
    joined/SERVICE/NAME             no model: an adapter that joined a service

A directory counts as a complete model if it has the marker file, which is written last. It lists
every file with its size and SHA-256, and says where they come from. Nothing in a complete
directory changes, because services and runs of others use it. OWNER--NAME/REVISION at the top is
the earlier layout, which had whatever source a run named, and did not write it down: services that
began with such a directory go on with it, and no new run trusts it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.fs import atomic_write, sha256_file

MARKER = ".argotune-complete.json"
"""Name of the marker file of a complete model directory."""

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where files come from, as it was found out and not as somebody said."""

    source: str
    """`hub`, `made` (by argotune on this machine), `oci:IMAGE` or `dir:DIRECTORY`."""
    version: str
    """What the source had: a commit of the Hub, the preset's revision of what is made here, or
    sha256:HEX of the image's manifest or of the directory's files."""

    @property
    def is_of_preset(self) -> bool:
        """Whether these are the files that the preset names by repository and revision."""
        return ":" not in self.source

    def __str__(self) -> str:
        return f"{self.source} at {self.version}"


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
    origin: Origin | None = None
    """None for what a run made, as a checkpoint, and in the earlier layout."""

    @property
    def size(self) -> int:
        """Total size of all files, bytes."""
        return sum(file.size for file in self.files.values())

    @property
    def digest(self) -> str:
        """sha256:HEX over the names, sizes and sums of all files."""
        return digest_of(self.files)


def cache_path(cache_dir: Path, repository: str, revision: str) -> Path:
    """Path of what a preset names, existing or not: cache_dir/presets/OWNER--NAME/REVISION.

    Raises ParamsError for names that would lead outside the cache.
    """
    return cache_dir / "presets" / _preset_path(repository, revision)


def old_cache_path(cache_dir: Path, repository: str, revision: str) -> Path:
    """Path of the same in the earlier layout."""
    return cache_dir / _preset_path(repository, revision)


def joined_path(service: str) -> Path:
    """Path below the cache of the adapters that joined a service, each in a directory of its name.

    Its servers serve what is there (steps/serve/adapters_dir.py).
    """
    return Path("joined", service)


def entry_path(cache_dir: Path, repository: str, origin: Origin) -> Path:
    """Path of the files of an origin, existing or not; `repository` is the preset's."""
    if origin.is_of_preset:
        return cache_path(cache_dir, repository, origin.version)
    kind, _, place = origin.source.partition(":")
    hashed = hashlib.sha256(place.encode()).hexdigest()[:16]
    return cache_dir / kind / hashed / origin.version.removeprefix("sha256:")


def measure(directory: Path, names: Iterable[str]) -> dict[str, CachedFile]:
    """Read files of a directory: their sizes and sums, by name."""
    return {
        name: CachedFile(
            size=(directory / name).stat().st_size, sha256=sha256_file(directory / name)
        )
        for name in names
    }


def digest_of(files: Mapping[str, CachedFile]) -> str:
    """sha256:HEX over the names, sizes and sums of files."""
    lines = [f"{name} {file.size} {file.sha256}\n" for name, file in sorted(files.items())]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def mark_complete(directory: Path, origin: Origin | None = None) -> Marker:
    """Write the marker for all files of a model directory; call this after all other writes."""
    marker = Marker(files=measure(directory, _file_names(directory)), origin=origin)
    text = json.dumps(msgspec.to_builtins(marker), indent=2, sort_keys=True)
    atomic_write(directory / MARKER, text + "\n")
    return marker


def is_complete(directory: Path) -> bool:
    """Whether this is a whole model whose origin is known.

    The files have to be there with the right sizes; contents are not read.
    """
    marker = read_marker(directory)
    return marker is not None and marker.origin is not None and not damage(directory)


def read_marker(directory: Path) -> Marker | None:
    """The marker, or None if it is missing or unreadable."""
    try:
        return msgspec.json.decode((directory / MARKER).read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError):
        return None


def base_of(directory: Path) -> tuple[Origin, str]:
    """Origin and digest of a base model that the model step has brought.

    Raises PermanentError if the directory does not say where its files come from.
    """
    marker = read_marker(directory)
    if marker is None or marker.origin is None:
        raise PermanentError(
            f"{directory}: {MARKER} does not say where the weights come from; the model step "
            "brings them and writes it"
        )
    return marker.origin, marker.digest


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


def _preset_path(repository: str, revision: str) -> Path:
    problems = []
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        problems.append(f"model repository {repository!r}: expected OWNER/NAME or NAME")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        problems.append(f"model revision {revision!r}: expected a commit, tag or branch without /")
    if problems:
        raise ParamsError(problems)
    return Path(repository.replace("/", "--"), revision)


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
