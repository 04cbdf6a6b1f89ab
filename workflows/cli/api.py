"""The commands as functions, for notebooks and scripts; `import argotune` offers them.

A workspace is given as a file's path, as YAML's dictionary, or as a list of these where its
ConfigMap stands apart. What is wrong is raised as the command line's errors, whose `problems` are
the lines that it would print: InputError, RunFailed, and Error for what cannot be done here or now.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from argotune.steps.common import strict_yaml
from argotune.steps.contracts.data_report import DataReport
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.workflows.cli.errors import CliError, RunFailed, as_cli_error
from argotune.workflows.cli.home import home
from argotune.workflows.cli.overrides import OVERRIDES, read_overrides
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.workspace.documents import Texts

Manifest = Mapping[str, Any] | str | os.PathLike[str]
_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do."""

    name: str
    """Name of the workspace."""
    training: TrainingPlan
    """The plan that the steps read: hyperparameters, memory, machine."""
    memory_gb: float
    """Estimated peak of one GPU, decimal GB."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was found in the data of a workspace."""

    report: DataReport
    """Rows, tokens, steps, duplicates, secrets, and some rows with what is learned of them."""
    page: str
    """The same as an HTML page."""
    problem: str
    """Why a run with these data would fail; empty: it would not."""

    def _repr_html_(self) -> str:
        """The page, where a notebook shows the value; in a frame, since it has its own style."""
        return f'<iframe srcdoc="{escape(self.page)}" width="100%" height="700"></iframe>'


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of this machine that has succeeded."""

    name: str
    workspace: str
    outputs: Mapping[str, str]
    """Results by name, such as tuned-loss, reference and endpoint."""
    directory: Path
    """Record, logs, checkpoints and reports."""


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A run that was created on a cluster."""

    name: str
    namespace: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said."""

    text: str
    model: str
    """The workspace's name, or the base model's."""
    finish_reason: str | None = None
    """`stop`, or `length` when the answer was cut; None: the server does not say."""

    def __str__(self) -> str:
        return self.text


def _with_cli_errors(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Raise the command line's errors in place of those of its parts."""

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            known = as_cli_error(error)
            if known is None:
                raise
            raise _in_python(known) from error

    return wrapped


def _in_python(error: CliError) -> CliError:
    """Name a flag in the error's advice as the argument that it is here."""
    return type(error)(
        [text.replace("--allow-loopback", "allow_loopback=True") for text in error.problems]
    )


@_with_cli_errors
def plan(
    workspace: Manifest | Sequence[Manifest],
    *,
    settings: Mapping[str, str] | None = None,
    substitute: bool = False,
    dataset_tokens: int | None = None,
    **flags: str | list[str],
) -> Plan:
    """Plan a workspace; nothing is fetched and no cluster is asked.

    Args:
        workspace: The file, or its content.
        settings: As `--set` of the command line, by name.
        substitute: Take the nearest SKU that fits where the file's cannot be used.
        dataset_tokens: Tokens of one epoch, against which a limit of the cost is held.
        **flags: In place of the file's fields: name, preset, method, url, output_image,
            instance_type.

    Returns:
        The plan, with the warnings of the file.

    Raises:
        InputError: With every problem of the file and of the plan.
    """
    from argotune.workflows.workspace import planned as workspaces

    planned = workspaces.load(
        _texts(workspace),
        overrides=_overrides(settings, flags),
        allow_loopback=True,
        substitute=substitute,
        dataset_tokens=dataset_tokens,
    )
    return Plan(
        name=planned.workspace.name,
        training=planned.plan,
        memory_gb=planned.plan.memory.total_gb,
        warnings=(
            *planned.workspace.warnings,
            *planned.workspace.host_warnings,
            *planned.plan.warnings,
        ),
    )


@_with_cli_errors
def data(
    workspace: Manifest | Sequence[Manifest],
    *,
    rows: int = 5,
    settings: Mapping[str, str] | None = None,
    substitute: bool = False,
    show: bool = True,
    **flags: str | list[str],
) -> Data:
    """Read, check and count the data of a workspace on this machine; nothing is tuned.

    Args:
        workspace: The file, or its content.
        rows: Number of rows that are shown with what is learned of them.
        settings: As `--set`, by name.
        substitute: Take the nearest SKU that fits where the file's cannot be used.
        show: Print the steps while they run.
        **flags: In place of the file's fields, as of `plan`.

    Returns:
        What was found, also in data with which a run would fail.

    Raises:
        InputError: For what is wrong with the file.
        CliError: For what this machine lacks.
        RunFailed: When the data could not be read.
    """
    from argotune.workflows.cli.console import console
    from argotune.workflows.cli.local.look import look_at_data
    from argotune.workflows.cli.show.view import SilentView, view_for
    from argotune.workflows.workspace import planned as workspaces

    planned = workspaces.load(
        _texts(workspace),
        overrides=_overrides(settings, flags),
        allow_loopback=True,
        substitute=substitute,
    )
    view = view_for(console()) if show else SilentView()
    look = look_at_data(home(), planned, view, rows=rows)
    return Data(report=look.report, page=look.page.decode(), problem=look.problem)


