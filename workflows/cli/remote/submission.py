"""Creating a workspace's objects on the cluster.

Nothing stays behind of a run that is deleted or was never created.
"""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.cluster.kube import Object
from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.workspace import collection, manifests
from argotune.workflows.workspace.allowed_hosts import host_warnings
from argotune.workflows.workspace.collection import collection_problems
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.installed import (
    check_installed,
    check_node_settings,
)
from argotune.workflows.workspace.model import Workspace, provider_of
from argotune.workflows.workspace.nodes import node_is_of_run
from argotune.workflows.workspace.planned import print_as_warnings
from argotune.workflows.workspace.workflow import referring_workflow, whole_workflow


def submit(
    cluster: Cluster,
    workspace: Workspace,
    *,
    allow_loopback: bool,
    images: Mapping[str, str] | None,
    volume_size: str,
) -> str:
    """Create the run, and return its name.

    It refers to the installed template, or contains it with `images`. `volume_size` is what its
    plan needs, for an installation that has set none.
    """
    name = manifests.random_name(workspace.name)
    secret_name = f"{name}-urls"
    if images is None:
        secret, document = _referring(cluster, workspace, allow_loopback, secret_name, volume_size)
    else:
        check_node_settings(workspace, manifests.install_defaults())
        _check_collection(cluster, workspace)
        secret, document = whole_workflow(
            workspace,
            allow_loopback=allow_loopback,
            images=images,
            volume_size=volume_size,
            secret_name=secret_name,
        )
    workflow = manifests.with_name(document, name)
    if secret is None:
        cluster.create(workflow)
    else:
        _create_with_secret(cluster, workflow, secret)
    return name


def _check_collection(cluster: Cluster, workspace: Workspace) -> None:
    """Raise WorkspaceError where nothing would delete the run's node if the run is lost."""
    if not node_is_of_run(workspace.options):
        return
    provider = provider_of(workspace.options)
    problems = collection_problems(
        cluster.get("CronWorkflow", collection.NAME),
        cluster.get("WorkflowTemplate", collection.NAME),
        provider=provider,
        settings=workspace.options,
    )
    reasons = "; ".join(problems)
    if reasons:
        raise WorkspaceError(
            [
                f"provider {provider} makes a node for the run, and nothing would delete it if the "
                f"run were deleted or terminated: {reasons} in namespace {cluster.namespace}; "
                f"`argotune install {cluster.flags} "
                f"--{PROVIDERS[provider].needed_setting} ...` installs and resumes it"
            ]
        )


def _referring(
    cluster: Cluster,
    workspace: Workspace,
    allow_loopback: bool,
    secret_name: str,
    volume_size: str,
) -> tuple[Object | None, Object]:
    installed = _installed_template(cluster)
    check_installed(workspace, installed, allow_loopback=allow_loopback)
    print_as_warnings(host_warnings(workspace, manifests.decided_values(installed)))
    _check_collection(cluster, workspace)
    try:
        return referring_workflow(
            workspace,
            allow_loopback=allow_loopback,
            installed=installed,
            volume_size=volume_size,
            secret_name=secret_name,
        )
    except WorkspaceError as error:
        # The workspace was accepted before: it is the template that differs.
        raise CliError(
            [
                *error.problems,
                f"WorkflowTemplate {manifests.NAME} in namespace {cluster.namespace} is of another"
                f" version than this command: `argotune install {cluster.flags}` brings this one's",
            ]
        ) from error


def _installed_template(cluster: Cluster) -> Object:
    template = cluster.get("WorkflowTemplate", manifests.NAME)
    if template is None:
        raise CliError(
            f"WorkflowTemplate {manifests.NAME} is not in namespace {cluster.namespace}:"
            f" `argotune install {cluster.flags}` puts it there, and `argotune submit --standalone"
            " --images-registry REGISTRY` does without"
        )
    return template


def _create_with_secret(cluster: Cluster, workflow: Object, secret: Object) -> None:
    """Create the Workflow suspended, then its Secret, and resume the Workflow.

    The Secret is owned by the Workflow and is deleted with it, so the Workflow must exist first.
    """
    waiting = {**workflow, "spec": {**workflow["spec"], "suspend": True}}
    created = cluster.create(waiting)["metadata"]
    owner = {
        "apiVersion": workflow["apiVersion"],
        "kind": workflow["kind"],
        "name": created["name"],
        "uid": created["uid"],
    }
    try:
        metadata = {**secret["metadata"], "ownerReferences": [owner]}
        cluster.create({**secret, "metadata": metadata})
        cluster.patch("Workflow", created["name"], {"spec": {"suspend": None}})
    except BaseException:
        cluster.delete("Workflow", created["name"])
        raise
