"""What annotations of a Workspace ask for once: an approval, a rejection, a rollback."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import may_pass
from argotune.workflows.cli.remote.approval import answer_run
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.rollback import rollback_document
from argotune.workflows.cli.remote.submission import create_if_absent, of_workspace, owned_by
from argotune.workflows.operator.content import run_name
from argotune.workflows.operator.events import WorkspaceEvents
from argotune.workflows.operator.seen import Seen
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.operator_annotations import (
    APPROVE,
    PREVIOUS,
    REJECT,
    ROLLBACK,
    operator_problems,
    path_of,
    request_of,
)

ROLLED_BACK = "operator.argotune.dev/rollback"
"""Annotation of a Workspace: the rollback that was begun last, as it was asked for."""


def carry_out(
    cluster: Cluster,
    workspace: Object,
    values: Mapping[str, str],
    seen: Seen,
    events: WorkspaceEvents,
) -> dict[str, str | None]:
    """Carry out what is asked for; returns the annotations to note, None for one to delete."""
    asked = {name: values[name] for name in (APPROVE, REJECT, ROLLBACK) if name in values}
    if list(operator_problems(workspace["metadata"]["name"], asked)):
        # Told with the other problems of the content.
        return {}
    for name in (APPROVE, REJECT):
        wanted, reason = request_of(asked.get(name, ""))
        run = next((run for run in seen.own_runs(workspace) if run.name == wanted), None)
        if run is not None and run.awaits_approval:
            said = answer_run(cluster, run.name, name, reason or path_of(name))
            events.say(workspace, "Answered", said)
    return _roll_back(cluster, workspace, asked.get(ROLLBACK), seen, events)


def _roll_back(
    cluster: Cluster,
    workspace: Object,
    asked: str | None,
    seen: Seen,
    events: WorkspaceEvents,
) -> dict[str, str | None]:
    metadata = workspace["metadata"]
    begun = (metadata.get("annotations") or {}).get(ROLLED_BACK)
    if asked == begun:
        return {}
    if asked is None:
        return {ROLLED_BACK: None}
    version, _ = request_of(asked)
    if other := seen.run_of_other(workspace):
        said = f"run {other} deployed the service of this name, and is no run of this Workspace"
        events.say(workspace, "NoRollback", said, is_warning=True)
        return {ROLLED_BACK: asked}
    try:
        document = rollback_document(
            cluster, metadata["name"], None if version == PREVIOUS else version
        )
    except CliError as error:
        if may_pass(error):
            raise
        events.say(workspace, "NoRollback", "; ".join(error.problems), is_warning=True)
        return {ROLLED_BACK: asked}
    if document is not None:
        name = run_name(workspace, asked, begun or "", what="rollback")
        document = of_workspace(manifests.with_name(document, name), workspace)
        created = create_if_absent(cluster, owned_by(document, workspace))
        said = f"run {created['metadata']['name']} brings {version} back"
        events.say(workspace, "RollbackStarted", said)
    return {ROLLED_BACK: asked}
