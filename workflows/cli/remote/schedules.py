"""The schedules of a namespace's workspaces: CronWorkflows that refer to the installed template."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.steps.contracts.in_service import WORKSPACE_UID
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import newest_first
from argotune.workflows.cli.remote.submission import (
    check_against_installation,
    create_if_absent,
    create_with_secret,
    of_workspace,
    owned_by,
)
from argotune.workflows.cli.remote.url_secrets import FORMER, delete_unused, former_secrets
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.show.schedules import Schedule, schedule_of, template_of
from argotune.workflows.cli.show.workflow_json import (
    COMPLETED_LABEL,
    WORKSPACE_LABEL,
    Workflow,
    name_of,
)
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.planned import print_as_warnings
from argotune.workflows.workspace.workflow import CRON_WORKFLOW_LABEL, cron_workflow, run_of

_KIND = "CronWorkflow"


@dataclass(frozen=True, kw_only=True)
class SecretOfOwner:
    """The Secret of a schedule's URLs, which is there before the schedule and stays after it."""

    name: str
    """Follows from its content, so that whoever makes it twice makes one."""
    owner: Object


def find_schedules(cluster: Cluster) -> list[Schedule]:
    """List the schedules of workspaces, in the order of their names."""
    return _read(cluster, _of_workspaces(cluster))


def schedule_named(cluster: Cluster, name: str) -> tuple[Object, Schedule, list[Workflow]] | None:
    """Find the schedule of exactly this name, with the metadata of its runs, the newest first."""
    cron = cluster.get(_KIND, name)
    if cron is None or template_of(cron) != manifests.NAME:
        return None
    return cron, _read(cluster, [cron])[0], _runs_of(cluster, cron)


def make_schedule(
    cluster: Cluster,
    workspace: Workspace,
    *,
    times: Sequence[str],
    timezone: str,
    volume_size: str,
    secret: SecretOfOwner | None = None,
) -> tuple[Schedule, bool]:
    """Make the schedule of a workspace, or change the one that is there.

    A schedule that is paused stays so. `volume_size` is what the plan needs, for an installation
    that has set none; `secret` is for one of an applied Workspace, to which its Secret belongs.
    Returns it, and whether it was there before. Raises WorkspaceError for a name, time or zone on
    which Argo would never run, and CliError for an applied Workspace where it is another's.
    """
    installed = check_against_installation(cluster, workspace, allow_loopback=False)
    given, document = cron_workflow(
        workspace,
        allow_loopback=False,
        schedules=times,
        timezone=timezone,
        installed=installed,
        volume_size=volume_size,
        # A change brings its own, since nobody may change a Secret of a run.
        secret_name=secret.name if secret else f"{workspace.name}-urls-{secrets.token_hex(5)}",
    )
    found = cluster.get(_KIND, name_of(document))
    if secret is not None:
        document = _with_runs_of(document, secret.owner)
        _check_is_of(found, secret.owner)
        if given is not None:
            create_if_absent(cluster, owned_by(given, secret.owner))
            given = None
    if found is None:
        made = create_with_secret(cluster, document, given)
    else:
        made = _change(cluster, found, document, given)
    return _read(cluster, [made])[0], found is not None


def pause(cluster: Cluster, name: str) -> Schedule:
    """Let a schedule begin no run. Raises InputError for an unknown name."""
    return _suspend(cluster, name, suspend=True)


def resume(cluster: Cluster, name: str) -> Schedule:
    """Let a paused schedule begin runs again. Raises InputError for an unknown name."""
    return _suspend(cluster, name, suspend=False)


def trigger(cluster: Cluster, name: str) -> str:
    """Begin a run of the schedule now, as Argo begins one, and return its name.

    Raises InputError for an unknown name, and CliError while another run of it goes on, and
    where argotune is not installed.
    """
    cron = _named(cluster, name)
    if cluster.get("WorkflowTemplate", manifests.NAME) is None:
        raise CliError(
            f"{name_of(cron)}: WorkflowTemplate {manifests.NAME} is not in namespace"
            f" {cluster.namespace}; argotune install {cluster.flags} puts it there"
        )
    for run in _runs_of(cluster, cron):
        if _goes_on(run):
            raise CliError(
                f"{name_of(cron)}: its run {name_of(run)} goes on, and a schedule has one run at a"
                f" time; argotune status {name_of(run)} {cluster.flags} shows it"
            )
    return name_of(cluster.create(run_of(cron, utc_now())))


def unschedule(cluster: Cluster, name: str) -> tuple[str, int]:
    """Delete a schedule with the Secret of its URLs and the records of its ended runs.

    Returns its name and the number of the runs. Raises InputError for an unknown name, and CliError
    while a run of it goes on, since Kubernetes would delete the run without its `release` step.
    """
    cron = _named(cluster, name)
    runs = _runs_of(cluster, cron)
    for run in runs:
        if _goes_on(run):
            raise CliError(
                f"{name_of(cron)}: its run {name_of(run)} goes on and would be deleted with it;"
                f" wait, or say argotune stop {name_of(run)} {cluster.flags}"
            )
    cluster.delete(_KIND, name_of(cron))
    return name_of(cron), len(runs)


