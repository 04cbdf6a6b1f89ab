"""The claim `argotune-models`, which stores weights and history between runs."""

from __future__ import annotations

from argotune.workflows.templates.manifest import Manifest, manifest

NAME = "model-cache"
CLAIM = "argotune-models"


def build() -> list[Manifest]:
    """Build a ReadWriteMany claim: runs and services on several nodes use it at the same time."""
    spec = {
        "accessModes": ["ReadWriteMany"],
        # The largest preset's weights take 66 GB.
        "resources": {"requests": {"storage": "200Gi"}},
    }
    return [manifest("PersistentVolumeClaim", CLAIM, api_version="v1", spec=spec)]
