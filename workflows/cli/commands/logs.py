"""argotune logs: the output of the steps of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home, home
from argotune.workflows.cli.local.runs import LocalRun, find_run
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, login_of
from argotune.workflows.cli.remote import logs as cluster_logs
from argotune.workflows.cli.show.log_lines import is_wanted, label_line
from argotune.workflows.cli.show.rows import step_name
from argotune.workflows.cli.show.workflow_json import nodes_of
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)

_POLL_SECONDS = 0.2


@app.command()
def logs(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a workspace, which means its newest run, or of a run.",
            autocompletion=run_names,
        ),
    ],
    step: Annotated[str | None, typer.Argument(help="Only this step, e.g. tune.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on while the run does.")
    ] = False,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Print the logs of a run's steps, each line with its step."""
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is None:
        options.refuse(
            {"--auth-file": auth_file, "--ca-file": ca_file},
            "is for a run of a cluster, whose registry keeps its logs",
        )
        _print_logs(home(), name, step, follow=follow)
        return
    login = login_of(auth_file, ca_file, cluster)
    cluster_logs.print_logs(cluster, name, step, follow=follow, login=login)


def _print_logs(here: Home, name: str, step: str | None, *, follow: bool) -> None:
    run = find_run(here, name)
    steps = [_step_of(run, path) for path in _log_files(run)]
    if step is not None and not follow and not any(is_wanted(found, step) for found in steps):
        known = ", ".join(steps) or "none yet"
        raise InputError(f"{step!r}: no step of {run.name} with a log; there are {known}")
    offsets: dict[Path, int] = {}
    while True:
        going_on = follow and run.phase in ("Running", "Pending")
        for path in _log_files(run):
            label = _step_of(run, path)
            if is_wanted(label, step):
                for line in _new_lines(path, offsets, whole=not going_on):
                    print(label_line(line, label, step), flush=follow)
        if not going_on:
            return
        time.sleep(_POLL_SECONDS)
        run = find_run(here, run.name)


def _log_files(run: LocalRun) -> list[Path]:
    """List the logs in the order in which their steps appeared; times have whole seconds only."""
    places = {node_id: place for place, node_id in enumerate(nodes_of(run.workflow))}
    paths = (run.directory / "logs").glob("*.log")
    return sorted(paths, key=lambda path: (places.get(path.stem, len(places)), path.name))


def _step_of(run: LocalRun, path: Path) -> str:
    node = nodes_of(run.workflow).get(path.stem)
    return step_name(node) if node else path.stem


def _new_lines(path: Path, offsets: dict[Path, int], *, whole: bool) -> Iterator[str]:
    """Read the lines since the last call; a last line without its end waits unless `whole`."""
    with path.open("rb") as file:
        file.seek(offsets.get(path, 0))
        data = file.read()
    end = len(data) if whole else data.rfind(b"\n") + 1
    offsets[path] = offsets.get(path, 0) + end
    yield from data[:end].decode(errors="replace").splitlines()
