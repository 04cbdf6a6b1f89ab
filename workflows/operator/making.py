"""Making the run of a Workspace, as `argotune submit` does, but only once."""

from __future__ import annotations

import threading

from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.submission import (
    begun_by_person,
    create_if_absent,
    of_workspace,
    owned_by,
    plan_for_cluster,
    plan_service_for_cluster,
    run_of_installation,
)
from argotune.workflows.operator.content import as_texts
from argotune.workflows.operator.seen import CONTENT, HELD
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.planned import Planned, PlannedService
from argotune.workflows.workspace.read import is_about_inference

_PLANNING = threading.Lock()
"""One worker plans at a time. msgspec 0.22 learns a type at its first use, and where two threads do
so at once the process may end with a segmentation fault: one of three that planned four did."""


def plan(cluster: Cluster, workspace: Object) -> Planned | PlannedService:
    """Read and plan the Workspace as `argotune submit` does.

    Raises WorkspaceError and CliError with everything that is wrong.
    """
    texts = as_texts(workspace)
    with _PLANNING:
        if is_about_inference(texts):
            return plan_service_for_cluster(cluster, texts, {})
        return plan_for_cluster(cluster, texts, {})


def ensure_run(
    cluster: Cluster,
    workspace: Object,
    planned: Planned | PlannedService,
    *,
    name: str,
    digest: str,
) -> Object:
    """Create the run of this name, suspended, and the Secret of its URLs, where they are missing.

    Returns the Workflow, which `let_go` begins: before that the Secret is there, and the name is
    written down. Raises WorkspaceError for what the installation does not allow.
    """
    secret, document = run_of_installation(
        cluster,
        planned.workspace,
        allow_loopback=False,
        volume_size=planned.volume_size,
        secret_name=f"{name}-urls",
    )
    document = begun_by_person(cluster, manifests.with_name(document, name))
    # By its annotation step deploy notes whose the service is.
    document = of_workspace(_held(owned_by(document, workspace), digest), workspace)
    created = create_if_absent(cluster, document)
    if secret is not None:
        create_if_absent(cluster, owned_by(secret, created))
    return created


def let_go(cluster: Cluster, name: str, *, hold: bool) -> Object:
    """Let a run begin or go on, or have it wait."""
    return cluster.patch(
        "Workflow",
        name,
        {
            "metadata": {"annotations": {HELD: "true" if hold else None}},
            "spec": {"suspend": True if hold else None},
        },
    )


def _held(document: Object, digest: str) -> Object:
    noted = manifests.with_annotations(document, {CONTENT: digest, HELD: "true"})
    return {**noted, "spec": {**document["spec"], "suspend": True}}
