"""Write an adapter, or what refers to it, into an OCI image layout; equal inputs give equal bytes.

The adapter's image has one plain tar layer with Kaito's /data directory. It is an image with
architecture, os and rootfs, because containerd mounts only those as image volumes
(containerd#11907). The layer is not compressed: safetensors hardly shrink, and gzip's output
differs between Python versions, which would change the digest.

Format: https://github.com/opencontainers/image-spec (image-layout.md, manifest.md, config.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write, fsync, partial_path, remove_partials
from argotune.steps.contracts.report import ARTIFACT_TYPE, MEDIA_TYPES, TITLE
from argotune.steps.registry.layout_index import layout_lock, point_tag, read_entries, tag_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_DATA = "data"
"""Kaito's directory inside the image."""
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Type, digest and size of a blob in the layout."""

    media_type: str
    digest: str
    size_bytes: int

    def descriptor(self) -> dict[str, Any]:
        """The blob's OCI descriptor."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One file of an artifact."""

    media_type: str
    content: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image in a layout."""

    digest: str
    """sha256:HEX of the manifest."""
    size_bytes: int
    """Total size of manifest, config and layers."""
    manifest: Blob


def write_image(
    layout: Path,
    files: Sequence[Path],
    *,
    tag: str | Callable[[str], str],
    created: str,
    annotations: Mapping[str, str],
    progress: Callable[[int], None] = lambda _: None,
) -> Image:
    """Add an image of these files to a layout directory and set the tag to it.

    A tag may follow from the image's digest, sha256:HEX. Other tags of the directory remain.
    `progress` gets the bytes of the layer written so far. The index is written last, so an
    interrupted write leaves the layout unchanged.
    """
    with layout_lock(layout):
        _prepare(layout)
        layer = _write_layer(layout, files, progress)
        config = _write_json(layout, CONFIG_TYPE, _config([layer], created))
        manifest = _write_json(layout, MANIFEST_TYPE, _manifest(config, layer, annotations))
        name = tag if isinstance(tag, str) else tag(manifest.digest)
        point_tag(layout, name, manifest.descriptor())
    return _image(manifest, config, layer)


def write_report(
    layout: Path, files: Mapping[str, bytes], *, tag: str, subject: Image, created: str
) -> Image:
    """Add the artifact of a report to a layout directory and set the tag to it.

    It has one layer for each file.
    """
    layers = [
        Layer(media_type=MEDIA_TYPES[Path(name).suffix], content=content, annotations={TITLE: name})
        for name, content in sorted(files.items())
    ]
    return write_artifact(
        layout, layers, artifact_type=ARTIFACT_TYPE, tag=tag, subject=subject, created=created
    )


def write_artifact(
    layout: Path,
    layers: Sequence[Layer],
    *,
    artifact_type: str,
    tag: str,
    subject: Image,
    created: str,
    is_image: bool = False,
) -> Image:
    """Add an artifact to a layout directory, whose manifest names the subject's, and set the tag.

    `is_image` gives it the configuration of an image, as cosign writes it and clients of images
    expect; the others have the empty one of OCI's artifacts. Equal layers and time give equal
    bytes.
    """
    with layout_lock(layout):
        _prepare(layout)
        blobs = [_write_blob(layout, layer.media_type, layer.content) for layer in layers]
        if is_image:
            config = _write_json(layout, CONFIG_TYPE, _config(blobs, created, platform=("", "")))
        else:
            config = _write_blob(layout, EMPTY_TYPE, b"{}")
        described = [
            {**blob.descriptor(), "annotations": dict(layer.annotations)}
            for blob, layer in zip(blobs, layers, strict=True)
        ]
        manifest = _write_json(
            layout,
            MANIFEST_TYPE,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": artifact_type,
                "config": config.descriptor(),
                "layers": described,
                "subject": subject.manifest.descriptor(),
                "annotations": {"org.opencontainers.image.created": created},
            },
        )
        point_tag(layout, tag, manifest.descriptor())
    return _image(manifest, config, *blobs)


def read_layers(layout: Path, tag: str) -> list[Layer]:
    """Read the files of the artifact that has the tag; none where it is not there as a whole."""
    for entry in read_entries(layout):
        if tag_of(entry) == tag:
            try:
                manifest = json.loads(_blob_path(layout, entry["digest"]).read_bytes())
                return [
                    Layer(
                        media_type=layer["mediaType"],
                        content=_blob_path(layout, layer["digest"]).read_bytes(),
                        annotations=layer["annotations"],
                    )
                    for layer in manifest["layers"]
                ]
            except (OSError, ValueError, KeyError, TypeError):
                return []
    return []


def _image(manifest: Blob, *others: Blob) -> Image:
    size = sum(blob.size_bytes for blob in (manifest, *others))
    return Image(digest=manifest.digest, size_bytes=size, manifest=manifest)


def _config(
    layers: Sequence[Blob], created: str, *, platform: tuple[str, str] = ("amd64", "linux")
) -> dict[str, Any]:
    """Build an image's configuration; the layers are not compressed, so their digests serve."""
    architecture, system = platform
    return {
        "architecture": architecture,
        "os": system,
        "created": created,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "history": [{"created": created, "created_by": "argotune push"}],
    }


