"""The schedule of a Workspace: Argo's CronWorkflow, made as `argotune schedule` does."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.remote import schedules
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.operator_annotations import (
    SCHEDULE,
    SUSPEND,
    TIMEZONE,
    path_of,
)
from argotune.workflows.workspace.planned import Planned, PlannedService
from argotune.workflows.workspace.schedule import DEFAULT_TIMEZONE, NAME_PREFIX

SCHEDULED = "operator.argotune.dev/schedule"
"""Annotation of a Workspace: times, zone and content of the schedule that was made for it."""
_PAUSED = "operator.argotune.dev/schedule-paused"
_KIND = "CronWorkflow"
_DIGEST_CHARACTERS = 10


def is_as_wanted(workspace: Object, values: Mapping[str, str], digest: str) -> bool:
    """Whether the schedule was made as the annotations say, of this content."""
    return (_noted(workspace, SCHEDULED) or None) == _mark(values, digest)


def bring_about(
    cluster: Cluster,
    workspace: Object,
    planned: Planned | PlannedService,
    values: Mapping[str, str],
    digest: str,
) -> dict[str, str | None]:
    """Make, change or delete the schedule; returns the annotations to note.

    Raises WorkspaceError where there can be none, and CliError while a run of one that is to go is
    running.
    """
    wanted = _mark(values, digest)
    if wanted is None:
        if _noted(workspace, SCHEDULED):
            take_away(cluster, workspace)
        return {SCHEDULED: None, _PAUSED: None}
    if isinstance(planned, PlannedService):
        raise WorkspaceError(
            [f"{path_of(SCHEDULE)}: is about training, and the Workspace about inference"]
        )
    schedules.make_schedule(
        cluster,
        planned.workspace,
        times=[values[SCHEDULE]],
        timezone=values.get(TIMEZONE, DEFAULT_TIMEZONE),
        volume_size=planned.volume_size,
        secret=schedules.SecretOfOwner(
            name=f"{workspace['metadata']['name']}-urls-{digest[:_DIGEST_CHARACTERS]}",
            owner=workspace,
        ),
    )
    return {SCHEDULED: wanted}


def pause_or_resume(
    cluster: Cluster, workspace: Object, values: Mapping[str, str]
) -> dict[str, str | None]:
    """Pause the schedule of a Workspace that is suspended, or resume it; returns what to note."""
    is_to_wait = values.get(SUSPEND) == "true"
    if not _noted(workspace, SCHEDULED) or is_to_wait == bool(_noted(workspace, _PAUSED)):
        return {}
    if _is_there(cluster, workspace):
        change = schedules.pause if is_to_wait else schedules.resume
        change(cluster, _name(workspace))
    return {_PAUSED: "true" if is_to_wait else None}


def pause_if_there(cluster: Cluster, workspace: Object) -> None:
    """Let the schedule begin no further run."""
    if _is_there(cluster, workspace):
        schedules.pause(cluster, _name(workspace))


def take_away(cluster: Cluster, workspace: Object) -> None:
    """Delete the schedule. Raises CliError while a run of it goes on."""
    if _is_there(cluster, workspace):
        schedules.unschedule(cluster, _name(workspace))


def _is_there(cluster: Cluster, workspace: Object) -> bool:
    """Whether there is a schedule of this Workspace, and not only one of its name."""
    if not _noted(workspace, SCHEDULED):
        return False
    found = cluster.get(_KIND, _name(workspace))
    return found is not None and schedules.is_of(found, workspace)


def _mark(values: Mapping[str, str], digest: str) -> str | None:
    if SCHEDULE not in values:
        return None
    return f"{values[SCHEDULE]} {values.get(TIMEZONE, DEFAULT_TIMEZONE)} {digest}"


def _name(workspace: Object) -> str:
    return f"{NAME_PREFIX}{workspace['metadata']['name']}"


def _noted(workspace: Object, annotation: str) -> str:
    return str((workspace["metadata"].get("annotations") or {}).get(annotation, ""))
