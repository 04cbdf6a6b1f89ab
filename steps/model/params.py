"""Parameters and results of the model step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.registry.oci import parse_reference


@dataclass(frozen=True, kw_only=True)
class Params:
    """Bring the base model into the cache, and the adapters that a run needs onto its volume."""

    plan_file: Path
    """The plan step's file."""
    cache_dir: Path
    """Model cache (steps/contracts/model_cache.py)."""
    timeout_seconds: float = 60.0
    """Longest time without data from a server."""
    auth_file: Path | None = None
    """Docker config.json for weights in a container image; may not exist."""
    access_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of that image's registry, PEM, trusted in addition to the system's;
    may not exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries of such images that may have private addresses, as a JSON
    list; outside a cluster all may."""
    verify_contents: bool = False
    """For a model in the cache, compare the SHA-256 sums of all files, not only their sizes."""
    work_dir: Path | None = None
    """Volume of the run; writes work-dir/live-adapter, the adapter in service, and
    work-dir/start-adapter, where the plan begins with an adapter. Empty: neither is looked for."""
    output_image: str = ""
    """Image of the adapter, in whose repository the tag `live` is the adapter in service."""
    push_auth_file: Path | None = None
    """Docker config.json for that repository; may not exist."""
    push_secret: str | None = None
    """Name of the Secret with that file; used in messages only."""
    full_retrain_every: int = 0
    """Every so many runs training begins with a new adapter all the same; 0: never."""

    def __post_init__(self) -> None:
        if not self.output_image:
            return
        try:
            parse_reference(self.output_image)
        except ValueError as error:
            raise ParamsError(f"--output-image: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the model step."""

    model_dir: str
    """Directory of the model below the cache directory, such as presets/OWNER--NAME/REVISION; it
    is named by the source of the weights and what that had."""
    size_gb: float
    """Size of all files, decimal GB."""
    cached: bool
    """Whether the model was already in the cache."""
    origin: str
    """Where the weights come from: the source and what it had, `hub at COMMIT` or `dir:DIRECTORY
    at sha256:HEX`."""
