"""A look at a workspace's data on this machine: the steps plan and dataset of its run, alone.

The look of a workspace is kept in $ARGOTUNE_HOME/data/NAME. The next look and the next run take the
downloads from there, where the server says that it still has the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.common.fs import remove_directory
from argotune.steps.contracts.data_report import NAME, PAGE, DataReport, parse_report
from argotune.workflows.cli.errors import CliError, RunFailed
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.downloads import WORK, kept_downloads
from argotune.workflows.cli.local.machine import missing_packages, pip_install
from argotune.workflows.cli.local.runnable import engine_options
from argotune.workflows.cli.local.secrets import docker_login, keep_variables, secret_files
from argotune.workflows.cli.show.rows import last_line
from argotune.workflows.cli.show.view import View
from argotune.workflows.cli.show.workflow_json import phase_of
from argotune.workflows.engine.record import no_engine
from argotune.workflows.engine.run import run
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.planned import Planned
from argotune.workflows.workspace.workflow import split_urls, to_parameters

_STEPS = ("plan", "dataset")
_EXTRA = "data"
"""The extra of this package with what these steps need."""
_OF_LATER_STEPS = ("--settings=", "--installed=")
"""Flags of plan with what the installation and later steps say, which the file's reader checked."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look found."""

    report: DataReport
    page: bytes
    """The report as a page, HTML."""
    problem: str
    """Why a run with these data would fail; empty: it would not."""


def look_at_data(here: Home, planned: Planned, view: View, *, rows: int) -> Look:
    """Read, check, count and split the data of a planned workspace.

    Args:
        here: Where the look is kept.
        planned: The workspace, on whose SKU the number of steps depends.
        view: Shows the steps.
        rows: Number of rows whose texts are in the report.

    Raises:
        CliError: For packages that are missing, or while another look at it goes on.
        RunFailed: With the step's message, where it failed before it had read the data.
    """
    _check_packages()
    looks, workspace = here.of_looks, planned.workspace
    directory = looks.runs_dir / workspace.name
    looks.make()
    _forget_last(directory, workspace.name)
    arguments, url_secret = split_urls(
        workspace,
        {
            **to_parameters(workspace, allow_loopback=True, allow_files=True),
            # Nothing is pushed, so its registry is not looked up.
            "output-image": f"oci:{workspace.name}",
        },
    )
    workflow = _only_the_look(manifests.workflow(arguments), rows)
    keep_variables(looks, workspace.name, workflow)
    secrets: dict[str, Path] = {}
    if workspace.data_secret:
        secrets[workspace.data_secret] = docker_login(looks, workspace.name, workspace.data_secret)
    if url_secret:
        name = url_secret["metadata"]["name"]
        secrets[name] = secret_files(looks, workspace.name, url_secret)
    with view:
        done = run([workflow], engine_options(looks, workspace.name, secrets, view))
    problem = "" if phase_of(done) == "Succeeded" else _reason(done)
    dataset = directory / WORK / "dataset"
    if problem and not (dataset / PAGE).exists():
        raise RunFailed(problem)
    return Look(
        report=parse_report((dataset / NAME).read_bytes()),
        page=(dataset / PAGE).read_bytes(),
        problem=problem,
    )


def _forget_last(directory: Path, workspace: str) -> None:
    """Delete what the last look left, but its downloads."""
    with no_engine(directory) as is_free:
        if not is_free:
            raise CliError(f"another look at the data of {workspace} goes on in {directory}")
    with kept_downloads(directory):
        remove_directory(directory)


def _only_the_look(workflow: Document, rows: int) -> Document:
    """Leave of a run's Workflow the steps that look at the data."""
    spec = workflow["spec"]
    spec.pop("onExit", None)
    for template in spec["templates"]:
        if template["name"] == spec["entrypoint"]:
            template.pop("outputs", None)
            tasks = template["dag"]["tasks"]
            template["dag"]["tasks"] = [task for task in tasks if task["name"] in _STEPS]
    spec["templates"] = [
        template
        for template in spec["templates"]
        if template["name"] in (*_STEPS, spec["entrypoint"])
    ]
    for template in spec["templates"]:
        # A person waits, who can look again; downloads are tried several times by their step.
        if "retryStrategy" in template:
            template["retryStrategy"]["limit"] = "0"
    arguments = {
        each["name"]: each["container"]["args"] for each in spec["templates"] if "container" in each
    }
    arguments["plan"][:] = [
        text for text in arguments["plan"] if not text.startswith(_OF_LATER_STEPS)
    ]
    arguments["dataset"].append(f"--samples={rows}")
    return workflow


def _reason(workflow: Mapping[str, Any]) -> str:
    nodes = workflow["status"].get("nodes", {}).values()
    failed = [
        each for each in nodes if each["phase"] in ("Failed", "Error") and each["type"] == "Pod"
    ]
    message = failed[-1].get("message") if failed else workflow["status"].get("message")
    return last_line(message or phase_of(workflow)).removeprefix("error: ")


def _check_packages() -> None:
    missing = missing_packages(_EXTRA)
    if missing:
        raise CliError(
            f"a look at the data needs Python packages that are not here: {', '.join(missing)};"
            f" install them: {pip_install(missing)}"
        )
