"""The tags of an OCI layout, which stand in its index.json, and the places of its blobs.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation of an entry: its tag."""
_INDEX = "index.json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@contextlib.contextmanager
def layout_lock(layout: Path) -> Iterator[None]:
    """Lock a layout, because two processes that write to it would both rewrite the index."""
    layout.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_entries(layout: Path) -> list[dict[str, Any]]:
    """Read the descriptors of the index; a missing one has none.

    Raises PermanentError if the file is no index.
    """
    path = layout / _INDEX
    if not path.exists():
        return []
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_bytes())["manifests"]
        return [{**entry, "digest": str(entry["digest"])} for entry in entries]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PermanentError(f"{path}: not the index of an OCI layout ({error})") from error


def blob_path(layout: Path, digest: str) -> Path:
    """Return where the blob is, if it is there.

    Raises PermanentError if the digest is none, which could lead out of the layout.
    """
    if not _DIGEST.fullmatch(digest):
        raise PermanentError(f"{digest!r} is not sha256: and 64 lower-case hex digits")
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def tag_of(entry: Mapping[str, Any]) -> str | None:
    """Return the tag of an entry of the index; None if it has none."""
    annotations = entry.get("annotations") or {}
    tag: str | None = annotations.get(REF_NAME)
    return tag


def point_tag(layout: Path, tag: str, descriptor: Mapping[str, Any]) -> None:
    """Let a tag stand for a manifest, and no longer for the one that it stood for.

    The old image's blobs remain, so that references by digest stay valid. The caller holds
    `layout_lock`.
    """
    entry = {**descriptor, "annotations": {REF_NAME: tag}}
    others = [old for old in read_entries(layout) if tag_of(old) != tag]
    entries = sorted([*others, entry], key=lambda entry: (tag_of(entry) or "", entry["digest"]))
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    text = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    atomic_write(layout / _INDEX, text)
