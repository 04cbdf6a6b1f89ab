"""argotune status: the workspaces of this machine, or one run whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from steps.common.services import is_alive, list_services
from workflows.cli.console import console
from workflows.cli.home import Home, home
from workflows.cli.rows import age, seconds_between, step_rows, utc_now
from workflows.cli.runs import LocalRun, find_run, local_runs
from workflows.cli.view import steps_table

app = typer.Typer(add_completion=False)


class Output(StrEnum):
    """How a record is printed."""

    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    Output | None, typer.Option("--output", "-o", help="Print the whole Workflow object.")
]


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of a workspace or a run.")] = None,
    output: OutputOption = None,
) -> None:
    """Show the workspaces of this machine, or the steps of one run."""
    here = home()
    if name is None:
        _print_all(here, output)
        return
    run = find_run(here, name)
    if output:
        print_record(run.workflow, output)
        return
    _print_run(here, run)


def print_record(record: object, output: Output) -> None:
    """Print the record as JSON or YAML, for programs."""
    if output is Output.JSON:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print(yaml.safe_dump(record, sort_keys=False, allow_unicode=True), end="")


def outputs_of(workflow: Mapping[str, Any]) -> dict[str, str]:
    """The run's results: the outputs of its entrypoint's node."""
    nodes = workflow.get("status", {}).get("nodes", {})
    node = nodes.get(workflow["metadata"]["name"], {})
    parameters = node.get("outputs", {}).get("parameters", [])
    return {item["name"]: str(item.get("value", "")) for item in parameters}


def _print_all(here: Home, output: Output | None) -> None:
    newest: dict[str, LocalRun] = {}
    for run in local_runs(here):
        newest.setdefault(run.workspace, run)
    if output:
        print_record([run.workflow for run in newest.values()], output)
        return
    if not newest:
        print("no runs on this machine; `argotune run workspace.yaml` starts one")
        return
    console().print(_workspaces_table(here, list(newest.values())))


def _workspaces_table(here: Home, runs: list[LocalRun]) -> Table:
    """The columns of Kaito's `kubectl get workspace`."""
    alive = {service.name for service in list_services(here.services_dir) if is_alive(service)}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE"):
        table.add_column(column, no_wrap=True)
    for run in runs:
        inference = run.workspace in alive
        seconds = seconds_between(run.workflow["metadata"]["creationTimestamp"], None, utc_now())
        table.add_row(
            run.workspace,
            _output(run, "provision", "accelerator"),
            str(_succeeded(run, "provision")),
            str(inference),
            str(run.phase == "Succeeded" and inference),
            age(seconds or 0),
        )
    return table


def _print_run(here: Home, run: LocalRun) -> None:
    screen = console()
    screen.print(f"{run.name}: {run.phase}")
    screen.print(steps_table(step_rows(run.workflow, utc_now())))
    for name, value in outputs_of(run.workflow).items():
        screen.print(f"{name}: {value}", markup=False, soft_wrap=True)
    if run.resumable:
        screen.print(f"go on with it: argotune run --resume {run.name}")
    for service in list_services(here.services_dir):
        if service.name == run.workspace and is_alive(service):
            screen.print(f"service: {service.endpoint}")


def _node(run: LocalRun, step: str) -> Mapping[str, Any]:
    nodes: Mapping[str, Mapping[str, Any]] = run.status.get("nodes", {})
    found = [node for node in nodes.values() if node.get("displayName") == step]
    return found[0] if found else {}


def _succeeded(run: LocalRun, step: str) -> bool:
    return _node(run, step).get("phase") == "Succeeded"


def _output(run: LocalRun, step: str, name: str) -> str:
    parameters = _node(run, step).get("outputs", {}).get("parameters", [])
    return next((str(item.get("value", "")) for item in parameters if item["name"] == name), "")
