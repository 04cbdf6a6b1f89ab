"""The service gets back the GPU that it gave to the run, if the run has not replaced it."""

from __future__ import annotations

import logging

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.contracts.service_note import NOTE, merge_to, read_note, replicas_of
from argotune.steps.release.params import Params

_LOGGER = logging.getLogger(__name__)


def hand_back(kube: Kube, params: Params) -> str:
    """Put the servers back that were there before; returns what was done, empty: nothing.

    Raises ApiError where the API server does not take it.
    """
    found = kube.deployment(params.namespace, params.workspace)
    try:
        note = read_note(found) if found is not None else None
    except ValueError as error:
        log.warn(_LOGGER, "note-unreadable", reason=error)
        return ""
    if found is None or note is None or note.run != params.run:
        return ""
    now = found["spec"]["template"]
    replicas = replicas_of(found) or note.replicas
    spec = {"replicas": replicas, "template": merge_to(note.template, now)}
    kube.change_deployment(found, {NOTE: None}, spec)
    log.event(_LOGGER, "handed-back", service=params.workspace, replicas=replicas)
    return f"service {params.workspace} has its GPU again"
