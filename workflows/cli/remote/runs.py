"""The runs of a cluster's namespace, and the services that runs deployed there.

A list of runs has their metadata alone: a whole Workflow is a hundred kilobytes. Labels of Argo and
annotations of the steps tell what a table of runs shows.
"""

from __future__ import annotations

from collections.abc import Iterable

from argotune.steps.cluster.kube import Object
from argotune.steps.common.values import is_dns_label
from argotune.steps.contracts.in_service import joined_in
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.workflow_json import (
    COMPLETED_LABEL,
    WORKSPACE_LABEL,
    Workflow,
    changes_nothing,
    has_ended,
    makes_no_adapter,
    name_of,
    unpack_nodes,
    workspace_of,
)

SERVICE_LABEL = "argotune.dev/service"
SERVICES = "app.kubernetes.io/part-of=argotune,app.kubernetes.io/component=inference"
"""Selects the Deployments of services."""


def cluster_runs(
    cluster: Cluster, workspace: str | None = None, *, only_active: bool = False
) -> list[Workflow]:
    """List the metadata of all runs, or of one workspace's, the newest first.

    With `only_active` those that have ended are left out.
    """
    selector = WORKSPACE_LABEL if workspace is None else f"{WORKSPACE_LABEL}={workspace}"
    if only_active:
        # Before Argo has seen a run, it has no such label.
        selector += f",{COMPLETED_LABEL}!=true"
    return newest_first(cluster.collection("Workflow", selector, metadata_only=True).items)


def newest_first(runs: Iterable[Workflow]) -> list[Workflow]:
    """Sort runs by their time of creation."""
    return sorted(runs, key=lambda run: str(run["metadata"]["creationTimestamp"]), reverse=True)


def whole_run(cluster: Cluster, name: str) -> Workflow | None:
    """Read a run with its steps; None where it is missing."""
    found = cluster.get("Workflow", name)
    return None if found is None else unpack_nodes(found)


def newest_by_workspace(runs: Iterable[Workflow]) -> dict[str, Workflow]:
    """Select the run that each workspace's name means, from runs with the newest first.

    A rollback, an evaluation or a scheduled run that has found nothing changed hides no older run
    that goes on, which may wait for its approval; and the last, once it has ended, none at all.
    """
    newest: dict[str, Workflow] = {}
    for run in runs:
        found = newest.setdefault(workspace_of(run), run)
        if _hides_in_vain(found, run):
            newest[workspace_of(run)] = run
    return newest


def _hides_in_vain(newer: Workflow, older: Workflow) -> bool:
    if changes_nothing(older):
        return False
    if changes_nothing(newer) and has_ended(newer):
        return True
    goes_on = not has_ended(older) and not makes_no_adapter(older)
    return goes_on and (makes_no_adapter(newer) or changes_nothing(newer))


def find_cluster_run(cluster: Cluster, name: str) -> Workflow | None:
    """Read the run that a name means: the workspace's as in `status`, else the run of this name.

    The run may be none of argotune's. Returns None where there is neither.
    """
    # A label holds no other name; a server refuses to select by one.
    runs = cluster_runs(cluster, name) if is_dns_label(name) else []
    newest = newest_by_workspace(runs).get(name)
    return whole_run(cluster, name if newest is None else name_of(newest))


def run_named(cluster: Cluster, name: str) -> Workflow:
    """Find a run as `find_cluster_run` does, or raise InputError with the known names."""
    return find_cluster_run(cluster, name) or refuse_name(cluster, name)


def refuse_name(cluster: Cluster, name: str) -> Workflow:
    """Raise InputError with the known names, always."""
    known = sorted({workspace_of(run) for run in cluster_runs(cluster)})
    raise InputError(
        f"{name!r}: no run or workspace of this name in namespace {cluster.namespace}; "
        + (f"there are {', '.join(known)}" if known else "there is none")
    )


def deployments(cluster: Cluster) -> dict[str, Object]:
    """Map the names of inference services to their Deployments."""
    return by_service(cluster.list("Deployment", SERVICES))


def by_service(found: Iterable[Object]) -> dict[str, Object]:
    """Map the names of inference services to these Deployments of theirs.

    An adapter that joined a service has that one's, with annotations as its own would have.
    """
    own = {str(item["metadata"]["labels"].get(SERVICE_LABEL)): item for item in found}
    joined = {
        name: {**host, "metadata": {**host["metadata"], "annotations": annotations}}
        for host in own.values()
        for name, annotations in joined_in(host["metadata"].get("annotations") or {}).items()
    }
    return {**joined, **own}


def host_of(service: Object) -> str:
    """Return the name of the service whose servers answer, from `by_service`."""
    return str(service["metadata"]["name"])
