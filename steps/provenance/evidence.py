"""What a registry or an OCI layout has about an adapter: manifest, statement and signatures.

Nothing here is judged: what is missing or of another kind stays None, and `checks.py` says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.provenance.signatures import signature_tag
from argotune.steps.provenance.statement import statement_tag
from argotune.steps.registry.layout_index import blob_path, read_entries, tag_of
from argotune.steps.registry.oci import DEFAULT_TAG, ImageReference, LayoutReference, with_digest
from argotune.steps.registry.skopeo import (
    NotFound,
    Registry,
    Sleep,
    pull,
    remote_digest,
    remote_manifest,
)

_ADAPTER = "adapter"
_MOST_BYTES = 10_000_000
"""Of a statement or a signature, which have a few kilobytes."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A layer of an artifact: a statement, or what a signature signs."""

    media_type: str
    annotations: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """An adapter's image, and what is said about it."""

    digest: str
    """sha256:HEX by which it was asked for, or that its tag has."""
    manifest: bytes
    statements: tuple[Part, ...] | None
    """Of the tag sha256-HEX.att; None if there is no such tag."""
    signatures: tuple[Part, ...] | None
    """Of the tag sha256-HEX.sig; None if there is no such tag."""
    layout: Path | None = None
    """Layout with the blobs of the image; None if they were not fetched."""

    def annotations(self) -> dict[str, str]:
        """Return the manifest's annotations; empty if it has none."""
        try:
            found = json.loads(self.manifest)["annotations"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def gather(
    reference: ImageReference | LayoutReference,
    registry: Registry,
    scratch: Path,
    *,
    with_blobs: bool = True,
    sleep: Sleep = time.sleep,
) -> Evidence:
    """Fetch what there is about an adapter's image into an empty directory.

    Raises NotFound or another PermanentError if there is no such image, and TransientError.
    """
    if isinstance(reference, LayoutReference):
        return _of_layout(reference)
    digest = reference.digest or remote_digest(reference, registry, sleep=sleep)
    image = with_digest(reference, digest)

    def parts(tag: str) -> tuple[Part, ...] | None:
        layout = scratch / tag
        try:
            artifact = dataclasses.replace(reference, tag=tag, digest=None)
            pull(artifact, layout, tag, registry, sleep=sleep)
        except NotFound:
            return None
        return _parts(layout, tag)

    layout = None
    if with_blobs:
        layout = scratch / _ADAPTER
        pull(image, layout, _ADAPTER, registry, sleep=sleep)
        manifest = blob_path(layout, digest).read_bytes()
    else:
        manifest = remote_manifest(image, registry, sleep=sleep)
    return _evidence(digest, manifest, parts, layout)


def blob_problems(layout: Path, manifest: bytes) -> Iterator[str]:
    """Yield what is wrong with the blobs that a manifest names: missing or changed ones."""
    try:
        found = json.loads(manifest)
        descriptors = [found["config"], *found["layers"]]
        digests = [str(each["digest"]) for each in descriptors]
    except (ValueError, KeyError, TypeError, RecursionError):
        yield "the manifest is none of an image"
        return
    for digest in digests:
        path = blob_path(layout, digest)
        if not path.is_file():
            yield f"{digest} is missing"
        elif (there := _sha256(path)) != digest:
            yield f"{digest} was changed: its content has {there}"


def _of_layout(reference: LayoutReference) -> Evidence:
    layout = reference.directory
    digest = reference.digest or _digest_of_tag(layout, reference.tag or DEFAULT_TAG)
    path = blob_path(layout, digest)
    if not path.is_file():
        raise PermanentError(f"OCI layout {layout} has no {digest}; was it moved?")
    return _evidence(digest, path.read_bytes(), lambda tag: _parts(layout, tag), layout)


def _evidence(
    digest: str,
    manifest: bytes,
    parts: Callable[[str], tuple[Part, ...] | None],
    layout: Path | None,
) -> Evidence:
    return Evidence(
        digest=digest,
        manifest=manifest,
        statements=parts(statement_tag(digest)),
        signatures=parts(signature_tag(digest)),
        layout=layout,
    )


def _digest_of_tag(layout: Path, tag: str) -> str:
    entries = {tag_of(entry): str(entry["digest"]) for entry in read_entries(layout)}
    if tag not in entries:
        has = ", ".join(sorted(filter(None, entries))) or "nothing"
        raise PermanentError(f"OCI layout {layout} has no tag {tag}; it has {has}")
    return entries[tag]


def _parts(layout: Path, tag: str) -> tuple[Part, ...] | None:
    """Read the layers of an artifact by its tag; None if the layout has no such tag."""
    if tag not in {tag_of(entry) for entry in read_entries(layout)}:
        return None
    manifest = _json(layout, _digest_of_tag(layout, tag))
    return tuple(_part(layout, each) for each in manifest.get("layers", []))


def _part(layout: Path, layer: Mapping[str, Any]) -> Part:
    return Part(
        media_type=str(layer.get("mediaType")),
        annotations=layer.get("annotations") or {},
        content=_small_blob(layout, str(layer.get("digest"))),
    )


def _json(layout: Path, digest: str) -> dict[str, Any]:
    try:
        found = json.loads(_small_blob(layout, digest))
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{digest} is no manifest: {error}") from error
    return found if isinstance(found, dict) else {}


def _small_blob(layout: Path, digest: str) -> bytes:
    """Read a blob, and refuse one that is not what its digest says."""
    path = blob_path(layout, digest)
    if not path.is_file():
        raise PermanentError(f"OCI layout {layout} has no {digest}; was it moved?")
    if path.stat().st_size > _MOST_BYTES:
        raise PermanentError(
            f"{digest} has over {_MOST_BYTES // 10**6} MB, too much for a statement"
        )
    content = path.read_bytes()
    if (there := f"sha256:{hashlib.sha256(content).hexdigest()}") != digest:
        raise PermanentError(f"the blob {digest} was changed: its content has {there}")
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
