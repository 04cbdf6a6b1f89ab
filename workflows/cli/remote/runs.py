"""The runs of a cluster's namespace, and the services that runs deployed there."""

from __future__ import annotations

from collections.abc import Iterable

from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.workflow_json import (
    WORKSPACE_LABEL,
    Workflow,
    decoded,
    workspace_of,
)

SERVICE_LABEL = "argotune.dev/service"
_SERVICES = "app.kubernetes.io/part-of=argotune,app.kubernetes.io/component=inference"


def cluster_runs(cluster: Cluster, workspace: str | None = None) -> list[Workflow]:
    """List the runs of all workspaces or of one, the newest first."""
    selector = WORKSPACE_LABEL if workspace is None else f"{WORKSPACE_LABEL}={workspace}"
    runs = [decoded(item) for item in cluster.list("Workflow", selector)]
    return sorted(runs, key=lambda run: str(run["metadata"]["creationTimestamp"]), reverse=True)


def newest_by_workspace(runs: Iterable[Workflow]) -> dict[str, Workflow]:
    """Select one run for each workspace, from runs with the newest first."""
    newest: dict[str, Workflow] = {}
    for run in runs:
        newest.setdefault(workspace_of(run), run)
    return newest


def find_cluster_run(cluster: Cluster, name: str) -> Workflow | None:
    """Find the run of this name, or the newest of the workspace of this name; else None."""
    found = cluster.get("Workflow", name)
    if found is not None:
        return decoded(found)
    return next(iter(cluster_runs(cluster, name)), None)


def run_named(cluster: Cluster, name: str) -> Workflow:
    """Find a run as `find_cluster_run` does, or raise InputError with the known names."""
    return find_cluster_run(cluster, name) or refuse_name(cluster, name)


def refuse_name(cluster: Cluster, name: str) -> Workflow:
    """Raise InputError with the known names, always."""
    known = sorted({workspace_of(run) for run in cluster_runs(cluster)})
    raise InputError(
        f"{name!r}: no run or workspace of this name in namespace {cluster.namespace}; "
        + (f"there are {', '.join(known)}" if known else "nothing was run there yet")
    )


def deployments(cluster: Cluster) -> dict[str, Object]:
    """Map the names of inference services to their Deployments."""
    found = cluster.list("Deployment", _SERVICES)
    return {str(item["metadata"]["labels"].get(SERVICE_LABEL)): item for item in found}


def is_ready(deployment: Object) -> bool:
    """Whether a server answers; while a new one starts, the old one does."""
    return int(deployment.get("status", {}).get("readyReplicas") or 0) > 0
