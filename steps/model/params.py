"""Parameters and results of the model step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Params:
    """Download the base model's weights into the cache, once per revision, and verify them."""

    plan_file: Path
    """The plan step's file."""
    cache_dir: Path
    """Model cache; the directory of a model is cache-dir/OWNER--NAME/REVISION."""
    timeout_seconds: float = 60.0
    """Longest time without data from a server."""
    auth_file: Path | None = None
    """Docker config.json for weights in a container image; may not exist."""
    access_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of that image's registry, PEM, trusted in addition to the system's;
    may not exist."""
    verify_contents: bool = False
    """For a model in the cache, compare the SHA-256 sums of all files, not only their sizes."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the model step."""

    model_dir: str
    """Directory of the model below the cache directory, OWNER--NAME/REVISION."""
    size_gb: float
    """Size of all files, decimal GB."""
    cached: bool
    """Whether the model was already in the cache."""
