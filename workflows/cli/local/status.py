"""The output of `argotune status` for this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import typer

from argotune.steps.contracts.services import is_alive, list_services
from argotune.workflows.cli.console import console
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.listener import suspended_advice
from argotune.workflows.cli.local.runs import (
    LocalRun,
    find_run,
    local_runs,
    newest_of_workspaces,
    processes,
)
from argotune.workflows.cli.show.results import Output, exit_code_of, print_record, print_results
from argotune.workflows.cli.show.rows import step_rows, utc_now
from argotune.workflows.cli.show.view import steps_table, view_for
from argotune.workflows.cli.show.workflow_json import (
    node_of_step,
    only_pushes,
    outputs_of,
    shown_phase,
    step_input,
    step_output,
)
from argotune.workflows.cli.show.workspace_table import WorkspaceRow, watch_table, workspaces_table

_POLL_SECONDS = 0.5


def print_workspaces(here: Home, output: Output | None, *, watch: bool) -> None:
    """Print one row for each workspace of this machine."""
    newest = _newest(here)
    if output:
        print_record([run.workflow for run in newest], output)
    elif watch:
        watch_table(console(), lambda: _rows(here, _newest(here)))
    elif newest or _stopped(here):
        if newest:
            console().print(workspaces_table(_rows(here, newest)))
        for name in _stopped(here):
            console().print(
                f"service {name}: stopped; `argotune start {name}` starts it again, `argotune rm"
                f" --service {name}` deletes it",
                markup=False,
                soft_wrap=True,
            )
    elif local_runs(here):
        print("no workspace was run on this machine; `argotune runs` lists runs of other workflows")
    else:
        print("no runs on this machine; `argotune run workspace.yaml` starts one")


def _stopped(here: Home) -> list[str]:
    """List the services that could be started: their records and adapters are here."""
    return [service.name for service in list_services(here.services_dir) if not is_alive(service)]


def print_run(here: Home, name: str, output: Output | None) -> None:
    """Print the steps and results of one run."""
    run = find_run(here, name)
    if output:
        print_record(run.workflow, output)
        return
    screen = console()
    screen.print(f"{run.name}: {run.phase}")
    for step, groups in run.orphans.items():
        screen.print(
            f"{step} goes on without its engine as {processes(groups)}; `argotune stop {run.name}` "
            "ends it",
            markup=False,
            soft_wrap=True,
        )
    screen.print(steps_table(step_rows(run.workflow, utc_now())))
    for key, value in outputs_of(run.workflow).items():
        if value:
            screen.print(f"{key}: {value}", soft_wrap=True)
    if run.is_suspended:
        screen.print(suspended_advice(run.workflow), soft_wrap=True)
    if run.is_resumable:
        screen.print(f"go on with it: argotune run --resume {run.name}")
    for line in _service_lines(here, run):
        screen.print(line, soft_wrap=True)


def _service_lines(here: Home, run: LocalRun) -> Iterator[str]:
    """Say where the run's service answers now, which may have been stopped or killed."""
    for service in list_services(here.services_dir):
        if service.name == run.workspace and is_alive(service):
            yield f"service: {service.endpoint}"
            return
    endpoint = step_output(run.workflow, "deploy", "endpoint")
    if endpoint and step_input(run.workflow, "deploy", "target") == "process":
        yield f"nothing answers at {endpoint}; `argotune start {run.workspace}` starts it again"


def watch_run(here: Home, name: str) -> None:
    """Show a run of another process until it has ended, and exit as `argotune run` does."""
    screen = console()
    run = find_run(here, name)
    with view_for(screen) as view:
        for state in _states(here, run):
            run = state
            view.update(run.workflow)
    advice = [f"logs: argotune logs {run.name}", f"go on with it: argotune run --resume {run.name}"]
    print_results(screen, run.workflow, advice)
    raise typer.Exit(exit_code_of(run.workflow))


def _states(here: Home, run: LocalRun) -> Iterator[LocalRun]:
    yield run
    while run.phase in ("Running", "Pending"):
        time.sleep(_POLL_SECONDS)
        run = find_run(here, run.name)
        yield run


def _newest(here: Home) -> list[LocalRun]:
    ours = [run for run in local_runs(here) if run.is_of_workspace]
    return list(newest_of_workspaces(ours).values())


def _rows(here: Home, runs: Iterable[LocalRun]) -> list[WorkspaceRow]:
    alive = {service.name for service in list_services(here.services_dir) if is_alive(service)}
    return [_row(run, run.workspace in alive) for run in runs]


def _row(run: LocalRun, inference_ready: bool) -> WorkspaceRow:
    return WorkspaceRow(
        name=run.workspace,
        instance=step_output(run.outline, "provision", "accelerator"),
        resource_ready=node_of_step(run.outline, "provision").get("phase") == "Succeeded",
        inference_ready=inference_ready,
        workspace_ready=run.phase == "Succeeded" and (inference_ready or only_pushes(run.outline)),
        created=run.created,
        phase=shown_phase(run.outline),
    )
