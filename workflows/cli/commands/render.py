"""argotune render: the workspace as YAML for `kubectl create -f`, `argo submit` or Git."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.overrides import with_overrides
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace import planned as workspaces
from argotune.workflows.workspace.installed import left_to_the_installer, secrets_to_be_allowed
from argotune.workflows.workspace.read import is_about_inference
from argotune.workflows.workspace.schedule import DEFAULT_TIMEZONE, with_time_problems
from argotune.workflows.workspace.workflow import (
    cron_workflow,
    images_arguments,
    referring_workflow,
    whole_workflow,
)

app = typer.Typer(add_completion=False)


@app.command()
@with_overrides()
def render(
    files: options.Files,
    template_ref: Annotated[
        bool,
        typer.Option(
            "--template-ref", help="Only the arguments, for an installed WorkflowTemplate."
        ),
    ] = False,
    schedules: Annotated[
        list[str] | None,
        typer.Option(
            "--schedule",
            metavar="CRON",
            help='A CronWorkflow instead, e.g. "0 3 * * *"; may be given several times.',
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help=f"Of --schedule, e.g. Europe/Berlin; default: {DEFAULT_TIMEZONE}."
        ),
    ] = None,
    images_registry: options.ImagesRegistry = None,
    images_tag: options.ImagesTag = None,
    substitute: options.Substitute = False,
    allow_loopback: options.AllowLoopback = False,
    *,
    overrides: Mapping[str, str],
) -> None:
    """Print a workspace as an Argo Workflow.

    It stands alone: it needs nothing in the cluster but Argo, the service accounts and the images.
    Dataset URLs with a query come with a Secret that holds them, for they may contain tokens.
    """
    if template_ref and schedules:
        raise InputError("--template-ref and --schedule: take one; a schedule is a reference too")
    if timezone is not None and not schedules:
        raise InputError(f"--timezone {timezone!r}: has an effect only with --schedule")
    refers = template_ref or bool(schedules)
    if refers and allow_loopback:
        raise InputError("--allow-loopback: only for a Workflow with the whole template in it")
    images = images_arguments(images_registry, images_tag, whole=not refers)
    texts = read_texts(files)
    zone = DEFAULT_TIMEZONE if timezone is None else timezone
    planned: workspaces.Planned | workspaces.PlannedService
    if is_about_inference(texts):
        refused = {"--schedule": schedules, "--allow-loopback": allow_loopback}
        options.refuse(refused, "for a training; a service without one has no data that change")
        planned = workspaces.load_service(
            texts, overrides=overrides, substitute=substitute, on_cluster=refers
        )
    else:
        with with_time_problems(schedules or (), zone):
            planned = workspaces.load(
                texts,
                overrides=overrides,
                allow_loopback=allow_loopback,
                substitute=substitute,
                # What refers to an installed template runs where that is.
                on_cluster=refers,
            )
    workspaces.print_warnings(planned)
    workspace = planned.workspace
    if refers:
        workspaces.print_as_warnings(left_to_the_installer(workspace))
        workspaces.print_as_warnings(secrets_to_be_allowed(workspace))
    if schedules:
        made = cron_workflow(
            workspace,
            allow_loopback=allow_loopback,
            schedules=schedules,
            timezone=zone,
        )
    elif template_ref:
        made = referring_workflow(workspace, allow_loopback=allow_loopback)
    else:
        made = whole_workflow(
            workspace,
            allow_loopback=allow_loopback,
            images=images,
            volume_size=planned.volume_size,
        )
    secret, document = made
    print(manifests.dump(*([secret] if secret else []), document), end="")
