"""Deleting runs of a cluster's namespace that have ended, or that no controller ever took."""

from __future__ import annotations

from collections.abc import Sequence

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.reasons import is_untaken
from argotune.workflows.cli.remote.runs import cluster_runs, whole_run
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.show.spending import spending_of
from argotune.workflows.cli.show.volume import kept_volume_of
from argotune.workflows.cli.show.workflow_json import (
    WORKSPACE_LABEL,
    Workflow,
    has_ended,
    name_of,
    workspace_of,
)


def remove(cluster: Cluster, names: Sequence[str], *, dry_run: bool) -> None:
    """Delete the runs of these names with their volumes, all or none.

    Raises InputError for each that is no run's, and for each that goes on.
    """
    every = cluster_runs(cluster)
    known = {name_of(run) for run in every}
    chosen = []
    problems = []
    now = utc_now()
    for name in dict.fromkeys(names):
        run = whole_run(cluster, name) if name in known else None
        if run is None:
            problems.append(_unknown(cluster, every, name))
        elif not has_ended(run) and not is_untaken(run, now):
            problems.append(f"{name}: goes on; stop it first: argotune stop {name} {cluster.flags}")
        else:
            chosen.append(run)
    if problems:
        raise InputError(problems)
    for run in chosen:
        if not dry_run:
            cluster.delete("Workflow", name_of(run))
        print(_said(cluster, run, "would be deleted" if dry_run else "deleted"))


def _said(cluster: Cluster, run: Workflow, done: str) -> str:
    volume, spending = kept_volume_of(run), spending_of(run, utc_now())
    said = f"run {name_of(run)}: {done}"
    if volume is not None:
        said += f" with its volume {volume.claim}" + (f", {volume.size}" if volume.size else "")
    if spending is not None and not spending.is_over:
        said += f"; its node may still be there: argotune gc {cluster.flags}"
    return said


def _unknown(cluster: Cluster, every: Sequence[Workflow], name: str) -> str:
    of_workspace = [name_of(run) for run in every if workspace_of(run) == name]
    if of_workspace:
        return f"{name!r}: is a workspace; name its runs: {', '.join(of_workspace)}"
    there = ", ".join(name_of(run) for run in every) or "none"
    return (
        f"{name!r}: no run of this name with the label {WORKSPACE_LABEL} in namespace"
        f" {cluster.namespace}; there are {there}"
    )
