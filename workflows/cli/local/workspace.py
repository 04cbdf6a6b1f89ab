"""A workspace as a run of this machine: planned, with its Secrets as directories."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from argotune.steps.common.urls import redact
from argotune.steps.contracts.client_keys import FILE_NAME, read_keys
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.services import KEYS, is_alive, read_service
from argotune.steps.contracts.webhook import format_problem, url_problem
from argotune.steps.nodes.providers import MAKING_NODES
from argotune.steps.notify.params import SECRET_VARIABLES as WEBHOOK_VARIABLES
from argotune.steps.settings.run_settings import PREFIX, SCORERS
from argotune.steps.settings.step_params import scorer_problems
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.downloads import lend_downloads
from argotune.workflows.cli.local.machine import check_machine
from argotune.workflows.cli.local.runnable import Runnable
from argotune.workflows.cli.local.runs import not_running
from argotune.workflows.cli.local.secrets import (
    docker_login,
    forget_unrecorded,
    keep_variables,
    secret_files,
)
from argotune.workflows.engine.record import RECORD
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace import planned as workspaces
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.images import image_problem
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.tags import unsafe
from argotune.workflows.workspace.workflow import split_urls, to_parameters


def from_workspace(
    texts: Texts,
    here: Home,
    *,
    overrides: Mapping[str, str],
    allow_loopback: bool,
    runtime: str,
    secrets: Mapping[str, Path] = MappingProxyType({}),
    scorers: Mapping[str, str] = MappingProxyType({}),
) -> Runnable:
    """Plan the workspace for this machine, and make its Workflow.

    `secrets` are those that the user gives, by name. Raises CliError for what the steps need here
    and lack, which containers bring along.
    """

    def read(given: Mapping[str, str]) -> workspaces.Planned:
        return workspaces.load(
            texts,
            overrides=given,
            allow_loopback=allow_loopback,
            must_be_final=True,
            on_this_machine=True,
        )

    planned = read(overrides)
    check_provider(planned.workspace.options.get("provider"))
    if reason := _has_other_base(planned, here):
        planned = workspaces.with_own_service(planned, reason, read, overrides)
    _check_joining(planned, here)
    check_client_keys(planned.workspace, here, secrets)
    _check_webhook(planned.workspace, secrets, allow_loopback=allow_loopback)
    if runtime == "process":
        check_machine(here, planned)
    else:
        _refuse_files(planned.workspace, runtime)
    installed = {SCORERS: json.dumps(_scorers(scorers, runtime))}
    of_run = {"gate": planned.workspace.options.get("gate", ""), "allow-files": "true"}
    problems = list(scorer_problems(planned.plan.evaluation, {**installed, **of_run}))
    wanted = {check.scorer for check in planned.plan.evaluation.scorers}
    problems += [
        f"--scorer {name}: no check of the file names it; leave it out"
        for name in scorers
        if name not in wanted
    ]
    if problems:
        raise InputError(problems)
    workspaces.print_warnings(planned)
    workspace = planned.workspace
    name = manifests.random_name(workspace.name)
    arguments, url_secret = split_urls(
        workspace,
        {
            "provider": "local",
            "deploy-to": "process",
            "services-dir": str(here.services_dir),
            "run-record": str(here.runs_dir / name / RECORD),
            **to_parameters(workspace, allow_loopback=allow_loopback, allow_files=True),
            **installed,
        },
    )
    workflow = manifests.workflow(arguments)
    here.make()
    secrets = {}
    try:
        keep_variables(here, name, workflow)
        if workspace.data_secret:
            secrets[workspace.data_secret] = docker_login(here, name, workspace.data_secret)
        lend_downloads(here, workspace.name, here.runs_dir / name)
        if workspace.push_secret:
            secrets[workspace.push_secret] = docker_login(here, name, workspace.push_secret)
        if url_secret:
            secrets[url_secret["metadata"]["name"]] = secret_files(here, name, url_secret)
    except OSError:
        forget_unrecorded(here, name)
        raise
    return Runnable(name=name, documents=[workflow], secrets=secrets)


def _has_other_base(planned: workspaces.Planned, here: Home) -> str:
    """Say that the service to be joined serves another base; empty where it does not."""
    host, model = _host_of(planned), planned.plan.model.title
    service = read_service(here.services_dir, host) if host else None
    if service is None or service.host or not is_alive(service) or service.model == model:
        return ""
    return f"it serves the base {service.model}, and the run's is {model}"


def _check_joining(planned: workspaces.Planned, here: Home) -> None:
    """Refuse a service that is not there to be joined."""
    name, host = planned.workspace.name, _host_of(planned)
    if not host:
        return
    service, own = (read_service(here.services_dir, each) for each in (host, name))
    problems = []
    if service is None or service.host or not is_alive(service):
        problems.append(not_running(here, host))
    if own is not None and not own.host and is_alive(own):
        problems.append(f"{name} has a service of its own; `argotune stop {name}` ends it")
    if problems:
        place = f"metadata.annotations.{PREFIX}serve-with"
        raise InputError([f"{place}: {host!r}: {each}" for each in problems])


def _host_of(planned: workspaces.Planned) -> str:
    options = planned.workspace.options
    is_here = options.get("deploy-to", "process") == "process"
    return options.get("serve-with", "") if is_here else ""


def check_client_keys(workspace: Workspace, here: Home, secrets: Mapping[str, Path]) -> None:
    """Refuse keys that deploy would miss, or could not read, when the model is tuned."""
    name = workspace.options.get("api-keys-secret")
    if not name or workspace.options.get("deploy-to") == NOT_DEPLOYED:
        return
    given = secrets.get(name)
    kept = here.services_dir / workspace.name / KEYS
    file = kept if given is None else given / FILE_NAME if given.is_dir() else given
    if file.name != FILE_NAME or not file.exists():
        raise InputError(
            f"metadata.annotations.{PREFIX}api-keys-secret: {name!r} is not on this machine; give"
            f" --secret {name}=DIRECTORY with the file {FILE_NAME!r}, in which a line NAME: KEY"
            " stands for each client"
        )
    read_keys(file)


def _check_webhook(
    workspace: Workspace, secrets: Mapping[str, Path], *, allow_loopback: bool
) -> None:
    """Refuse a webhook that notify would refuse when the model is tuned, and warn of none."""
    name = workspace.options.get("notify-secret")
    if not name:
        return
    place = f"metadata.annotations.{PREFIX}notify-secret: {name!r}"
    url, form = (_webhook_value(key, secrets.get(name)) for key in ("url", "format"))
    if not url:
        variable = WEBHOOK_VARIABLES["url"]
        workspaces.print_as_warnings(
            [f"{place} is not on this machine, so nobody is told; ${variable} may have the URL"]
        )
        return
    problems = {
        "url": url_problem(url, allowed_hosts=(), allow_loopback=allow_loopback),
        "format": format_problem(form),
    }
    found = [f"{place}: its {key} {problem}" for key, problem in problems.items() if problem]
    if found:
        raise InputError(found)


def _webhook_value(key: str, given: Path | None) -> str:
    """Return a value of the webhook's Secret, as notify gets it here; empty where there is none."""
    if given is None:
        return os.environ.get(WEBHOOK_VARIABLES[key], "").strip()
    file = given / key
    return file.read_text().strip() if file.is_file() else ""


