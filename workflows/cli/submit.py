"""argotune submit: a workspace as a Workflow on the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workflows.cli import options, workspaces
from workflows.cli.errors import InputError
from workflows.cli.for_cluster import objects_of
from workflows.cli.texts import read_texts
from workflows.workspace.model import Workspace

if TYPE_CHECKING:
    from workflows.cli.cluster import Cluster

app = typer.Typer(add_completion=False)


@app.command()
def submit(
    files: options.Files,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: the file's, else kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    template_ref: Annotated[
        bool,
        typer.Option(
            "--template-ref", help="Only the arguments, for an installed WorkflowTemplate."
        ),
    ] = False,
    substitute: options.Substitute = False,
    allow_loopback: options.AllowLoopback = False,
    name: options.Name = None,
    preset: options.Preset = None,
    method: options.Method = None,
    url: options.Url = None,
    output_image: options.OutputImage = None,
    instance_type: options.InstanceType = None,
    volume_size: options.VolumeSize = None,
    storage_class: options.StorageClass = None,
) -> None:
    """Check and plan a workspace here, then create its Workflow on the cluster."""
    planned = workspaces.load(
        read_texts(files),
        overrides=options.overrides(
            name=name,
            preset=preset,
            method=method,
            url=url,
            output_image=output_image,
            instance_type=instance_type,
            volume_size=volume_size,
            storage_class=storage_class,
        ),
        allow_loopback=allow_loopback,
        substitute=substitute,
        must_be_final=True,
        find_config_map=lambda where, wanted: _connect(context, namespace).find_config_map(
            where, wanted
        ),
    )
    workspace = planned.workspace
    _check_for_cluster(workspace)
    workspaces.print_warnings(planned)
    secret, document = objects_of(
        workspace, allow_loopback=allow_loopback, template_ref=template_ref
    )
    cluster = _connect(context, namespace)
    if secret:
        cluster.create_secret(secret, workspace.namespace)
    created = cluster.create_workflow(document, workspace.namespace)
    print(f"workflow.argoproj.io/{created.name} created in namespace {created.namespace}")
    print(f"watch it: argo watch -n {created.namespace} {created.name}")


def _connect(context: str | None, namespace: str | None) -> Cluster:
    # The client takes a second to import; a mistake in the file should not cost it.
    from workflows.cli.cluster import Cluster

    return Cluster(context=context, namespace=namespace)


def _check_for_cluster(workspace: Workspace) -> None:
    problems = []
    if workspace.output_image.startswith("oci:"):
        problems.append(
            f"tuning.output.image: {workspace.output_image!r} is a directory of this machine, and"
            " the pods run elsewhere; name an image of a registry, or use `argotune run`"
        )
    if workspace.options.provider == "local":
        problems.append(
            "metadata.annotations.argotune.dev/provider: 'local' is this machine; accepted on a"
            " cluster is existing"
        )
    if workspace.options.deploy_to == "process":
        problems.append(
            "metadata.annotations.argotune.dev/deploy-to: 'process' is this machine; accepted on"
            " a cluster is kubernetes"
        )
    if problems:
        raise InputError(problems)
