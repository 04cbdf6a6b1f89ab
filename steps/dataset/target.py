"""The files on disk of one dataset file.

DIRECTORY/NAME is the complete file, and NAME.json its record, which is written last. NAME.part is
an incomplete file, and NAME.part.json identifies the version of the remote file. NAME.kept.json is
the record of a file that an earlier look at the data has left (`argotune data`): it counts as
complete once the server has said that this is its present version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write, fsync, sha256_file
from argotune.steps.common.urls import redact
from argotune.steps.dataset.stores import StoreFile

_IMAGE_DIGEST = re.compile(r"oci:.+@(sha256:[0-9a-f]{64})/")


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """One complete dataset file on this machine."""

    url: str
    """URL of the file, without query."""
    name: str
    """The last part of the URL's path: a hint about the format."""
    path: Path
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Received:
    """A partial file that has been received completely."""

    size: int
    sha256: str


def identity(validator: str | None, size: int | None) -> str | None:
    """A server's tag or time of a file, and its bytes; None where one is not known."""
    return None if validator is None or size is None else f"{validator} {size}"


def identity_of_stored(stored: StoreFile) -> str | None:
    """Likewise of a file of an object store; a time alone may stand for two versions."""
    return identity(stored.version if stored.has_etag else None, stored.size)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """The content of NAME.json."""

    url_sha256: str
    """Hash of the URL with its query, which is not stored itself because it may be secret."""
    size: int
    sha256: str
    validator: str | None = None
    """The version of the remote file, as in NAME.part.json; None if the server names none."""


class _PartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The content of NAME.part.json."""

    validator: str
    """A strong ETag or a Last-Modified date, for If-Range."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One file that a URL of the list means, and where it goes."""

    url: str
    """Without fragment."""
    path: Path
    """Path of the complete file."""
    expected_sha256: str | None = None
    address: str
    """https or http URL of the content; the same as `url` but for files of the Hub."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers of a request to that address, which may hold a token."""
    stored: StoreFile | None = None
    """The file of an object store."""
    local: Path | None = None
    """The file of this machine, which is read in place."""

    @classmethod
    def of(
        cls,
        url: str,
        index: int,
        directory: Path,
        *,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        sha256: str | None = None,
        stored: StoreFile | None = None,
        local: Path | None = None,
    ) -> Target:
        """The target of a URL; `index` is its place in the list, or that of a URL of many files.

        The file name does not depend on the query, whose signature may be renewed. The index
        distinguishes URLs that differ only in their query. A checksum in the fragment goes before
        the source's own `sha256`.
        """
        name, _, fragment = url.partition("#")
        key = hashlib.sha256(f"{index} {redact(url)}".encode()).hexdigest()[:24]
        return cls(
            url=name,
            path=directory / key,
            expected_sha256=fragment.removeprefix("sha256=").lower() or sha256,
            address=address or name,
            headers=headers or {},
            stored=stored,
            local=local,
        )

    @property
    def content(self) -> str | None:
        """What names the content of the file wherever it is, before anybody asks its server.

        That is the sum that its URL or the Hub gives, the commit of the Hub, or the image's digest;
        None for a file that may change.
        """
        if self.expected_sha256 is not None:
            return f"sha256:{self.expected_sha256}"
        if self.url.startswith("hf://"):
            return self.url
        image = _IMAGE_DIGEST.match(self.url)
        return image[1] if image else None

    def identity(self) -> str | None:
        """What tells the file from any other that its URL may have later; None if nothing does.

        Of a file that is downloaded it is that of what was received.
        """
        if self.content is not None:
            return self.content
        if self.local is not None:
            # Not its time, which copies keep.
            return sha256_file(self.local)
        if self.stored is not None:
            return identity_of_stored(self.stored)
        record = self._read(self._record)
        return None if record is None else identity(record.validator, record.size)

    @property
    def part(self) -> Path:
        """Path of the partial file."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def part_size(self) -> int:
        """Size of the partial file in bytes, 0 if there is none."""
        return _size_of(self.part)

    @property
    def is_local(self) -> bool:
        """Whether the file is read in place."""
        return self.local is not None

    @property
    def local_size(self) -> int:
        """Bytes of the file of this machine; 0 where there is none."""
        return _size_of(self.local) if self.local is not None else 0

    def local_file(self) -> DatasetFile:
        """The file of this machine. Raises PermanentError if it is missing or the wrong one."""
        if self.local is None or not self.local.is_file():
            raise PermanentError(f"{redact(self.url)}: no such file")
        return self._file(self.local, self.local_size, sha256_file(self.local))

    def finished(self) -> DatasetFile | None:
        """The complete file of an earlier attempt, or None."""
        record = self._read(self._record)
        return None if record is None else self._file(self.path, record.size, record.sha256)

    def adopt_kept(self, validator: str | None, size: int | None) -> bool:
        """Make a kept file the complete one, if the server has this version and size of it now."""
        record = self._read(self._kept)
        if record is None or None in (validator, record.validator):
            return False
        if (record.validator, record.size) != (validator, size):
            return False
        self._kept.replace(self._record)
        return True

    def finish(self, received: Received) -> DatasetFile:
        """Rename the received partial file and write its record.

        Raises PermanentError, and deletes the partial file, if it is not the expected one.
        """
        try:
            file = self._file(self.path, received.size, received.sha256)
        except PermanentError:
            self.discard_part()
            raise
        _, validator = self.resume_point()
        fsync(self.part)
        self.part.replace(self.path)
        self._part_record.unlink(missing_ok=True)
        record = _Record(
            url_sha256=self._url_sha256,
            size=received.size,
            sha256=received.sha256,
            validator=validator,
        )
        atomic_write(self._record, msgspec.json.encode(record))
        return file

    def resume_point(self) -> tuple[int, str | None]:
        """Size of the partial file and its version; (0, None) if it cannot be resumed."""
        try:
            record = msgspec.json.decode(self._part_record.read_bytes(), type=_PartRecord)
        except (OSError, msgspec.DecodeError):
            return 0, None
        return (self.part_size, record.validator) if self.part_size else (0, None)

    def remember_version(self, validator: str | None) -> None:
        """Record the version of the remote file; without it the download cannot be resumed."""
        if validator is None:
            self._part_record.unlink(missing_ok=True)
            return
        atomic_write(self._part_record, msgspec.json.encode(_PartRecord(validator=validator)))

    def discard_part(self) -> None:
        """Delete the partial file of an earlier attempt."""
        self._part_record.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    def _read(self, path: Path) -> _Record | None:
        """The record at a path, if the file is what it says and what the URL asks for."""
        try:
            record = msgspec.json.decode(path.read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None
        if record.url_sha256 != self._url_sha256 or _size_of(self.path) != record.size:
            return None
        if self.expected_sha256 not in (None, record.sha256):
            return None
        return record

    @property
    def _record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def _kept(self) -> Path:
        return self.path.with_name(f"{self.path.name}.kept.json")

    @property
    def _part_record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part.json")

    @property
    def _url_sha256(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()

    def _file(self, path: Path, size: int, sha256: str) -> DatasetFile:
        if self.expected_sha256 not in (None, sha256):
            raise PermanentError(
                f"{redact(self.url)}: its SHA-256 is {sha256}, expected is "
                f"{self.expected_sha256}; the file or the #sha256= of the URL is wrong"
            )
        name = unquote(urlsplit(self.url).path).rpartition("/")[2]
        return DatasetFile(url=redact(self.url), name=name, path=path, size=size, sha256=sha256)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
