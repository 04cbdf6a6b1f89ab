"""Model source oci: a container image with the model's files anywhere in its layers.

Kaito's images have them under /workspace/tfs/weights or /workspace/weights. Artifacts that ORAS
pushed have one layer per file, with the file's name as title annotation.
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

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.fs import fsync, sha256_file
from argotune.steps.contracts.model_source import CONFIG, is_model_file
from argotune.steps.model.files import model_files
from argotune.steps.registry.oci import ImageReference, LayoutReference, parse_weights
from argotune.steps.registry.skopeo import Registry, pull, remote_digest

_TAG = "model"
_TITLE = "org.opencontainers.image.title"
_REF_NAME = "org.opencontainers.image.ref.name"
_UNPACK = "io.deis.oras.content.unpack"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAR = re.compile(r".*\.tar(\+gzip|\.gzip)?")
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MOST_FILES = 10_000
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image whose manifest is known by its digest."""

    name: str
    """oci:IMAGE as the user wrote it, for messages."""
    reference: ImageReference | LayoutReference
    """With the digest."""
    digest: str
    """sha256:HEX of the manifest, or of the index of several platforms."""


def resolve_image(image: str, registry: Registry) -> Image:
    """Find out which manifest an image has now.

    `image` is REGISTRY/REPOSITORY:TAG, or the path of an OCI layout with an optional tag; a path
    begins with / or a dot. A digest in it is taken as it is. Raises ParamsError, PermanentError or
    TransientError.
    """
    try:
        reference = parse_weights(image)
    except ValueError as error:
        raise ParamsError(f"model source oci:{image}: {error}") from error
    if isinstance(reference, LayoutReference):
        digest = str(_index_entry(reference).get("digest"))
    else:
        digest = reference.digest or remote_digest(reference, registry)
    return Image(
        name=f"oci:{image}", reference=replace(reference, tag=None, digest=digest), digest=digest
    )


def fetch_image(
    image: Image,
    directory: Path,
    *,
    registry: Registry,
    on_progress: Callable[[int, int], None],
) -> None:
    """Extract the model's files of an image into the directory.

    Raises PermanentError or TransientError.
    """
    scratch = directory / ".image"
    try:
        layout = _layout(image.reference, scratch / "layout", registry)
        _unpack(layout, scratch / "files", on_progress)
        _move_model(scratch / "files", directory, image.name)
    finally:
        shutil.rmtree(scratch / "files", ignore_errors=True)
    shutil.rmtree(scratch)


def _layout(
    reference: ImageReference | LayoutReference, pulled: Path, registry: Registry
) -> LayoutReference:
    if isinstance(reference, LayoutReference):
        return reference
    # skopeo keeps the blobs of an earlier attempt.
    pull(reference, pulled, _TAG, registry)
    return LayoutReference(directory=pulled, tag=_TAG)


def _unpack(layout: LayoutReference, files: Path, on_progress: Callable[[int, int], None]) -> None:
    """Write the model files of all layers to FILES/NUMBER, one number per directory."""
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    layers = _manifest(layout)["layers"]
    total, done = sum(int(layer.get("size", 0)) for layer in layers), 0
    unpacked = _Unpacked(files)
    for layer in layers:
        blob = _blob(layout, str(layer.get("digest")))
        _add_layer(unpacked, layer, blob, str(layout))
        done += int(layer.get("size", 0))
        on_progress(done, total)