def _manifest(config: Blob, layer: Blob, annotations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": dict(annotations),
    }


def _prepare(layout: Path) -> None:
    marker = layout / "oci-layout"
    left_by_a_killed_push = partial_path(marker)
    if not marker.exists() and set(layout.iterdir()) - {left_by_a_killed_push}:
        raise PermanentError(
            f"{layout} has files but is not an OCI layout; use an empty or a new directory"
        )
    atomic_write(marker, _canonical({"imageLayoutVersion": "1.0.0"}))
    blobs = _blobs(layout)
    blobs.mkdir(parents=True, exist_ok=True)
    for directory in (layout, blobs):
        remove_partials(directory)


class _HashingWriter(io.BufferedIOBase):
    """A file that computes the digest and the size of the written bytes."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: ReadableBuffer, /) -> int:
        self._hash.update(data)
        self.size_bytes += memoryview(data).nbytes
        self._progress(self.size_bytes)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _write_layer(layout: Path, files: Sequence[Path], progress: Callable[[int], None]) -> Blob:
    """Stream the files into a tar blob, which is renamed to its digest when complete."""
    temporary = partial_path(_blobs(layout) / "layer")
    try:
        with temporary.open("wb") as file:
            writer = _HashingWriter(file, progress)
            _write_tar(writer, files)
        layer = Blob(media_type=LAYER_TYPE, digest=writer.digest, size_bytes=writer.size_bytes)
        fsync(temporary)
        temporary.replace(_blob_path(layout, layer.digest))
        fsync(_blobs(layout))
    finally:
        temporary.unlink(missing_ok=True)
    return layer


def _write_tar(writer: _HashingWriter, files: Sequence[Path]) -> None:
    with tarfile.open(
        fileobj=writer,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        bufsize=_CHUNK_BYTES,
    ) as tar:
        directory = tarfile.TarInfo(_DATA)
        directory.type = tarfile.DIRTYPE
        directory.mode = 0o755
        tar.addfile(directory)
        for path in sorted(files, key=lambda path: path.name):
            with path.open("rb") as file:
                # A new TarInfo has owner 0, no owner names and time 0; only size and mode are set.
                entry = tarfile.TarInfo(f"{_DATA}/{path.name}")
                entry.size = os.fstat(file.fileno()).st_size
                entry.mode = 0o644
                tar.addfile(entry, file)


def _write_json(layout: Path, media_type: str, value: Mapping[str, Any]) -> Blob:
    return _write_blob(layout, media_type, _canonical(value))


def _write_blob(layout: Path, media_type: str, data: bytes) -> Blob:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    atomic_write(_blob_path(layout, digest), data)
    return Blob(media_type=media_type, digest=digest, size_bytes=len(data))


def _blobs(layout: Path) -> Path:
    return layout / "blobs" / "sha256"


def _blob_path(layout: Path, digest: str) -> Path:
    return _blobs(layout) / digest.removeprefix("sha256:")


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
