"""The files on disk that one dataset URL becomes.

DIRECTORY/NAME is a finished file, NAME.json says what it is and is written last. NAME.part is
an unfinished one, and NAME.part.json names the version of the remote file that it belongs to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write, fsync, sha256_file
from argotune.steps.common.urls import redact


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """One dataset file that lies here whole."""

    url: str
    """Where it came from, without query."""
    name: str
    """The last part of the URL's path: a hint about the format."""
    path: Path
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Received:
    """An unfinished file that turned out whole."""

    size: int
    sha256: str
    etag: str | None


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What lies beside a finished file."""

    url_sha256: str
    """Tells URLs apart, also by their query, without keeping it: it may hold a secret."""
    size: int
    sha256: str
    etag: str | None


class _PartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of the remote file an unfinished file belongs to."""

    validator: str
    """A strong ETag or a Last-Modified date, for If-Range."""


@dataclass(frozen=True)
class Target:
    """One URL of the list."""

    url: str
    """Without fragment."""
    path: Path
    """Where the finished file lies."""
    expected_sha256: str | None

    @classmethod
    def of(cls, url: str, index: int, directory: Path) -> Target:
        """Name the files of the URL at this place in the list.

        The name survives a renewed signature in the query; the place tells URLs apart that
        differ in nothing else.
        """
        address, _, fragment = url.partition("#")
        key = hashlib.sha256(f"{index} {redact(url)}".encode()).hexdigest()[:24]
        checksum = fragment.removeprefix("sha256=").lower() or None
        return cls(address, directory / key, checksum)

    @property
    def part(self) -> Path:
        """The unfinished file."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def part_size(self) -> int:
        """Bytes that an earlier try left."""
        return _size_of(self.part)

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine, read where it lies."""
        return urlsplit(self.url).scheme == "file"

    def local_path(self) -> Path:
        """Where the file of a file URL lies. Raises PermanentError when there is none."""
        path = Path(unquote(urlsplit(self.url).path))
        if not path.is_file():
            raise PermanentError(f"{redact(self.url)}: there is no such file")
        return path

    def local_file(self) -> DatasetFile:
        """The file behind a file URL."""
        path = self.local_path()
        return self._file(path, path.stat().st_size, sha256_file(path))

    def finished(self) -> DatasetFile | None:
        """The file when an earlier run finished it."""
        try:
            record = msgspec.json.decode(self._record.read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None
        if record.url_sha256 != self._url_sha256 or _size_of(self.path) != record.size:
            return None
        if self.expected_sha256 not in (None, record.sha256):
            return None
        return self._file(self.path, record.size, record.sha256)

    def finish(self, received: Received) -> DatasetFile:
        """Give a whole part its name, and write the record last.

        Raises PermanentError, and forgets the part, when it is not the expected file.
        """
        try:
            file = self._file(self.path, received.size, received.sha256)
        except PermanentError:
            self.discard_part()
            raise
        fsync(self.part)
        self.part.replace(self.path)
        self._part_record.unlink(missing_ok=True)
        record = _Record(
            url_sha256=self._url_sha256,
            size=received.size,
            sha256=received.sha256,
            etag=received.etag,
        )
        atomic_write(self._record, msgspec.json.encode(record))
        return file

    def resume_point(self) -> tuple[int, str | None]:
        """Bytes that are here and the version they belong to; (0, None) when none is of use."""
        try:
            record = msgspec.json.decode(self._part_record.read_bytes(), type=_PartRecord)
        except (OSError, msgspec.DecodeError):
            return 0, None
        return (self.part_size, record.validator) if self.part_size else (0, None)

    def remember_version(self, validator: str | None) -> None:
        """Note what the bytes to come belong to; without it they cannot be resumed."""
        if validator is None:
            self._part_record.unlink(missing_ok=True)
            return
        atomic_write(self._part_record, msgspec.json.encode(_PartRecord(validator=validator)))

    def discard_part(self) -> None:
        """Forget what an earlier try left."""
        self._part_record.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def _part_record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part.json")

    @property
    def _url_sha256(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()

    def _file(self, path: Path, size: int, sha256: str) -> DatasetFile:
        if self.expected_sha256 not in (None, sha256):
            raise PermanentError(
                f"{redact(self.url)}: its SHA-256 is {sha256}, expected was "
                f"{self.expected_sha256}; the file or the #sha256= of the URL is not the right one"
            )
        name = unquote(urlsplit(self.url).path).rpartition("/")[2]
        return DatasetFile(url=redact(self.url), name=name, path=path, size=size, sha256=sha256)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
