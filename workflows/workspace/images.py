"""The images of the steps: their names, and the digests to which `argotune install` holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from argotune.steps.registry.oci import parse_image

SMALL = ("plan", "dataset", "model", "provision", "push", "deploy", "release")
SERVERS = ("serve", "vllm")
"""Those that deploy starts, on transformers and on vLLM; no steps."""
LARGE = ("tune", *SERVERS)
"""Several GiB each."""
OPERATOR = "operator"
"""That of the operator, which is needed where it is installed."""
BY_TAG = "null"
"""Text of the setting `images-digests` where the installer wants none."""


def image_problem(text: str, *, by_digest: bool = False) -> str:
    """Say why the text names no image, or none by its digest; empty where it does."""
    try:
        image = parse_image(text)
    except ValueError as error:
        return str(error).removeprefix(f"{text!r}: ")
    if by_digest and image.digest is None:
        return (
            "accepted is an image by its digest, REGISTRY/REPOSITORY@sha256:…, for a tag may move"
        )
    return ""


def image_of(values: Mapping[str, str], step: str) -> str:
    """Return REGISTRY/argotune-STEP:TAG@DIGEST; without the digest where none is installed.

    `values` are the settings that the installer decides, by name.
    """
    name = f"{values['images-registry']}/argotune-{step}:{values['images-tag']}"
    return name + _suffix(digests_of(values), step)


def digests_of(values: Mapping[str, str]) -> dict[str, str]:
    """Return the installed digests, sha256:HEX by step; a template of an older version has none."""
    found: dict[str, str] = json.loads(values.get("images-digests") or "{}") or {}
    return found


def digest_tag(step: str) -> str:
    """Return the name of the install tag that stands behind the image of a step."""
    return f"{step}-digest"


def digest_texts(values: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of these install tags: @sha256:HEX, or nothing."""
    found = digests_of(values)
    return {digest_tag(step): _suffix(found, step) for step in (*SMALL, *LARGE, OPERATOR)}


def short(image: str) -> str:
    """Return argotune-STEP:TAG of an image."""
    return image.rpartition("/")[2].partition("@")[0]


def short_digest(digest: str) -> str:
    """Return the beginning of a digest, by which people tell two apart."""
    return digest[: len("sha256:") + 12]


def _suffix(digests: Mapping[str, str], step: str) -> str:
    return f"@{digests[step]}" if step in digests else ""
