"""argotune run: a workspace, or any Argo Workflow, on this machine."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from steps.common.model_cache import cache_path, is_complete
from workflows.cli import manifests, options, workspaces
from workflows.cli.console import console
from workflows.cli.errors import INTERRUPTED, RUN_FAILED, CliError, InputError
from workflows.cli.home import Home, home
from workflows.cli.runs import find_unfinished
from workflows.cli.status import Output, OutputOption, outputs_of, print_record
from workflows.cli.view import SilentView, View, view_for
from workflows.engine.load import parse_documents
from workflows.engine.process import inherited_environment
from workflows.engine.run import Options
from workflows.engine.run import resume as resume_workflow
from workflows.engine.run import run as run_workflow
from workflows.workspace.translate import to_parameters

app = typer.Typer()

# What the steps need of the user's own settings: where the Hub is, and the login to it.
_PASSED_ON = ("HF_ENDPOINT", "HF_TOKEN")
_PROJECT_DIR = Path(__file__).parent.parent.parent


class Runtime(StrEnum):
    """What runs the containers."""

    PROCESS = "process"
    DOCKER = "docker"
    PODMAN = "podman"


@app.command()
def run(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...",
            help="A Workspace with its ConfigMap, or Argo Workflow and WorkflowTemplates;"
            " with --resume a run's or workspace's name, or nothing.",
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
        Runtime, typer.Option(help="Run containers as processes of this Python, or with docker.")
    ] = Runtime.PROCESS,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A file or directory that stands for a Secret."),
    ] = None,
    output: OutputOption = None,
    allow_loopback: options.AllowLoopback = False,
    name: options.Name = None,
    preset: options.Preset = None,
    method: options.Method = None,
    url: options.Url = None,
    output_image: options.OutputImage = None,
) -> None:
    """Run a workspace, or any Argo Workflow, on this machine, and show its steps.

    What was done is kept: after Ctrl-C or a failure, --resume goes on from there.
    """
    here = home()
    given = {
        "parameters": _pairs(parameter, "--parameter"),
        "entrypoint": entrypoint,
        "runtime": runtime.value,
    }
    secrets = {name: Path(path) for name, path in _pairs(secret, "--secret").items()}
    if resume:
        _finish(_resume(here, files, secrets, runtime, output), output)
        return
    if not files:
        raise InputError("FILE: missing; name a Workspace or Workflow file, or say --resume")
    texts = workspaces.read_texts([Path(file) for file in files])
    if not _holds_workspace(texts):
        documents = _documents(texts)
        run_name = name or _random_name(_name_of(documents))
        _finish(_run(here, documents, run_name, secrets, output, **given), output)
        return
    planned = workspaces.load(
        texts,
        overrides=options.overrides(
            name=name, preset=preset, method=method, url=url, output_image=output_image
        ),
        allow_loopback=allow_loopback,
        must_be_final=True,
        on_this_machine=True,
    )
    _check_weights(planned, here)
    workspaces.print_warnings(planned)
    arguments = {
        "provider": "local",
        "deploy-to": "process",
        "services-dir": str(here.services_dir),
        **to_parameters(planned.workspace, allow_loopback=allow_loopback),
    }
    run_name = _random_name(planned.workspace.name)
    push_secret = planned.workspace.push_secret
    if push_secret:
        secrets.setdefault(push_secret, _docker_login(here, run_name, push_secret))
    document = manifests.workflow(arguments)
    _finish(_run(here, [document], run_name, secrets, output, **given), output)


def _run(
    here: Home,
    documents: list[dict[str, Any]],
    name: str,
    secrets: Mapping[str, Path],
    output: Output | None,
    **given: Any,
) -> dict[str, Any]:
    with _view(output) as view:
        return run_workflow(documents, _options(here, name, secrets, view, **given))


def _resume(
    here: Home,
    names: Sequence[str] | None,
    secrets: Mapping[str, Path],
    runtime: Runtime,
    output: Output | None,
) -> dict[str, Any]:
    found = find_unfinished(here, _resumed_name(names))
    login = found.directory / "secrets"
    known = {path.name: path for path in login.glob("*/")}
    with _view(output) as view:
        return resume_workflow(
            _options(here, found.name, {**known, **secrets}, view, runtime=runtime.value)
        )


def _resumed_name(names: Sequence[str] | None) -> str | None:
    """The name that is meant: a run's, a workspace's, or that in a workspace file."""
    if not names:
        return None
    paths = [Path(name) for name in names if Path(name).is_file()]
    if not paths:
        return names[0]
    return _name_of(_documents(workspaces.read_texts(paths)))


def _options(
    here: Home, name: str, secrets: Mapping[str, Path], view: View, **given: Any
) -> Options:
    passed_on = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    return Options(
        name=name,
        run_dir=here.runs_dir / name,
        claims_dir=here.claims_dir,
        working_dir=_PROJECT_DIR,
        secrets=secrets,
        environ={**inherited_environment(os.environ), **passed_on},
        listener=_ViewListener(view),
        **given,
    )


class _ViewListener:
    """The engine tells; the view shows."""

    def __init__(self, view: View) -> None:
        self._view = view

    def on_workflow(self, workflow: dict[str, Any]) -> None:
        self._view.changed(workflow)

    def on_node(self, node: dict[str, Any]) -> None:
        pass

    def on_line(self, node_id: str, text: str) -> None:
        pass


def _view(output: Output | None) -> View:
    """Steps go to stdout; with --output they would stand in the way, so there are none."""
    return SilentView() if output else view_for(console())


def _finish(workflow: dict[str, Any], output: Output | None) -> None:
    """Print the results, and leave with the exit code that the phase means."""
    status = workflow["status"]
    if output:
        print_record(workflow, output)
    else:
        _print_results(console(), workflow)
    if status["phase"] == "Succeeded":
        return
    raise typer.Exit(INTERRUPTED if _was_interrupted(status) else RUN_FAILED)


def _print_results(screen: Console, workflow: dict[str, Any]) -> None:
    name, status = workflow["metadata"]["name"], workflow["status"]
    screen.print(f"\n{name}: {status['phase']}", style="bold")
    if status.get("message"):
        screen.print(status["message"], markup=False, soft_wrap=True)
    for key, value in outputs_of(workflow).items():
        if value:
            screen.print(f"{key + ':':<12} {value}", markup=False, soft_wrap=True)
    if status["phase"] != "Succeeded":
        screen.print(
            f"logs: argotune logs {name}\ngo on with it: argotune run --resume {name}", markup=False
        )


def _was_interrupted(status: Mapping[str, Any]) -> bool:
    return "interrupt" in status.get("message", "").lower()


def _check_weights(planned: workspaces.Planned, here: Home) -> None:
    model = planned.plan.model
    directory = cache_path(here.models_dir, model.repository, model.revision)
    if model.source == "cache" and not is_complete(directory):
        raise CliError(
            f"the weights of preset {model.preset} are not in {directory}; `make tiny` makes them"
        )


def _docker_login(here: Home, run_name: str, secret: str) -> Path:
    """A directory like the cluster's Secret, whose one file is this user's docker login."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    directory = here.runs_dir / run_name / "secrets" / secret
    directory.mkdir(parents=True, exist_ok=True)
    if own.exists():
        (directory / ".dockerconfigjson").symlink_to(own)
    return directory


