"""Extract the adapter's files from its image.

Every blob is verified against its digest, and only files that belong to an adapter are accepted,
because others may be able to write to the registry.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import partial_path, replacing_directory, sha256_file
from argotune.steps.registry.layout_index import blob_path
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.steps.registry.skopeo import Registry, pull

_FILE = re.compile(r"(?:\./|/)?data/(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)")
_DIRECTORY = re.compile(r"(?:\./?|/)?(?:data/?)?")
_SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt", ".md")
_NEEDED = {"adapter_config.json", "adapter_model.safetensors"}
_MOST_FILES = 1000
_MOST_BYTES = 100 * 10**9
_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


def unpack_adapter(
    image: ImageReference | LayoutReference,
    destination: Path,
    registry: Registry,
    *,
    layout_dir: Path | None = None,
) -> Path:
    """Extract the adapter's files into a directory below `destination`, unless it exists.

    A directory appears under its name only when it is complete.

    Args:
        image: With its digest.
        destination: The directory, whose name says which adapter it is.
        registry: How to reach the image's registry.
        layout_dir: A layout that may hold the image already, which is then not pulled.

    Raises:
        PermanentError: If the image is missing, damaged or not an adapter's.
        TransientError: If the registry does not answer.
    """
    if destination.is_dir():
        return destination
    digest = image.digest
    if digest is None:
        raise PermanentError(f"{image}: an adapter is unpacked by its digest, and this has none")
    pulled = partial_path(destination.parent / "layout")
    try:
        layout = _layout_with(image, digest, pulled, registry, layout_dir)
        with replacing_directory(destination) as files:
            extract(layout, digest, files)
    finally:
        shutil.rmtree(pulled, ignore_errors=True)
    return destination


def _layout_with(
    image: ImageReference | LayoutReference,
    digest: str,
    scratch: Path,
    registry: Registry,
    layout_dir: Path | None,
) -> Path:
    """A layout with the image: that of the reference, one at hand, or a new one by a pull."""
    if isinstance(image, LayoutReference):
        return image.directory
    if layout_dir is not None and blob_path(layout_dir, digest).is_file():
        return layout_dir
    pull(image, scratch, "adapter", registry)
    return scratch


def extract(layout: Path, digest: str, directory: Path) -> None:
    """Write the files of the image's /data into the directory.

    Raises PermanentError if a blob is missing or damaged, or the image is not an adapter's.
    """
    manifest = _read_manifest(layout, digest)
    names: set[str] = set()
    for layer in manifest["layers"]:
        if layer["mediaType"] not in _LAYERS:
            raise PermanentError(
                f"image {digest}: a layer of type {layer['mediaType']!r} cannot be read; "
                f"push it as {_LAYERS[0]}"
            )
        names |= _extract_layer(_checked_blob(layout, layer["digest"]), digest, directory)
    missing = _NEEDED - names
    if missing:
        raise PermanentError(
            f"image {digest} is not an adapter: /data has no {' and no '.join(sorted(missing))}"
        )


def copy_adapter(source: Path, destination: Path) -> str:
    """Copy an adapter's files from a directory, and return their digest, sha256:HEX.

    Other files there stay where they are. Raises PermanentError if it is not an adapter's.
    """
    names = sorted(path.name for path in source.glob("*") if path.is_file() and _is_file(path.name))
    missing = _NEEDED - set(names)
    if missing:
        raise PermanentError(
            f"{source} is not an adapter: it has no {' and no '.join(sorted(missing))}"
        )
    with replacing_directory(destination) as files:
        for name in names:
            shutil.copyfile(source / name, files / name)
        sums = "".join(f"{name} {sha256_file(files / name)}\n" for name in names)
    return f"sha256:{hashlib.sha256(sums.encode()).hexdigest()}"


def _is_file(name: str) -> bool:
    return _FILE.fullmatch(f"data/{name}") is not None and name.endswith(_SUFFIXES)


def _read_manifest(layout: Path, digest: str) -> dict[str, Any]:
    try:
        manifest = json.loads(_checked_blob(layout, digest).read_bytes())
        layers = [
            {"mediaType": str(layer["mediaType"]), "digest": str(layer["digest"])}
            for layer in manifest["layers"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PermanentError(
            f"image {digest}: not an image manifest; an index of several images cannot be served"
        ) from error
    return {"layers": layers}


def _extract_layer(path: Path, digest: str, directory: Path) -> set[str]:
    """Extract a layer and return the names of its files."""
    names = set()
    try:
        with tarfile.open(path, mode="r:*") as tar:
            for member, name in _adapter_members(tar, digest):
                _write(tar, member, directory / name)
                names.add(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise PermanentError(f"image {digest}: a layer is a damaged tar file: {error}") from error
    return names


def _adapter_members(tar: tarfile.TarFile, digest: str) -> Iterator[tuple[tarfile.TarInfo, str]]:
    total_bytes = 0
    for count, member in enumerate(tar, start=1):
        if member.isdir() and _DIRECTORY.fullmatch(member.name):
            continue
        found = _FILE.fullmatch(member.name)
        name = found["name"] if found else ""
        if not member.isreg() or not name.endswith(_SUFFIXES):
            raise PermanentError(
                f"image {digest}: {member.name!r} does not belong to an adapter; accepted are "
                f"plain files /data/NAME with {', '.join(_SUFFIXES)}"
            )
        total_bytes += member.size
        if count > _MOST_FILES or total_bytes > _MOST_BYTES:
            raise PermanentError(
                f"image {digest} is not an adapter: over {_MOST_FILES} files or "
                f"{_MOST_BYTES // 10**9} GB"
            )
        yield member, name


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    if content is None:
        raise PermanentError(f"{member.name!r} of the adapter's image has no content")
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file, 1024 * 1024)


def _checked_blob(layout: Path, digest: str) -> Path:
    path = blob_path(layout, digest)
    if not path.is_file():
        raise PermanentError(f"OCI layout {layout} has no {digest}; was the image moved?")
    found = f"sha256:{sha256_file(path)}"
    if found != digest:
        raise PermanentError(f"OCI layout {layout}: the blob of {digest} is damaged; push again")
    return path
