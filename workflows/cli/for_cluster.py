"""What a workspace becomes on a cluster: `render` prints it, `submit` creates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.cli import manifests
from workflows.cli.errors import InputError
from workflows.cli.url_secret import split_urls
from workflows.workspace.model import Workspace
from workflows.workspace.translate import to_parameters

Object = dict[str, Any]


def whole_workflow(
    workspace: Workspace,
    *,
    allow_loopback: bool,
    images: Mapping[str, str],
    secret_name: str | None = None,
) -> tuple[Object | None, Object]:
    """A Workflow with the whole template in it, after the Secret of its URLs where they need
    one."""
    arguments, secret = _arguments(workspace, allow_loopback, secret_name)
    return secret, manifests.workflow({**arguments, **images}, **_volume(workspace))


def referring_workflow(
    workspace: Workspace,
    *,
    allow_loopback: bool,
    installed: Mapping[str, Any] | None = None,
    secret_name: str | None = None,
) -> tuple[Object | None, Object]:
    """A Workflow of arguments for the installed template, after the Secret of its URLs."""
    arguments, secret = _arguments(workspace, allow_loopback, secret_name)
    workflow = manifests.workflow_from_template(arguments, installed, **_volume(workspace))
    return secret, workflow


def cron_workflow(
    workspace: Workspace, *, allow_loopback: bool, schedule: str
) -> tuple[Object | None, Object]:
    """A CronWorkflow of arguments for the installed template, after the Secret of its URLs."""
    arguments, secret = _arguments(workspace, allow_loopback, None)
    return secret, manifests.cron_workflow(arguments, schedule, **_volume(workspace))


def images_arguments(registry: str | None, tag: str | None, *, whole: bool) -> dict[str, str]:
    """The given parameters of the step images. Raises InputError where the installed template's
    are used."""
    given = {
        name: value
        for name, value in (("images-registry", registry), ("images-tag", tag))
        if value is not None
    }
    if given and not whole:
        raise InputError(
            [
                f"--{name}: for a workflow with the whole template in it; the installed template's"
                " is set by `argotune install`"
                for name in given
            ]
        )
    return given


def _arguments(
    workspace: Workspace, allow_loopback: bool, secret_name: str | None
) -> tuple[dict[str, str], Object | None]:
    parameters = to_parameters(workspace, allow_loopback=allow_loopback)
    return split_urls(workspace.name, workspace.urls, parameters, secret_name)


def _volume(workspace: Workspace) -> dict[str, str | None]:
    options = workspace.options
    return {"volume_size": options.volume_size, "storage_class": options.storage_class}
