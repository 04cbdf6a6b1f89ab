"""The versions of an adapter: read and move the tags of a repository or of an OCI layout.

A repository holds the versions of one workspace. Its tags are the only record of them, so that
nothing else has to agree with it: what a version is made of stands in its manifest's annotations.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.adapter_image import WORKSPACE
from argotune.steps.contracts.versions import (
    LIVE,
    PREVIOUS,
    is_of_versions,
    version_of,
    version_tag,
)
from argotune.steps.registry import skopeo
from argotune.steps.registry.layout_index import (
    blob_path,
    layout_lock,
    point_tag,
    read_entries,
    tag_of,
)
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.steps.registry.skopeo import NotFound, Registry, Sleep

_LOGGER = logging.getLogger(__name__)

_DIGEST = "sha256:"
_AT_ONCE = 8
"""Requests to a registry at the same time."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter's image, by its manifest."""

    digest: str
    """sha256:HEX."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Those of the manifest, which push writes."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """An adapter and the tags of versions that it has."""

    adapter: Adapter
    tags: frozenset[str]

    @property
    def number(self) -> int | None:
        """N of its highest tag vN; None: it has not been in service, nor was it only pushed."""
        return max((n for tag in self.tags if (n := version_of(tag)) is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What `record_in_service` or `record_pushed` found and did."""

    number: int
    """Of the adapter's version."""
    previous: str = ""
    """sha256:HEX of the adapter that was in service before; empty before the second, and for one
    that is not in service."""


class OtherWorkspace(PermanentError):
    """The repository has the versions of another workspace."""


class Repository(Protocol):
    """Where an adapter's images have tags."""

    def list_tags(self) -> list[str]:
        """List all tags; where nothing was pushed yet there are none. Raises StepError."""
        ...

    def find(self, version: str) -> Adapter | None:
        """Read what has the tag, or the digest; None if nothing has, or it was deleted.

        Raises StepError.
        """
        ...

    def point(self, tag: str, digest: str) -> None:
        """Let the tag stand for the image with the digest. Raises StepError."""
        ...


@dataclass(frozen=True, kw_only=True)
class _InRegistry:
    image: ImageReference
    registry: Registry
    sleep: Sleep

    def list_tags(self) -> list[str]:
        try:
            return skopeo.list_tags(self.image, self.registry, sleep=self.sleep)
        except NotFound:
            return []

    def find(self, version: str) -> Adapter | None:
        is_digest = version.startswith(_DIGEST)
        image = self._image(**{"digest" if is_digest else "tag": version})
        try:
            manifest = skopeo.remote_manifest(image, self.registry, sleep=self.sleep)
        except NotFound:
            return None
        return _adapter(manifest, str(image))

    def point(self, tag: str, digest: str) -> None:
        skopeo.tag(self._image(digest=digest), tag, self.registry, sleep=self.sleep)

    def _image(self, *, tag: str | None = None, digest: str | None = None) -> ImageReference:
        return ImageReference(
            registry=self.image.registry,
            repository=self.image.repository,
            tag=tag,
            digest=digest,
        )


@dataclass(frozen=True, kw_only=True)
class _InLayout:
    directory: Path

    def list_tags(self) -> list[str]:
        return [tag for entry in read_entries(self.directory) if (tag := tag_of(entry))]

    def find(self, version: str) -> Adapter | None:
        tagged = {tag_of(entry): entry["digest"] for entry in read_entries(self.directory)}
        digest = version if version.startswith(_DIGEST) else tagged.get(version)
        path = blob_path(self.directory, digest) if digest is not None else None
        if path is None or not path.is_file():
            return None
        return _adapter(path.read_bytes(), str(path))

    def point(self, tag: str, digest: str) -> None:
        with layout_lock(self.directory):
            point_tag(self.directory, tag, self._descriptor(digest))

    def _descriptor(self, digest: str) -> dict[str, Any]:
        for entry in read_entries(self.directory):
            if entry["digest"] == digest:
                return entry
        # An image that has lost its last tag to a newer one is still in the layout.
        path = blob_path(self.directory, digest)
        if not path.is_file():
            raise PermanentError(f"OCI layout {self.directory} has no {digest}; was it moved?")
        media_type = _json(path.read_bytes(), str(path)).get("mediaType")
        return {"mediaType": media_type, "digest": digest, "size": path.stat().st_size}


