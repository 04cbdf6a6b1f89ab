"""Parameters and results of the push step."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.registry.oci import LayoutReference, parse_reference


@dataclass(frozen=True, kw_only=True)
class Params:
    """Make the adapter a reproducible OCI image and push it."""

    work_dir: Path
    """Volume of the run; reads work-dir/adapter, writes work-dir/image."""
    plan_file: Path
    """The plan step's file."""
    image: str
    """REGISTRY/REPOSITORY:TAG, or oci:DIRECTORY[:TAG] for an OCI layout on disk; without a tag
    it is latest."""
    auth_file: Path | None = None
    """Docker config.json with the registry's login, from the image push secret; may be missing
    for oci: and for registries without login."""
    push_secret: str | None = None
    """Name of the secret that the auth file comes from; used in messages only."""
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
    timeout_seconds: float = 1800.0
    """Longest time for one try at the upload."""
    ca_file: Path | None = None
    """Certificate authority of the registry, PEM, trusted beside the system's; a missing file is
    none."""

    def __post_init__(self) -> None:
        problems = [*self._image_problems()]
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", self.dataset_digest):
            problems.append(
                f"--dataset-digest: {self.dataset_digest!r} is not sha256: and 64 hex digits"
            )
        if not _is_rfc3339(self.created):
            problems.append(
                f"--created: {self.created!r} is not a time such as 2026-01-31T12:00:00Z"
            )
        for flag, loss in (("base-loss", self.base_loss), ("tuned-loss", self.tuned_loss)):
            if not math.isfinite(loss):
                problems.append(f"--{flag}: {loss} is not a finite number")
        if self.attempts < 1:
            problems.append(f"--attempts: {self.attempts} is less than 1")
        if not self.timeout_seconds > 0:
            problems.append(f"--timeout-seconds: {self.timeout_seconds} is not above 0")
        if problems:
            raise ParamsError(problems)

    def _image_problems(self) -> list[str]:
        try:
            reference = parse_reference(self.image)
        except ValueError as error:
            return [f"--image: {error}"]
        if reference.digest is not None:
            return [f"--image: {self.image!r} names a digest; push makes a new one, so give a tag"]
        if isinstance(reference, LayoutReference) and reference.directory.is_file():
            return [f"--image: {reference.directory} is a file; give a directory"]
        return []


@dataclass(frozen=True, kw_only=True)
class Result:
    digest: str
    """sha256:HEX of the image's manifest."""
    reference: str
    """Where the image is, by digest: REGISTRY/REPOSITORY@sha256:HEX or oci:DIRECTORY@sha256:HEX."""
    size_mb: float
    """Size of all blobs, decimal MB."""


def _is_rfc3339(text: str) -> bool:
    # fromisoformat alone also takes times without a zone and bare dates.
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