def _holds_workspace(texts: Sequence[tuple[str, str]]) -> bool:
    """Whether a line says so; the files are not parsed yet, and may be wrong."""
    lines = (line.split("#")[0].split() for _, text in texts for line in text.splitlines())
    return any(words in (["kind:", "Workspace"], ["kind:", '"Workspace"']) for words in lines)


def _documents(texts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [document for source, text in texts for document in parse_documents(text, source)]


def _name_of(documents: Sequence[Mapping[str, Any]]) -> str:
    """The name of the workspace or workflow among the documents."""
    for document in documents:
        if document["kind"] in ("Workspace", "Workflow", "WorkflowTemplate", "CronWorkflow"):
            metadata = document.get("metadata") or {}
            name = metadata.get("name") or metadata.get("generateName") or "workflow"
            return str(name).rstrip("-")
    return "workflow"


def _random_name(prefix: str) -> str:
    """Argo's way to make a name of a generateName."""
    alphabet = string.ascii_lowercase + string.digits
    return f"{prefix}-{''.join(random.choices(alphabet, k=5))}"


def _pairs(given: Sequence[str] | None, flag: str) -> dict[str, str]:
    wrong = [text for text in given or [] if "=" not in text]
    if wrong:
        raise InputError([f"{flag} {text!r}: accepted is NAME=VALUE" for text in wrong])
    return {text.partition("=")[0]: text.partition("=")[2] for text in given or []}