def repository_of(
    image: ImageReference | LayoutReference,
    registry: Registry,
    *,
    sleep: Sleep = time.sleep,
) -> Repository:
    """Return the repository or layout of an image; its tag and digest do not matter."""
    if isinstance(image, LayoutReference):
        return _InLayout(directory=image.directory)
    return _InRegistry(image=image, registry=registry, sleep=sleep)


def find_live(repository: Repository, workspace: str) -> Adapter | None:
    """Read which adapter of the workspace is in service; None before the first.

    An adapter that names no workspace counts as its own. Raises OtherWorkspace where the repository
    has another one's, or StepError.
    """
    live = repository.find(LIVE)
    other = live.annotations.get(WORKSPACE, workspace) if live is not None else workspace
    if other != workspace:
        raise OtherWorkspace(
            f"the repository of the output image has the versions of workspace {other}, and"
            f" {workspace} needs one of its own; name another in tuning.output.image"
        )
    return live


def find_version(repository: Repository, digest: str) -> str:
    """Find the adapter's tag vN, of which the highest is the likeliest; empty if it has none.

    Raises StepError.
    """
    numbered = {number: tag for tag in repository.list_tags() if (number := version_of(tag))}
    for number in sorted(numbered, reverse=True):
        found = repository.find(numbered[number])
        if found is not None and found.digest == digest:
            return numbered[number]
    return ""


def list_versions(repository: Repository) -> list[Version]:
    """List the adapters that have a tag of versions, also rejected ones and a candidate.

    Those that have been in service come first, by their numbers, then the others by their time.
    Raises StepError.
    """
    found = _find_all(repository, filter(is_of_versions, repository.list_tags()))
    adapters = {adapter.digest: adapter for adapter in found.values()}
    versions = [
        Version(
            adapter=adapter,
            tags=frozenset(tag for tag, each in found.items() if each.digest == digest),
        )
        for digest, adapter in adapters.items()
    ]
    return sorted(versions, key=_order)


def record_in_service(repository: Repository, digest: str) -> Recorded:
    """Record by the tags that an adapter is in service now.

    An adapter keeps its number, so that a second call changes nothing. An interrupted one is
    completed by the next: `live` moves last. Raises StepError.
    """
    number = _number(repository, digest)
    live, previous = repository.find(LIVE), repository.find(PREVIOUS)
    if live is None or live.digest != digest:
        if live is not None:
            repository.point(PREVIOUS, live.digest)
            previous = live
        repository.point(LIVE, digest)
    log.event(_LOGGER, "version", number=number, digest=digest)
    return Recorded(number=number, previous=previous.digest if previous is not None else "")


def record_pushed(repository: Repository, digest: str) -> Recorded:
    """Give an adapter its number, and leave in service what is. Raises StepError."""
    number = _number(repository, digest)
    log.event(_LOGGER, "version", number=number, digest=digest, in_service=False)
    return Recorded(number=number)


def _number(repository: Repository, digest: str) -> int:
    """Return the adapter's number, the next one where it has none, whose tag it then gets."""
    numbers = {tag: n for tag in repository.list_tags() if (n := version_of(tag)) is not None}
    found = _find_all(repository, numbers)
    its_own = [numbers[tag] for tag, adapter in found.items() if adapter.digest == digest]
    if its_own:
        return max(its_own)
    number = max(numbers.values(), default=0) + 1
    repository.point(version_tag(number), digest)
    return number


def _find_all(repository: Repository, tags: Iterable[str]) -> dict[str, Adapter]:
    """Read what has the tags; a tag that goes meanwhile is left out."""
    find: Callable[[str], Adapter | None] = repository.find
    names = list(tags)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = zip(names, pool.map(find, names), strict=True)
        return {tag: adapter for tag, adapter in found if adapter is not None}


def _order(version: Version) -> tuple[bool, int, str, str]:
    created = version.adapter.annotations.get("org.opencontainers.image.created", "")
    number = version.number
    return number is None, number or 0, created, version.adapter.digest


def _adapter(manifest: bytes, name: str) -> Adapter:
    annotations = _json(manifest, name).get("annotations") or {}
    return Adapter(
        digest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        annotations={str(key): str(value) for key, value in annotations.items()},
    )


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{name}: its manifest is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise PermanentError(f"{name}: its manifest is not a JSON object")
    return value
