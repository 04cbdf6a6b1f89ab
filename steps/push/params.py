"""Parameters and results of the push step."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.values import NOT_MEASURED, Measured
from argotune.steps.contracts.in_service import DeployTo
from argotune.steps.contracts.versions import (
    CANDIDATE,
    LIVE,
    PREVIOUS,
    REJECTED,
    is_of_versions,
)
from argotune.steps.registry.oci import ImageReference, LayoutReference, parse_reference

SIGNING_SECRET = "argotune-signing"
"""The signing Secret of runs that name none; it may be missing."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Build a reproducible OCI image of the adapter and push it."""

    work_dir: Path
    """Volume of the run; reads work-dir/adapter, writes work-dir/image."""
    plan_file: Path
    """The plan step's file."""
    image: str
    """REGISTRY/REPOSITORY:TAG, or oci:DIRECTORY[:TAG] for an OCI layout on disk; the default tag
    is latest."""
    output_claim: str = ""
    """PersistentVolumeClaim that gets a copy of the adapter, in WORKSPACE/sha256-HEX after the
    image's digest, of a rejected one in WORKSPACE/rejected-HEX; empty: none."""
    output_dir: Path | None = None
    """Where that claim is mounted."""
    auth_file: Path | None = None
    """Docker config.json with the registry's login, from the image push Secret; not needed for
    oci: and for registries without login."""
    push_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    dataset_digest: str
    """Digest of the data, for the image's annotations."""
    model_dir: str
    """Directory of the base model below the model cache, for the image's annotations: a rollback
    serves the adapter with it."""
    base_loss: Measured
    """Held-out loss of the base model, nats per token, for the image's annotations; `not measured`
    in a run without held-out rows."""
    tuned_loss: Measured
    """Held-out loss of the tuned model, nats per token, as base-loss."""
    verdict: Literal["passed", "rejected"] = "passed"
    """Of the evaluate step. rejected: the image gets a tag rejected-HEX after its digest, and
    neither the tag that the image names nor any other."""
    deploy_to: DeployTo = "kubernetes"
    """Where the run deploys the adapter; none is noted in the image's annotations."""
    created: str
    """Time of the run, RFC 3339; images of equal inputs and time are equal byte for byte."""
    run: str = ""
    """UID of the Workflow that runs this step, for the statement of where the adapter comes
    from; empty: not said, as the five below."""
    workflow: str = ""
    """Its name."""
    namespace: str = ""
    """Its namespace."""
    urls: tuple[str, ...] = ()
    """URLs of the data without queries, a JSON list."""
    validation_urls: tuple[str, ...] = ()
    """URLs of the validation files, likewise."""
    step_images: tuple[str, ...] = ()
    """Images of the steps, NAME:TAG with or without @sha256:HEX, a JSON list; on a cluster."""
    machine: str = ""
    """SKU, spot or regular, and zone of the node that was made for the run; empty: none was."""
    node_since: str = ""
    """When that node was asked for, RFC 3339; empty: not said."""
    price_usd_per_hour: float | None = None
    """Its known price, of a spot node the regular one; empty: not known."""
    step_times: str = "{}"
    """When each step so far began and ended, a JSON object of lists of two times, RFC 3339."""
    signing_dir: Path | None = None
    """Directory with the private key that signs, from the signing Secret: cosign.key in PEM or as
    cosign writes it, and its cosign.password; without it the statement is not signed."""
    signing_secret: str = SIGNING_SECRET
    """Name of that Secret, for messages; one of another name has to be there."""
    keep_report: Literal["registry", "none"] = "registry"
    """Where the run's report stays: metrics, curves, answers, counts of the data, plan and ends of
    the logs. registry: beside the adapter, tag sha256-HEX.report after the adapter's digest."""
    attempts: int = 4
    """Attempts on transient registry errors."""
    timeout_seconds: float = 1800.0
    """Longest duration of one upload attempt."""
    ca_file: Path | None = None
    """Certificate authority of the registry, PEM, trusted in addition to the system's; may not
    exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""

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
            if loss != NOT_MEASURED and not math.isfinite(loss):
                problems.append(f"--{flag}: {loss} is not a finite number")
        problems += self._time_problems()
        if self.attempts < 1:
            problems.append(f"--attempts: {self.attempts} is less than 1")
        if not self.timeout_seconds > 0:
            problems.append(f"--timeout-seconds: {self.timeout_seconds} is not above 0")
        if problems:
            raise ParamsError(problems)

    @property
    def target(self) -> ImageReference | LayoutReference:
        """The parsed image."""
        return parse_reference(self.image)

    def times(self) -> dict[str, tuple[datetime, datetime]]:
        """When each step began and ended. Raises ValueError unless step_times has that form."""
        found = json.loads(self.step_times)
        if not isinstance(found, dict):
            raise ValueError("no object")
        return {str(step): _two_times(each) for step, each in found.items()}

    def _time_problems(self) -> list[str]:
        problems = []
        if self.node_since and not _is_rfc3339(self.node_since):
            problems.append(
                f"--node-since: {self.node_since!r} is not a time such as 2026-01-31T12:00:00Z"
            )
        try:
            self.times()
        except (ValueError, RecursionError):
            problems.append(
                f"--step-times: {self.step_times!r} is not a JSON object such as"
                ' {"plan": ["2026-01-31T12:00:00Z", "2026-01-31T12:00:09Z"]}'
            )
        return problems

    def _image_problems(self) -> list[str]:
        if not self.image:
            return ["--image: empty; give REGISTRY/REPOSITORY:TAG"]
        try:
            reference = parse_reference(self.image)
        except ValueError as error:
            return [f"--image: {error}"]
        if reference.digest is not None:
            return [f"--image: {self.image!r} has a digest; push creates a new one, so use a tag"]
        if reference.tag is not None and is_of_versions(reference.tag):
            return [
                f"--image: {self.image!r}: {reference.tag} is a tag that argotune itself gives to"
                f" adapters (vN, {CANDIDATE}, {LIVE}, {PREVIOUS}, {REJECTED}...); use another, such"
                " as latest or 0.1"
            ]
        if isinstance(reference, LayoutReference) and reference.directory.is_file():
            return [f"--image: {reference.directory} is a file; use a directory"]
        return []


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the push step."""

    digest: str
    """sha256:HEX of the image's manifest."""
    reference: str
    """Reference by digest: REGISTRY/REPOSITORY@sha256:HEX or oci:DIRECTORY@sha256:HEX."""
    size_mb: float
    """Total size of the blobs, decimal MB."""
    report: str
    """Reference of the run's report by digest; `none: REASON` where it could not be kept, empty
    where none was to be kept."""
    provenance: str
    """Reference by digest of the statement of where the adapter comes from; `none: REASON` where
    it could not be kept."""
    signed: bool
    """Whether adapter and statement are signed."""
    volume: str
    """volume://CLAIM/DIRECTORY of the copy; empty without output-claim."""


def _is_rfc3339(text: str) -> bool:
    # fromisoformat alone also accepts times without a zone and dates without a time.
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _two_times(value: object) -> tuple[datetime, datetime]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("not two times")
    begin, end = map(str, value)
    if not (_is_rfc3339(begin) and _is_rfc3339(end)):
        raise ValueError("no time")
    return datetime.fromisoformat(begin), datetime.fromisoformat(end)
