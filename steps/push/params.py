"""Parameters and results of the push step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Params:
    """Make the adapter a reproducible OCI image and push it."""

    work_dir: Path
    """Volume of the run; reads work-dir/adapter, writes work-dir/image."""
    plan_file: Path
    """The plan step's file."""
    image: str
    """REGISTRY/REPOSITORY:TAG, or oci:DIRECTORY[:TAG] for an OCI layout on disk."""
    auth_file: Path | None = None
    """Docker config.json with the registry's login, from the image push secret; may be missing
    for oci: and for registries without login."""
    dataset_digest: str
    """Digest of the data, for the image's annotations."""
    base_loss: float
    """Held-out loss of the base model, nats per token, for the image's annotations."""
    tuned_loss: float
    """Held-out loss of the tuned model, nats per token, for the image's annotations."""
    created: str
    """Time of the run, RFC 3339; with it the image of equal input is equal in every byte."""
    attempts: int = 4
    """Tries on registry errors that may pass."""
    ca_file: Path | None = None
    """Certificate authority of the registry, PEM; empty: the system's."""


@dataclass(frozen=True, kw_only=True)
class Result:
    digest: str
    """sha256:HEX of the image's manifest."""
    reference: str
    """Where the image is, by digest: REGISTRY/REPOSITORY@sha256:HEX or oci:DIRECTORY@sha256:HEX."""
    size_mb: float
    """Size of all blobs, decimal MB."""
