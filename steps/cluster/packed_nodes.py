"""A Workflow's nodes, which Argo compresses where they are too large for etcd."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any


def nodes_in(status: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the nodes of a Workflow's status by their ids; none where Argo keeps them elsewhere.

    Raises OSError or ValueError where they cannot be unpacked.
    """
    packed = status.get("compressedNodes")
    nodes: Mapping[str, Mapping[str, Any]] | None = (
        json.loads(gzip.decompress(base64.b64decode(packed))) if packed else status.get("nodes")
    )
    return nodes or {}
