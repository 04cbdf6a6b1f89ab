"""The run's report, pushed beside the adapter's image.

The adapter is what the run is for: where the report cannot be kept, the step says why and succeeds.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import StepError
from argotune.steps.contracts.report import NOT_KEPT, collect
from argotune.steps.push.layout import Image, write_report
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.skopeo import Registry, Sleep
from argotune.steps.registry.skopeo import push as push_image

_LOGGER = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 300.0
"""Longest duration of one upload attempt of the report's 10 MB."""


def keep_report(
    work_dir: Path,
    adapter: Image,
    image: ImageReference,
    registry: Registry,
    *,
    tag: str,
    created: str,
    sleep: Sleep,
) -> str:
    """Push the report of the run on this volume, and return its reference by digest.

    It gets the tag in the repository of `image`, and refers to the adapter there. Where that fails,
    return `none: REASON`.
    """
    target = ImageReference(registry=image.registry, repository=image.repository, tag=tag)
    patient = dataclasses.replace(registry, timeout_seconds=_TIMEOUT_SECONDS)
    try:
        layout = work_dir.absolute() / "report-image"
        files = collect(work_dir)
        written = write_report(layout, files, tag=tag, subject=adapter, created=created)
        push_image(layout, tag, target, written.digest, patient, sleep=sleep)
    except (StepError, OSError) as error:
        log.warn(_LOGGER, "report-not-kept", reason=error)
        return f"{NOT_KEPT}{error}"
    log.event(_LOGGER, "report", image=target, files=len(files), size=written.size_bytes)
    return f"{image.name}@{written.digest}"
