"""argotune run: a workspace, or any Argo Workflow, on this machine."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, InputError, os_message
from argotune.workflows.cli.home import Home, home
from argotune.workflows.cli.local import runnable
from argotune.workflows.cli.local.agreement import agree
from argotune.workflows.cli.local.runs import (
    find_run,
    find_unfinished,
    local_runs,
    refuse_ambiguous_names,
)
from argotune.workflows.cli.local.secrets import forget_unrecorded
from argotune.workflows.cli.overrides import OF_CLUSTERS, flags_of, with_overrides
from argotune.workflows.cli.show.approval import approval_advice
from argotune.workflows.cli.show.results import (
    Output,
    OutputOption,
    exit_code_of,
    print_record,
    print_results,
)
from argotune.workflows.cli.show.view import SilentView, View, view_for
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.record import has_record, request_resume
from argotune.workflows.engine.run import check as check_workflow
from argotune.workflows.engine.run import resume as resume_workflow
from argotune.workflows.engine.run import run as run_workflow
from argotune.workflows.workspace.documents import Texts

app = typer.Typer(add_completion=False)


class Runtime(StrEnum):
    """The way to run containers."""

    PROCESS = "process"
    DOCKER = "docker"
    PODMAN = "podman"


@app.command()
@with_overrides(but=OF_CLUSTERS)
def run(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...",
            help="A Workspace with its ConfigMap, or Argo Workflow and WorkflowTemplates;"
            " with --resume a workspace's name, which means its newest run, a run's, or nothing.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the first step that did not finish.")
    ] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A workflow parameter."),
    ] = None,
    entrypoint: Annotated[
        str | None, typer.Option(help="The template of a Workflow to begin with.")
    ] = None,
    runtime: Annotated[
        Runtime | None,
        typer.Option(
            help="Run containers as processes of this Python, or with docker. Default: process,"
            " and with --resume what the run was started with."
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A file or directory that stands for a Secret."),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PROGRAM",
            help="The program of a check of kind scorer; with --runtime docker its image.",
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Run a Workflow of another origin as processes without being asked."
        ),
    ] = False,
    output: OutputOption = None,
    allow_loopback: options.AllowLoopback = False,
    *,
    overrides: Mapping[str, str],
) -> None:
    """Run a workspace, or any Argo Workflow, on this machine, and show its steps.

    What was done is kept: after Ctrl-C or a failure, --resume goes on from there.
    """
    here = home()
    secrets = _secrets(secret)
    parameters = _pairs(parameter, "--parameter")
    scorers = _pairs(scorer, "--scorer")
    if resume:
        of_start = {
            **flags_of(overrides),
            "--parameter": parameters,
            "--entrypoint": entrypoint,
            "--allow-loopback": allow_loopback,
            "--scorer": scorers,
        }
        image = of_start.pop("--output-image", None)
        options.refuse(
            {"--output-image": image},
            "a resumed run keeps its own; make that directory writable (mount, chmod), then"
            " --resume without this flag",
        )
        options.refuse(of_start, "a resumed run keeps what it was started with; leave it out")
        _resume(here, files or [], secrets, runtime, output)
        return
    if not files:
        raise InputError("FILE: missing; name a Workspace or Workflow file, or say --resume")
    start = Start(
        texts=read_texts([Path(file) for file in files]),
        overrides=overrides,
        parameters=parameters,
        entrypoint=entrypoint,
        secrets=secrets,
        scorers=scorers,
        runtime=runtime,
        allow_loopback=allow_loopback,
        yes=yes,
    )
    _finish(execute(start, show=output is None), output)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a new run is started with."""

    texts: Texts
    overrides: Mapping[str, str]
    """In place of a Workspace's fields; `name` is a Workflow's too."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """A Workflow's."""
    entrypoint: str | None = None
    secrets: Mapping[str, Path] = field(default_factory=dict)
    scorers: Mapping[str, str] = field(default_factory=dict)
    """A Workspace's: programs or, for containers, images by the names of scorers."""
    runtime: Runtime | None = None
    allow_loopback: bool = False
    yes: bool = False
    """Whether the user agrees to run a Workflow of another origin as processes."""


def execute(start: Start, *, show: bool) -> dict[str, Any]:
    """Run a workspace or Workflow until its end, and return the Workflow with its status.

    Raises InputError, WorkspaceError and EngineError for wrong input, and CliError for what this
    machine lacks, before anything starts. A run that fails is a result.
    """
    here = home()
    made = _runnable(here, start)
    view = view_for(console()) if show else SilentView()
    try:
        given = runnable.engine_options(
            here,
            made.name,
            {**made.secrets, **start.secrets},
            view,
            parameters=start.parameters,
            entrypoint=start.entrypoint,
            runtime=start.runtime.value if start.runtime else None,
        )
        if made.is_of_others and start.runtime in (None, Runtime.PROCESS):
            # Nobody is asked about what is refused anyway.
            check_workflow(made.documents, given)
            agree(here, start.texts, yes=start.yes)
        with view:
            return run_workflow(made.documents, given)
    except (EngineError, OSError) as error:
        forget_unrecorded(here, made.name)
        if has_record(here.runs_dir / made.name):
            _raise_with_advice(error, made.name)
        raise


