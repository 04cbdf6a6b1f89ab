"""The files in an image's layers: a container image, or an artifact that ORAS pushed.

An artifact has one layer per file, with the file's name as title annotation.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import sha256_file
from argotune.steps.registry.layout_index import read_entries, tag_of
from argotune.steps.registry.oci import DEFAULT_TAG, ImageReference, LayoutReference, with_digest
from argotune.steps.registry.skopeo import Registry, pull, remote_digest, remote_manifest

_TAG = "pulled"
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAR = re.compile(r".*\.tar(\+gzip|\.gzip)?")
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_FILES = 10_000
_COPY_BYTES = 1 << 20

Wanted = Callable[[str, str], bool]
"""Directory in the image and name of a file -> whether to extract it."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image whose manifest is known by its digest."""

    name: str
    """The image as the user wrote it, for messages."""
    reference: ImageReference | LayoutReference
    """With the digest."""
    digest: str
    """sha256:HEX of the manifest, or of the index of several platforms."""


def resolve_image(
    reference: ImageReference | LayoutReference, registry: Registry, *, name: str
) -> Image:
    """Find out which manifest an image has now; a digest in the reference is taken as it is.

    `name` is for messages. Raises PermanentError or TransientError.
    """
    if isinstance(reference, LayoutReference):
        digest = str(_index_entry(reference).get("digest"))
    else:
        digest = reference.digest or remote_digest(reference, registry)
    return Image(name=name, reference=with_digest(reference, digest), digest=digest)


def size_of(image: Image, registry: Registry) -> int:
    """Sum the bytes of an image's layers, packed, before any of them is fetched.

    Raises PermanentError or TransientError.
    """
    reference = image.reference
    if isinstance(reference, LayoutReference):
        manifest = _manifest(reference)
    else:
        manifest = _json(remote_manifest(reference, registry), image.name)
        while "manifests" in manifest:
            digest = str(_for_platform(manifest["manifests"], reference).get("digest"))
            reference = replace(reference, digest=digest)
            manifest = _json(remote_manifest(reference, registry), image.name)
    return sum(int(layer.get("size", 0)) for layer in _layers(manifest, image.reference))


def extract_image(
    image: Image,
    scratch: Path,
    wanted: Wanted,
    *,
    registry: Registry,
    on_progress: Callable[[int, int], None],
    max_bytes: int | None = None,
) -> dict[str, Path]:
    """Extract the wanted files of an image: its directories, and where their files are now.

    They are below SCRATCH/files, a directory with a number for each of the image's. The layout of
    an image from a registry stays in SCRATCH/layout, so that the next attempt goes on from it.
    `max_bytes` limits what is extracted. Raises PermanentError or TransientError.
    """
    layout, files = image.reference, scratch / "files"
    if isinstance(layout, ImageReference):
        # skopeo keeps the blobs of an earlier attempt.
        pull(layout, scratch / "layout", _TAG, registry)
        layout = LayoutReference(directory=scratch / "layout", tag=_TAG)
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    layers = _layers(_manifest(layout), layout)
    total, done = sum(int(layer.get("size", 0)) for layer in layers), 0
    extracted = _Extracted(files, image.name, wanted, max_bytes)
    for layer in layers:
        extracted.add_layer(layer, _blob(layout, str(layer.get("digest"))))
        done += int(layer.get("size", 0))
        on_progress(done, total)
    return extracted.places


