"""The service's objects before a deploy, to which it goes back when the new adapter fails.

The old pod template stands as an annotation at the Deployment until the new one has answered. So
the try after one that was killed, or the next run, does not take the new template for the old.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.in_service import joined_in
from argotune.steps.contracts.service_note import NOTE, Note, read_note, replicas_of
from argotune.steps.deploy.manifests.joining import served_model_dir
from argotune.steps.deploy.manifests.labels import Manifest, is_ours
from argotune.steps.deploy.manifests.objects import SERVING_KINDS
from argotune.steps.deploy.params import Params

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Before:
    """State of the service's objects before this deploy."""

    existed: frozenset[str]
    """Kinds of the objects that existed, except those of an unfinished earlier attempt of this
    run."""
    template: Object | None
    """The pod template of the Deployment that answered last, for the rollback."""
    replicas: int
    """As many as the Deployment is to have: those that somebody scaled it to, 0 included."""
    old_replicas: int
    """As many as it was to have, for the rollback."""
    run: str = ""
    """UID of the run that has the service's GPU meanwhile; empty: none has."""


def state_before(kube: Kube, params: Params, around: Sequence[str]) -> Before:
    """Read the objects with the service's name, those around it of these kinds.

    Raises PermanentError if one is not argotune's, or others joined the service on another base.
    """
    kinds = (*SERVING_KINDS, *around)
    found = {kind: kube.get(kind, params.namespace, params.name) for kind in kinds}
    existing = {kind: item for kind, item in found.items() if item is not None}
    for kind, item in existing.items():
        if not is_ours(item):
            raise PermanentError(
                f"{kind} {params.namespace}/{params.name} exists and is not argotune's; "
                "give the workspace another name"
            )
    old = {kind: item for kind, item in existing.items() if not _is_of_this_run(item, params)}
    deployed = old.get("Deployment")
    note = _answered(deployed) if deployed is not None else None
    if deployed is not None and note is not None:
        _check_joined(deployed, note.template, params)
    return Before(
        existed=frozenset(old),
        template=note.template if note is not None else None,
        replicas=_replicas(params, deployed, note),
        old_replicas=note.replicas if note is not None else 0,
        run=note.run if note is not None else "",
    )


def _check_joined(deployed: Object, template: Object, params: Params) -> None:
    """Raise PermanentError where adapters of another base have joined the service."""
    names = list(joined_in(deployed["metadata"].get("annotations") or {}))
    served = served_model_dir(template["spec"])
    if names and served != params.model_dir:
        stops = ", ".join(f"`argotune stop {name} --service`" for name in names)
        raise PermanentError(
            f"service {params.name} serves the base {served} also to {', '.join(names)}, which"
            f" joined it, and this adapter belongs to {params.model_dir}; take them out first,"
            f" {stops}, or give the workspace another name"
        )


def with_note(deployment: Manifest, before: Before) -> Manifest:
    """The Deployment with the annotation of what it replaces, if that is anything."""
    if before.template is None:
        return deployment
    note = Note(template=before.template, replicas=before.old_replicas, run=before.run)
    return {
        **deployment,
        "metadata": {**deployment["metadata"], "annotations": {NOTE: note.text()}},
    }


def remove_note(kube: Kube, params: Params) -> None:
    """Remove the annotation: what is in the Deployment has answered.

    It is patched: another apply would set the replicas, which an autoscaler may have changed.
    """
    change = {"metadata": {"annotations": {NOTE: None}}}
    kube.patch("Deployment", params.namespace, params.name, change)


def _answered(deployed: Object) -> Note:
    """The pod template that answered last, and its replicas."""
    now = Note(template=deployed["spec"]["template"], replicas=replicas_of(deployed))
    try:
        return read_note(deployed) or now
    except ValueError as error:
        # What is there now is the next best.
        log.warn(_LOGGER, "note-unreadable", reason=error)
        return now


def _replicas(params: Params, deployed: Object | None, note: Note | None) -> int:
    """How many servers there are to be at first.

    A service that somebody scaled to none stays so, or a schedule would start it each night; where
    an autoscaler decides, the number is what it came to. One that gave its GPU to the run was not
    scaled by anybody.
    """
    if deployed is None:
        return params.replicas or 1
    now = replicas_of(deployed)
    if now == 0 and note is not None and note.run:
        now = note.replicas
    if now == 0 and params.start:
        return params.replicas or 1
    if now == 0 or params.replicas is None:
        return now
    return max(now, params.replicas) if params.max_replicas is not None else params.replicas


def _is_of_this_run(item: Object, params: Params) -> bool:
    owners = item["metadata"].get("ownerReferences") or []
    return params.run_uid is not None and params.run_uid in [owner["uid"] for owner in owners]
