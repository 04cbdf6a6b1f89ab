"""A registry on loopback that has the images of the steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from argotune.workflows.workspace.images import LARGE, SMALL
from tests.fakes.registry import Registry

TAG = "0.1.0"
STEPS = (*SMALL, *LARGE)
_INDEX = "application/vnd.oci.image.index.v1+json"


def push(registry: Registry, content: str, steps: Iterable[str] = STEPS) -> dict[str, str]:
    """Put images with other content under the tag; their digests by step."""
    digests = {}
    for step in steps:
        index = {"schemaVersion": 2, "manifests": [], "annotations": {"is": f"{content} {step}"}}
        text = json.dumps(index).encode()
        registry.manifests[f"argotune/argotune-{step}", TAG] = (_INDEX, text)
        digests[step] = f"sha256:{hashlib.sha256(text).hexdigest()}"
    return digests
