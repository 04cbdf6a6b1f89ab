"""Data of this machine and of mounted volumes, read in place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.urls import VOLUME_SCHEME
from argotune.steps.dataset.selection import fixed_directory, is_pattern, select


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file, and its URL."""

    url: str
    path: Path

    @property
    def state(self) -> list[str | int]:
        """What changes with the file: URL, bytes, and the time of the last change."""
        status = self.path.stat()
        return [self.url, status.st_size, status.st_mtime_ns]


def local_files(url: str, volume_dir: Path | None) -> list[LocalFile] | None:
    """The files of a URL of this machine or of the mounted volume; None for other URLs.

    Raises ParamsError or PermanentError.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return files_of_machine(url.partition("#")[0])
    if scheme == VOLUME_SCHEME:
        return files_of_volume(url.partition("#")[0], volume_dir)
    return None


def identity_of(url: str, volume_dir: Path | None) -> list[object]:
    """What a URL and, for files of this machine, their sizes and times say; no secret is in it."""
    # Hashed, because the URL's query may contain a secret.
    identity: list[object] = [hashlib.sha256(url.encode()).hexdigest()]
    for file in local_files(url, volume_dir) or ():
        identity += file.state
    return identity


def files_of_machine(url: str) -> list[LocalFile]:
    """The files that a file URL means: a file, a directory, or a pattern.

    Raises PermanentError where there is none.
    """
    path = unquote(urlsplit(url).path)
    if Path(path).is_file():
        return [LocalFile(url=url, path=Path(path))]
    directory = Path("/", fixed_directory(path)) if is_pattern(path) else Path(path)
    if not directory.exists():
        raise PermanentError(f"{url}: no such file or directory")
    names = list(_names(directory, url))
    inside = os.path.relpath(path, directory) if is_pattern(path) else ""
    return [
        LocalFile(url=directory.joinpath(name).as_uri(), path=directory / name)
        for name in select(names, inside, url)
    ]


def files_of_volume(url: str, directory: Path | None) -> list[LocalFile]:
    """The files that volume://CLAIM/PATH means, on the volume that is mounted at the directory.

    Raises ParamsError without a volume, PermanentError where there are no files or one is a link
    that leads out of the volume, such as to a Secret of the pod.
    """
    claim = urlsplit(url).netloc
    if directory is None or not directory.is_dir():
        raise ParamsError(
            f"--volume-dir: {directory} is not there: claim {claim} is not mounted; does the"
            " installation allow it?"
        )
    root = directory.resolve()
    names = select(list(_names(root, url)), unquote(urlsplit(url).path).strip("/"), url)
    outside = [name for name in names if not (root / name).resolve().is_relative_to(root)]
    if outside:
        raise PermanentError(
            f"{url}: {outside[0]} is a link that leads out of the volume; put the file itself there"
        )
    return [LocalFile(url=f"volume://{claim}/{quote(name)}", path=root / name) for name in names]


def _names(directory: Path, url: str) -> Iterator[str]:
    """All files below a directory, as paths with `/`."""

    def refuse(error: OSError) -> None:
        raise PermanentError(f"{url}: {error.filename}: {error.strerror}") from error

    for place, directories, files in os.walk(directory, onerror=refuse):
        # What file systems and notebooks keep for themselves.
        directories[:] = [name for name in directories if not name.startswith((".", "lost+found"))]
        for name in files:
            yield Path(place, name).relative_to(directory).as_posix()
