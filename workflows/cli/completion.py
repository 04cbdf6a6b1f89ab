"""Names that a shell completes: runs and workspaces of this machine or of a cluster, and schedules.

A completion says nothing where it finds nothing, and waits for no cluster that does not answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import typer

from argotune.steps.cluster.errors import ApiError
from argotune.steps.cluster.kube import cluster_of_kubeconfig
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import local_runs
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import cluster_runs
from argotune.workflows.cli.remote.schedules import find_schedules
from argotune.workflows.cli.show.workflow_json import name_of, workspace_of

_MOST_SECONDS = 3.0
"""For the answer; one of them is the import of the Kubernetes client."""


def run_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """List the names of runs and workspaces that begin so.

    They are those of the cluster that the flags before them choose, or of this machine.
    """
    is_remote = any(ctx.params.get(name) for name in ("namespace", "context", "on_cluster"))
    return _matching(incomplete, (lambda: _of_cluster(ctx)) if is_remote else _of_machine)


def schedule_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """List the names of schedules that begin so, which are always a cluster's."""
    return _matching(incomplete, lambda: [each.name for each in find_schedules(_cluster(ctx))])


def _of_machine() -> Iterable[str]:
    runs = local_runs(home())
    return [name for run in runs for name in (run.workspace, run.name)]


def _of_cluster(ctx: typer.Context) -> Iterable[str]:
    runs = cluster_runs(_cluster(ctx))
    return [name for run in runs for name in (workspace_of(run), name_of(run))]


def _cluster(ctx: typer.Context) -> Cluster:
    """Connect with the cluster of the flags; nothing is told of one that takes its time."""
    context, namespace = ctx.params.get("context"), ctx.params.get("namespace")
    kube = cluster_of_kubeconfig(context, retries=False)
    return Cluster(context=context, namespace=namespace, kube=kube)


def _matching(incomplete: str, look: Callable[[], Iterable[str]]) -> list[str]:
    found: list[str] = []

    def fill() -> None:
        try:
            found.extend(look())
        except (ApiError, CliError, OSError):
            # Whoever runs the command is told.
            return

    looking = threading.Thread(target=fill, daemon=True)
    looking.start()
    looking.join(_MOST_SECONDS)
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete)]
