"""Plain Kubernetes objects beside Argo's: what they have in common."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

PART_OF = {"app.kubernetes.io/part-of": "argotune"}


def manifest(kind: str, name: str, *, api_version: str, **fields: object) -> Manifest:
    """An object without a namespace: that comes when it is applied."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": dict(PART_OF)},
        **fields,
    }
