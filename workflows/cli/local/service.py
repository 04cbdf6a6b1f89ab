"""A workspace that serves a model without training, as a run of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.machine import check_machine_for_service
from argotune.workflows.cli.local.runnable import Runnable
from argotune.workflows.cli.local.secrets import docker_login, forget_unrecorded, keep_variables
from argotune.workflows.cli.local.workspace import check_client_keys, check_provider
from argotune.workflows.engine.record import RECORD
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace import planned as workspaces
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.model import ADAPTERS
from argotune.workflows.workspace.workflow import to_parameters


def from_service(
    texts: Texts,
    here: Home,
    *,
    overrides: Mapping[str, str],
    runtime: str,
    secrets: Mapping[str, Path],
) -> Runnable:
    """Plan the service for this machine, and make its Workflow, as `from_workspace` of a training.

    Raises CliError for what the steps need here and lack, which containers bring along.
    """
    planned = workspaces.load_service(
        texts, overrides=overrides, must_be_final=True, on_this_machine=True
    )
    workspace = planned.workspace
    check_provider(workspace.options.get("provider"))
    check_client_keys(workspace, here, secrets)
    if runtime == "process":
        check_machine_for_service(here, planned)
    else:
        _refuse_directories(planned, runtime)
    workspaces.print_warnings(planned)
    name = manifests.random_name(workspace.name)
    workflow = manifests.workflow(
        {
            "provider": "local",
            "deploy-to": "process",
            "services-dir": str(here.services_dir),
            "run-record": str(here.runs_dir / name / RECORD),
            **to_parameters(workspace, allow_files=True),
        },
        name=workspace.template,
    )
    here.make()
    login = workspace.push_secret or SETTINGS["push-secret"].default
    try:
        keep_variables(here, name, workflow)
        logins = {login: docker_login(here, name, login)}
    except OSError:
        forget_unrecorded(here, name)
        raise
    return Runnable(name=name, documents=[workflow], secrets=logins)


def _refuse_directories(planned: workspaces.PlannedService, runtime: str) -> None:
    found = [each.image for each in planned.plan.adapters if each.image.startswith("oci:")]
    if found:
        raise InputError(
            f"{ADAPTERS}: {', '.join(found)}: directories of this machine are not in containers;"
            f" leave --runtime {runtime} out"
        )