class _Unpacked:
    """Extracted files by their directory in the image; later layers replace and remove files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[str, Path] = {}
        self._count = 0

    def write(self, directory: str, name: str, content: IO[bytes]) -> None:
        self._count += 1
        if self._count > _MOST_FILES:
            raise PermanentError(f"the image has more than {_MOST_FILES} files with model names")
        place = self._places.setdefault(directory, self._root / str(len(self._places)))
        place.mkdir(exist_ok=True)
        with (place / name).open("wb") as target:
            shutil.copyfileobj(content, target, _COPY_BYTES)

    def remove(self, directory: str, name: str) -> None:
        """Apply a whiteout: the layer deletes the file or directory."""
        if directory in self._places:
            (self._places[directory] / name).unlink(missing_ok=True)
        self.clear(posixpath.join(directory, name))

    def clear(self, directory: str) -> None:
        for known in list(self._places):
            if known == directory or known.startswith(f"{directory.rstrip('/')}/"):
                shutil.rmtree(self._places.pop(known))


def _add_layer(unpacked: _Unpacked, layer: dict[str, Any], blob: Path, image: str) -> None:
    annotations = layer.get("annotations") or {}
    title, media_type = annotations.get(_TITLE), str(layer.get("mediaType"))
    if title is not None and annotations.get(_UNPACK) != "true":
        directory, name = posixpath.split(posixpath.normpath(f"/{title}"))
        if is_model_file(name):
            with blob.open("rb") as content:
                unpacked.write(directory, name, content)
        return
    if not _TAR.fullmatch(media_type) and annotations.get(_UNPACK) != "true":
        raise PermanentError(f"{image}: layers of type {media_type} cannot be read")
    try:
        with tarfile.open(blob, mode="r|*") as tar:
            for member in tar:
                _add_member(unpacked, tar, member)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise PermanentError(f"{image}: a layer is a damaged tar file: {error}") from error


def _add_member(unpacked: _Unpacked, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Extract a plain file; only the last part of its path is used, so it cannot escape."""
    directory, name = posixpath.split(posixpath.normpath(f"/{member.name}"))
    if name == _OPAQUE:
        unpacked.clear(directory)
    elif name.startswith(_WHITEOUT):
        unpacked.remove(directory, name.removeprefix(_WHITEOUT))
    elif member.isreg() and is_model_file(name):
        content = tar.extractfile(member)
        if content is not None:
            unpacked.write(directory, name, content)


def _move_model(files: Path, directory: Path, image: str) -> None:
    """Move the files of the only directory that has a configuration and weights."""
    candidates = [
        place
        for place in sorted(files.iterdir())
        if (place / CONFIG).exists() and any(place.glob("*.safetensors"))
    ]
    if len(candidates) != 1:
        found = "no directory" if not candidates else f"{len(candidates)} directories"
        raise PermanentError(
            f"{image}: {found} with {CONFIG} and model*.safetensors; expected exactly one"
        )
    for name in model_files((path.name for path in candidates[0].iterdir()), image):
        fsync(candidates[0] / name)
        (candidates[0] / name).replace(directory / name)


def _manifest(layout: LayoutReference) -> dict[str, Any]:
    """The image's manifest; for several platforms that of linux/amd64, or the first."""
    descriptor = _index_entry(layout)
    manifest = _json(_blob(layout, str(descriptor.get("digest"))))
    while "manifests" in manifest:
        descriptor = _for_platform(manifest["manifests"], layout)
        manifest = _json(_blob(layout, str(descriptor.get("digest"))))
    if not isinstance(manifest.get("layers"), list):
        raise PermanentError(f"{layout}: its manifest has no layers")
    return manifest


def _index_entry(layout: LayoutReference) -> dict[str, Any]:
    path = layout.directory / "index.json"
    if not path.is_file():
        raise PermanentError(f"{layout}: {layout.directory} is not an OCI layout: no index.json")
    entries = list(_descriptors(_json(path).get("manifests")))
    names = [(entry.get("annotations") or {}).get(_REF_NAME) for entry in entries]
    if layout.digest:
        return {"digest": layout.digest}
    if layout.tag is None and len(entries) == 1:
        return entries[0]
    for name, entry in zip(names, entries, strict=True):
        if name == (layout.tag or "latest"):
            return entry
    listed = ", ".join(str(name) for name in names) or "nothing"
    raise PermanentError(f"{layout}: no such tag; the layout has {listed}")


def _for_platform(manifests: object, layout: LayoutReference) -> dict[str, Any]:
    entries = list(_descriptors(manifests))
    if not entries:
        raise PermanentError(f"{layout}: its index names no image")
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


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise PermanentError(f"{path}: not a JSON object")
    return value
