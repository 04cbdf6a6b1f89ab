"""argotune submit: a workspace as a Workflow on the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.overrides import with_overrides
from argotune.workflows.cli.remote import submission, watching
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.cli.where import connect
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.planned import Planned, PlannedService
from argotune.workflows.workspace.read import is_about_inference
from argotune.workflows.workspace.workflow import images_arguments

app = typer.Typer(add_completion=False)


@app.command()
@with_overrides()
def submit(
    files: options.Files,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Show the steps until the run has ended."),
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Default: the file's, else kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    standalone: Annotated[
        bool,
        typer.Option(
            "--standalone", help="With the whole template inside; none need be installed."
        ),
    ] = False,
    images_registry: options.ImagesRegistry = None,
    images_tag: options.ImagesTag = None,
    pull_timeout_seconds: Annotated[
        float | None,
        typer.Option(
            help="With --watch: the run is stopped when a step's image could not be pulled for so"
            f" long; default: {watching.PULL_TIMEOUT_SECONDS:g}.",
            min=0,
        ),
    ] = None,
    substitute: options.Substitute = False,
    allow_loopback: options.AllowLoopback = False,
    *,
    overrides: Mapping[str, str],
) -> None:
    """Check and plan a workspace here, then create its Workflow on the cluster.

    The Workflow refers to the template that `argotune install` put into the namespace.
    """
    if pull_timeout_seconds is None:
        pull_timeout_seconds = watching.PULL_TIMEOUT_SECONDS
    elif not watch:
        raise InputError("--pull-timeout-seconds: for a run that is watched; say --watch too")
    cluster, run = create(
        read_texts(files),
        connect(namespace, context),
        overrides=overrides,
        allow_loopback=allow_loopback,
        substitute=substitute,
        standalone=standalone,
        images_registry=images_registry,
        images_tag=images_tag,
    )
    print(f"workflow.argoproj.io/{run} created in namespace {cluster.namespace}", flush=True)
    if not watch:
        print(f"watch it: argotune status {run} {cluster.flags} --watch")
        return
    watching.watch(cluster, run, pull_timeout_seconds=pull_timeout_seconds)


def create(
    texts: Texts,
    cluster: Cluster,
    *,
    overrides: Mapping[str, str],
    allow_loopback: bool = False,
    substitute: bool = False,
    standalone: bool = False,
    images_registry: str | None = None,
    images_tag: str | None = None,
) -> tuple[Cluster, str]:
    """Check and plan a workspace, and create its Workflow.

    Returns the cluster, in the file's namespace where it was given none, and the run's name.
    Raises InputError, WorkspaceError and ClusterError before anything is created.
    """
    images = images_arguments(images_registry, images_tag, whole=standalone)
    if standalone and images_registry is None:
        raise InputError("--standalone: --images-registry is missing; the step images are there")
    planned: Planned | PlannedService
    if is_about_inference(texts):
        options.refuse({"--allow-loopback": allow_loopback}, "for the data of a training")
        planned = submission.plan_service_for_cluster(
            cluster, texts, overrides, substitute=substitute, is_installed=not standalone
        )
    else:
        planned = submission.plan_for_cluster(
            cluster,
            texts,
            overrides,
            allow_loopback=allow_loopback,
            substitute=substitute,
            is_installed=not standalone,
        )
    cluster = cluster.within(planned.workspace.namespace)
    run = submission.submit(
        cluster,
        planned.workspace,
        allow_loopback=allow_loopback,
        images=images if standalone else None,
        volume_size=planned.volume_size,
    )
    return cluster, run