def _runnable(here: Home, start: Start) -> runnable.Runnable:
    texts, name = start.texts, start.overrides.get("name")
    of_workflow = {"--parameter": start.parameters, "--entrypoint": start.entrypoint}
    if runnable.holds_workspace(texts):
        options.refuse(of_workflow, "for an Argo Workflow; a Workspace's settings are --set")
        # Planning takes a tenth of a second to import, and no other run needs it.
        from argotune.workflows.cli.local.service import from_service
        from argotune.workflows.cli.local.workspace import from_workspace
        from argotune.workflows.workspace.read import is_about_inference

        name = name or runnable.name_in(texts)
        refuse_ambiguous_names(here, None, name)
        _warn_of_running(here, name)
        if is_about_inference(texts):
            of_training = {"--allow-loopback": start.allow_loopback, "--scorer": start.scorers}
            options.refuse(of_training, "for a training; a service without one has no data")
            return from_service(
                texts,
                here,
                overrides=start.overrides,
                runtime=start.runtime or Runtime.PROCESS,
                secrets=start.secrets,
            )
        return from_workspace(
            texts,
            here,
            overrides=start.overrides,
            allow_loopback=start.allow_loopback,
            runtime=start.runtime or Runtime.PROCESS,
            secrets=start.secrets,
            scorers=start.scorers,
        )
    of_workspace = {
        **flags_of(start.overrides),
        "--allow-loopback": start.allow_loopback,
        "--scorer": start.scorers,
    }
    of_workspace.pop("--name", None)
    options.refuse(of_workspace, "for a Workspace, and the files hold none")
    made = runnable.from_documents(texts, name)
    refuse_ambiguous_names(here, name, runnable.name_in(texts))
    return made


def _warn_of_running(here: Home, workspace: str) -> None:
    names = [run.name for run in local_runs(here) if run.workspace == workspace and run.goes_on]
    if names:
        print(
            f"warning: {', '.join(names)} of the same workspace goes on; each replaces the service"
            f" {workspace} when it deploys; give one another --name, or stop the other:"
            f" argotune stop {names[0]}",
            file=sys.stderr,
        )


def _resume(
    here: Home,
    names: Sequence[str],
    secrets: Mapping[str, Path],
    runtime: Runtime | None,
    output: Output | None,
) -> None:
    name = _resumed_name(names)
    if name is not None and (running := find_run(here, name)).is_suspended:
        if waits := approval_advice(running.workflow):
            raise InputError(f"run {running.name} {waits}")
        request_resume(running.directory)
        print(f"run {running.name}: asked to go on")
        return
    found = find_unfinished(here, name)
    newest = find_run(here, found.workspace)
    if newest.name != found.name:
        print(
            f"warning: {newest.name} of the same workspace is newer ({newest.phase}); what"
            f" {found.name} deploys replaces what that one deployed",
            file=sys.stderr,
        )
    kept = {path.name: path for path in here.secret_dir(found.name, "").glob("*/")}
    try:
        with _view(output) as view:
            workflow = resume_workflow(
                runnable.engine_options(
                    here,
                    found.name,
                    {**kept, **secrets},
                    view,
                    runtime=runtime.value if runtime else None,
                )
            )
    except OSError as error:
        _raise_with_advice(error, found.name)
        raise
    _finish(workflow, output)


def _raise_with_advice(error: Exception, name: str) -> None:
    """Raise CliError for a run that the system has ended, such as by a full disk."""
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        raise CliError(stopped_by(error, name)) from error


def stopped_by(error: OSError, name: str) -> str:
    """Say what has ended a run, and how it goes on."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    first = "free some space first, then " if is_full else ""
    return (
        f"run {name} has stopped: {os_message(error)}; {first}go on with it:"
        f" argotune run --resume {name}"
    )


def _resumed_name(names: Sequence[str]) -> str | None:
    """Return the name that is meant: a run's, a workspace's, or that in a workspace file."""
    paths = [Path(name) for name in names if Path(name).is_file()]
    if paths and len(paths) == len(names):
        return runnable.name_in(read_texts(paths))
    if len(names) > 1:
        raise InputError(f"--resume {' '.join(names)}: accepted is one name, or files")
    return names[0] if names else None


def _view(output: Output | None) -> View:
    """Show the steps on stdout, except with --output, whose record must stand alone there."""
    return SilentView() if output else view_for(console())


def _finish(workflow: dict[str, Any], output: Output | None) -> None:
    """Print the results, and exit with the code that the phase means."""
    with contextlib.suppress(BrokenPipeError):
        if output:
            print_record(workflow, output)
        else:
            print_results(console(), workflow, _advice(workflow["metadata"]["name"]))
    raise typer.Exit(exit_code_of(workflow))


def _advice(name: str) -> list[str]:
    return [f"logs: argotune logs {name}", f"go on with it: argotune run --resume {name}"]


def _secrets(given: Sequence[str] | None) -> dict[str, Path]:
    secrets = {name: Path(path) for name, path in _pairs(given, "--secret").items()}
    missing = [f"{name}={path}" for name, path in secrets.items() if not path.exists()]
    if missing:
        raise InputError([f"--secret {text}: no such file or directory" for text in missing])
    return secrets


def _pairs(given: Sequence[str] | None, flag: str) -> dict[str, str]:
    pairs = {text: text.partition("=") for text in given or []}
    wrong = [text for text, (name, equals, _) in pairs.items() if not name or not equals]
    if wrong:
        raise InputError([f"{flag} {text!r}: accepted is NAME=VALUE" for text in wrong])
    return {name: value for name, _, value in pairs.values()}
