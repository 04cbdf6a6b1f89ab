"""Parameters and results of the model step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Params:
    """Bring the base model's weights into the cache, once per revision, and verify them."""

    plan_file: Path
    """The plan step's file."""
    cache_dir: Path
    """Model cache; a model lies in cache-dir/OWNER--NAME/REVISION."""
    timeout_seconds: float = 60.0
    """Longest silence of a server."""
    auth_file: Path | None = None
    """Docker config.json for weights in a container image; may be missing."""
    access_secret: str | None = None
    """Name of the secret that the auth file comes from; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of that image's registry, PEM, trusted beside the system's; a missing
    file is none."""
    verify_contents: bool = False
    """Read a model that is in the cache already whole and compare its SHA-256 sums, not only
    its sizes."""


@dataclass(frozen=True, kw_only=True)
class Result:
    model_dir: str
    """Directory of the model below the cache directory, OWNER--NAME/REVISION."""
    size_gb: float
    """Size of all files, decimal GB."""
    cached: bool
    """Whether the cache had it already."""