def _read(cluster: Cluster, crons: Sequence[Object]) -> list[Schedule]:
    """Read CronWorkflows, with what else of the cluster says whether and when they run."""
    if not crons:
        return []
    templates = [manifests.NAME] if cluster.get("WorkflowTemplate", manifests.NAME) else []
    begun = _last_begun(cluster)
    now = utc_now()
    return [schedule_of(each, templates, now, begun=begun.get(name_of(each))) for each in crons]


def _of_workspaces(cluster: Cluster) -> list[Object]:
    found = [each for each in cluster.list(_KIND, "") if template_of(each) == manifests.NAME]
    return sorted(found, key=name_of)


def _named(cluster: Cluster, name: str) -> Object:
    """Find the schedule of a workspace's or its own name."""
    schedules = {name_of(each): each for each in _of_workspaces(cluster)}
    if name in schedules:
        return schedules[name]
    of_workspace = {key: each for key, each in schedules.items() if _workspace_of(each) == name}
    if len(of_workspace) == 1:
        return next(iter(of_workspace.values()))
    problem = "several schedules" if of_workspace else "no schedule or workspace with one"
    known = ", ".join(of_workspace or schedules)
    raise InputError(
        f"{name!r}: {problem} in namespace {cluster.namespace};"
        f" {f'there are {known}' if known else 'there is none'}"
    )


def _workspace_of(cron: Object) -> str:
    return str((cron["metadata"].get("labels") or {}).get(WORKSPACE_LABEL, ""))


def _last_begun(cluster: Cluster) -> dict[str, str]:
    """Map the schedules' names to when their newest run began, also one that was triggered."""
    begun: dict[str, str] = {}
    for run in _runs(cluster, CRON_WORKFLOW_LABEL):
        metadata = run["metadata"]
        begun.setdefault(metadata["labels"][CRON_WORKFLOW_LABEL], metadata["creationTimestamp"])
    return begun


def _runs_of(cluster: Cluster, cron: Object) -> list[Workflow]:
    return _runs(cluster, f"{CRON_WORKFLOW_LABEL}={name_of(cron)}")


def _runs(cluster: Cluster, label_selector: str) -> list[Workflow]:
    """List the metadata of runs, the newest first."""
    return newest_first(cluster.collection("Workflow", label_selector, metadata_only=True).items)


def _goes_on(run: Workflow) -> bool:
    return (run["metadata"].get("labels") or {}).get(COMPLETED_LABEL) != "true"


def _suspend(cluster: Cluster, name: str, *, suspend: bool) -> Schedule:
    cron = _named(cluster, name)
    changed = cluster.patch(_KIND, name_of(cron), {"spec": {"suspend": suspend}})
    return _read(cluster, [changed])[0]


def is_of(cron: Object, workspace: Object) -> bool:
    """Whether the operator made the schedule for this applied Workspace."""
    annotations = cron["metadata"].get("annotations") or {}
    return bool(annotations.get(WORKSPACE_UID) == workspace["metadata"]["uid"])


def _check_is_of(cron: Object | None, workspace: Object) -> None:
    if cron is not None and not is_of(cron, workspace):
        raise CliError(
            f"CronWorkflow {name_of(cron)}: is there already, and is not this Workspace's; give the"
            " Workspace another name, or have the CronWorkflow deleted"
        )


def _with_runs_of(document: Object, workspace: Object) -> Object:
    """Return the CronWorkflow with the annotation that it and its runs are the Workspace's."""
    spec = document["spec"]
    # By it step deploy notes whose the service is.
    of_runs = of_workspace({"metadata": spec.get("workflowMetadata") or {}}, workspace)
    return {
        **of_workspace(document, workspace),
        "spec": {**spec, "workflowMetadata": of_runs["metadata"]},
    }


def _change(cluster: Cluster, found: Object, document: Object, secret: Object | None) -> Object:
    """Replace all but the suspension; the Secret of before stays while a run uses it."""
    if secret is not None:
        cluster.create(owned_by(secret, found))
    former = former_secrets(found, document)
    if former:
        # Noted first, so that none is forgotten where this is interrupted.
        document["metadata"]["annotations"][FORMER] = ",".join(former)
    changed = cluster.patch(_KIND, name_of(found), _replacement(found, document))
    if former:
        going_on = [run for run in _runs_of(cluster, found) if _goes_on(run)]
        print_as_warnings(delete_unused(cluster, changed, former, going_on))
    return changed


def _replacement(found: Object, document: Object) -> Object:
    """Build the merge patch that makes the spec that of the document, but for the suspension."""
    there = {key: value for key, value in found["spec"].items() if key != "suspend"}
    metadata = {part: document["metadata"].get(part) for part in ("labels", "annotations")}
    return {"metadata": metadata, "spec": _merge_patch(there, document["spec"])}


def _merge_patch(old: Object, new: Object) -> Object:
    """Build the JSON merge patch (RFC 7386) from one object to another."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        was = old.get(key)
        if isinstance(was, dict) and isinstance(value, dict):
            patch[key] = _merge_patch(was, value)
        else:
            patch[key] = value
    return patch