class _Extracted:
    """Extracted files by their directory in the image; later layers replace and remove files."""

    def __init__(self, root: Path, image: str, wanted: Wanted, max_bytes: int | None) -> None:
        self.places: dict[str, Path] = {}
        self._root = root
        self._image = image
        self._wanted = wanted
        self._max_bytes = max_bytes
        self._bytes = self._count = 0

    def add_layer(self, layer: dict[str, Any], blob: Path) -> None:
        annotations = layer.get("annotations") or {}
        title, media_type = annotations.get(_TITLE), str(layer.get("mediaType"))
        if title is not None and annotations.get(_UNPACK) != "true":
            directory, name = posixpath.split(posixpath.normpath(f"/{title}"))
            if self._wanted(directory, name):
                with blob.open("rb") as content:
                    self._write(directory, name, content)
            return
        if not _TAR.fullmatch(media_type) and annotations.get(_UNPACK) != "true":
            raise PermanentError(f"{self._image}: layers of type {media_type} cannot be read")
        try:
            with tarfile.open(blob, mode="r|*") as tar:
                for member in tar:
                    self._add_member(tar, member)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise PermanentError(
                f"{self._image}: a layer is a damaged tar file: {error}"
            ) from error

    def _add_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Extract a plain file; only the last part of its path is used, so it cannot escape."""
        directory, name = posixpath.split(posixpath.normpath(f"/{member.name}"))
        if name == _OPAQUE:
            self._clear(directory)
        elif name.startswith(_WHITEOUT):
            self._remove(directory, name.removeprefix(_WHITEOUT))
        elif member.isreg() and self._wanted(directory, name):
            content = tar.extractfile(member)
            if content is not None:
                self._write(directory, name, content)

    def _write(self, directory: str, name: str, content: IO[bytes]) -> None:
        self._count += 1
        if self._count > _MOST_FILES:
            raise PermanentError(
                f"{self._image}: more than {_MOST_FILES} of its files are asked for"
            )
        place = self.places.setdefault(directory, self._root / str(self._count))
        place.mkdir(exist_ok=True)
        with (place / name).open("wb") as target:
            while chunk := content.read(_COPY_BYTES):
                self._bytes += len(chunk)
                # A small layer may unpack into a large file.
                if self._max_bytes is not None and self._bytes > self._max_bytes:
                    raise PermanentError(
                        f"{self._image}: its files have more than {self._max_bytes / 1e9:.3g} GB"
                        " unpacked, the limit of a dataset"
                    )
                target.write(chunk)

    def _remove(self, directory: str, name: str) -> None:
        """Apply a whiteout: the layer deletes the file or directory."""
        if directory in self.places:
            (self.places[directory] / name).unlink(missing_ok=True)
        self._clear(posixpath.join(directory, name))

    def _clear(self, directory: str) -> None:
        for known in list(self.places):
            if known == directory or known.startswith(f"{directory.rstrip('/')}/"):
                shutil.rmtree(self.places.pop(known))


def _manifest(layout: LayoutReference) -> dict[str, Any]:
    """The image's manifest; for several platforms that of linux/amd64, or the first."""
    descriptor = _index_entry(layout)
    while True:
        blob = _blob(layout, str(descriptor.get("digest")))
        manifest = _json(blob.read_bytes(), str(blob))
        if "manifests" not in manifest:
            return manifest
        descriptor = _for_platform(manifest["manifests"], layout)


def _layers(
    manifest: dict[str, Any], image: ImageReference | LayoutReference
) -> list[dict[str, Any]]:
    if not isinstance(manifest.get("layers"), list):
        raise PermanentError(f"{image}: its manifest has no layers")
    return list(_descriptors(manifest["layers"]))


def _index_entry(layout: LayoutReference) -> dict[str, Any]:
    path = layout.directory / "index.json"
    if not path.is_file():
        raise PermanentError(f"{layout}: {layout.directory} is not an OCI layout: no index.json")
    if layout.digest:
        return {"digest": layout.digest}
    entries = read_entries(layout.directory)
    # One image may have several tags.
    if layout.tag is None and len({entry["digest"] for entry in entries}) == 1:
        return entries[0]
    for entry in entries:
        if tag_of(entry) == (layout.tag or DEFAULT_TAG):
            return entry
    listed = ", ".join(str(tag_of(entry)) for entry in entries) or "nothing"
    raise PermanentError(f"{layout}: no such tag; the layout has {listed}")


def _for_platform(manifests: object, image: ImageReference | LayoutReference) -> dict[str, Any]:
    entries = list(_descriptors(manifests))
    if not entries:
        raise PermanentError(f"{image}: its index names no image")
    for entry in entries:
        platform = entry.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return entry
    return entries[0]


def _descriptors(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, dict))


def _blob(layout: LayoutReference, digest: str) -> Path:
    """The path of a blob, after verification of its digest."""
    if not _DIGEST.fullmatch(digest):
        raise PermanentError(f"{layout}: {digest!r} is not a sha256 digest")
    path = layout.directory / "blobs" / "sha256" / digest.removeprefix("sha256:")
    if not path.is_file():
        raise PermanentError(f"{layout}: blob {digest} is missing")
    if sha256_file(path) != digest.removeprefix("sha256:"):
        raise PermanentError(f"{layout}: blob {digest} is damaged: its content has another digest")
    return path


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{name}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise PermanentError(f"{name}: not a JSON object")
    return value
