"""Who rejected which adapter, noted at the service that stays: `argotune versions` reads it there.

Before the first adapter is in service, or without a service, there is nothing to note it at.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.errors import StepError
from argotune.steps.contracts.in_service import Event, read_in_service
from argotune.steps.contracts.services import RECORD, deploy_lock, read_service, write_record
from argotune.steps.reject.params import Params

_LOGGER = logging.getLogger(__name__)


def note_rejection(
    params: Params, digest: str, event: Event, *, connect: Callable[[], Kube]
) -> None:
    """Note at the service that the adapter was rejected; a refusal does not fail the run."""
    try:
        if params.target == "process":
            _note_here(params, digest, event)
        elif params.target == "kubernetes":
            _note_on_cluster(params, digest, event, connect())
    except (StepError, OSError) as error:
        log.warn(_LOGGER, "rejection-not-noted", service=params.name, reason=error)


def _note_on_cluster(params: Params, digest: str, event: Event, kube: Kube) -> None:
    found = kube.get("Deployment", params.namespace, params.name) or {"metadata": {}}
    known = read_in_service(found["metadata"].get("annotations") or {})
    if known is None:
        return
    change = {"metadata": {"annotations": known.rejections_with(digest, event)}}
    kube.patch("Deployment", params.namespace, params.name, change)


def _note_here(params: Params, digest: str, event: Event) -> None:
    if params.services_dir is None:
        return
    folder = params.services_dir / params.name
    if read_service(params.services_dir, params.name) is None:
        return
    with deploy_lock(folder) as is_held:
        service = read_service(params.services_dir, params.name)
        known = read_in_service(service.annotations) if service is not None else None
        if service is None or known is None:
            return
        if not is_held:
            log.warn(_LOGGER, "rejection-not-noted", service=params.name, reason="a deploy goes on")
            return
        annotations = {**service.annotations, **known.rejections_with(digest, event)}
        write_record(folder / RECORD, dataclasses.replace(service, annotations=annotations))
