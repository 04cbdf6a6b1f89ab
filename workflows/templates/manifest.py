"""The common form of the plain Kubernetes objects beside Argo's."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

PART_OF = {"app.kubernetes.io/part-of": "argotune"}


def manifest(kind: str, name: str, *, api_version: str, **fields: object) -> Manifest:
    """Build an object without a namespace, which is set when it is applied."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": dict(PART_OF)},
        **fields,
    }
