"""What a workspace becomes on a cluster: `render` prints it, `submit` creates it."""

from __future__ import annotations

from typing import Any

from workflows.cli import manifests
from workflows.cli.url_secret import split_urls
from workflows.workspace.model import Workspace
from workflows.workspace.translate import to_parameters


def objects_of(
    workspace: Workspace,
    *,
    allow_loopback: bool,
    template_ref: bool = False,
    schedule: str | None = None,
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The Secret of its URLs, where they need one, and the Workflow or, with a schedule, the
    CronWorkflow."""
    arguments, secret = split_urls(
        workspace.name, workspace.urls, to_parameters(workspace, allow_loopback=allow_loopback)
    )
    if schedule:
        return secret, manifests.cron_workflow(arguments, schedule)
    if template_ref:
        return secret, manifests.workflow_from_template(arguments)
    workflow = manifests.workflow(
        arguments,
        volume_size=workspace.options.volume_size,
        storage_class=workspace.options.storage_class,
    )
    return secret, workflow