def _scorers(given: Mapping[str, str], runtime: str) -> dict[str, str]:
    """Check what stands for each scorer here: a program, or an image for containers."""
    found, problems = {}, []
    for name, text in given.items():
        program = Path(text).absolute()
        if runtime != "process":
            problem = image_problem(text)
        elif not program.is_file() or not os.access(program, os.X_OK):
            problem = "accepted is a program of this machine; is it there, with chmod +x?"
        else:
            problem, text = unsafe(str(program)) or "", str(program)
        if problem:
            problems.append(f"--scorer {name}={text}: {problem}")
        found[name] = text
    if problems:
        raise InputError(problems)
    return found


def _refuse_files(workspace: Workspace, runtime: str) -> None:
    files = [
        f"{place}: {redact(url)}" for place, url in workspace.all_urls if url.startswith("file:")
    ]
    if files:
        raise InputError(
            f"{', '.join(files)}: files of this machine are not in containers;"
            f" leave --runtime {runtime} out, or put them in $ARGOTUNE_HOME/claims/NAME and name"
            " that in tuning.input.volumeSource"
        )


def check_provider(provider: str | None) -> None:
    """Refuse a provider that makes nodes of a cluster."""
    if provider in MAKING_NODES:
        raise InputError(
            f"metadata.annotations.{PREFIX}provider: {provider!r} makes nodes of a cluster, and"
            " this machine works by itself; leave it out, or use `argotune submit`"
        )