@_with_cli_errors
def run(
    workspace: Manifest | Sequence[Manifest],
    *,
    settings: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    allow_loopback: bool = False,
    yes: bool = False,
    show: bool = True,
    **flags: str | list[str],
) -> Run:
    """Run a workspace, or any Argo Workflow, on this machine until its end.

    Args:
        workspace: The file, or its content.
        settings: As `--set`, by name; for a Workspace.
        parameters: Of an Argo Workflow.
        allow_loopback: Permit dataset URLs of this machine, and file URLs.
        yes: Run a Workflow of another origin as processes without being asked.
        show: Print the steps while they run.
        **flags: In place of the file's fields: name, preset, method, url, output_image.

    Returns:
        The run, which has succeeded.

    Raises:
        InputError: For what is wrong with the input.
        CliError: For what this machine lacks.
        RunFailed: When the run failed; it names the run, for `argotune logs`.
    """
    from argotune.workflows.cli.commands.run import Start, execute
    from argotune.workflows.cli.show.workflow_json import (
        name_of,
        outputs_of,
        phase_of,
        workspace_of,
    )

    workflow = execute(
        Start(
            texts=_texts(workspace),
            overrides=_overrides(settings, flags),
            parameters=dict(parameters or {}),
            allow_loopback=allow_loopback,
            yes=yes,
        ),
        show=show,
    )
    name = name_of(workflow)
    if phase_of(workflow) != "Succeeded":
        message = workflow["status"].get("message") or phase_of(workflow)
        raise RunFailed(f"run {name}: {message}; see argotune logs {name}")
    return Run(
        name=name,
        workspace=workspace_of(workflow),
        outputs=outputs_of(workflow),
        directory=home().runs_dir / name,
    )


@_with_cli_errors
def submit(
    workspace: Manifest | Sequence[Manifest],
    *,
    namespace: str | None = None,
    context: str | None = None,
    settings: Mapping[str, str] | None = None,
    substitute: bool = False,
    **flags: str | list[str],
) -> Submitted:
    """Check and plan a workspace here, then create its Workflow on the cluster.

    Args:
        workspace: The file, or its content.
        namespace: Default: the file's, else the kubeconfig's current one.
        context: Context of the kubeconfig.
        settings: As `--set`, by name.
        substitute: Take the nearest SKU that fits where the file's cannot be used.
        **flags: In place of the file's fields, as of `plan`.

    Returns:
        The name of the run, which goes on by itself.

    Raises:
        InputError: For what is wrong with the input.
        CliError: For what the cluster refuses.
    """
    from argotune.workflows.cli.commands.submit import create
    from argotune.workflows.cli.where import connect

    cluster, name = create(
        _texts(workspace),
        connect(namespace, context),
        overrides=_overrides(settings, flags),
        substitute=substitute,
    )
    return Submitted(name=name, namespace=cluster.namespace)


@_with_cli_errors
def chat(
    name: str,
    prompt: str,
    *,
    base: bool = False,
    max_new_tokens: int | None = None,
    namespace: str | None = None,
    context: str | None = None,
) -> Answer:
    """Ask the model that a run deployed.

    Args:
        name: Of the workspace.
        prompt: The question.
        base: Ask the base model instead of the tuned one.
        max_new_tokens: Longest answer, tokens.
        namespace: Of a cluster; without it and context, the service of this machine.
        context: Context of the kubeconfig.

    Returns:
        The answer.

    Raises:
        InputError: When there is no such service.
        CliError: With the server's own message.
    """
    from argotune.workflows.cli.chat_client import ask_with_ending
    from argotune.workflows.cli.commands.chat import base_model, service_of
    from argotune.workflows.cli.where import chosen_cluster

    served = service_of(chosen_cluster(namespace, context, False), name)
    model = base_model(served) if base else name
    longest = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    text, finish_reason = ask_with_ending(served, prompt, model=model, **longest)
    return Answer(text=text, model=model, finish_reason=finish_reason)


def _texts(workspace: Manifest | Sequence[Manifest]) -> Texts:
    if isinstance(workspace, (str, os.PathLike, Mapping)):
        workspace = [workspace]
    texts: list[tuple[str, str]] = []
    for part in workspace:
        if isinstance(part, Mapping):
            texts.append(("(dictionary)", strict_yaml.dump(dict(part))))
        else:
            texts += read_texts([Path(part)])
    return texts


def _overrides(
    settings: Mapping[str, str] | None, flags: Mapping[str, str | list[str]]
) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    unknown = sorted(named.keys() - OVERRIDES.keys())
    if unknown:
        raise TypeError(f"{', '.join(unknown)}: no such argument; known are {', '.join(OVERRIDES)}")
    pairs = [f"{name}={text}" for name, text in (settings or {}).items()]
    return read_overrides(named, pairs)
