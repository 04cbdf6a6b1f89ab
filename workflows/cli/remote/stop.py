"""Stopping runs and services of a cluster's namespace."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.reasons import is_untaken, obstacles
from argotune.workflows.cli.remote.runs import cluster_runs, newest_by_workspace, whole_run
from argotune.workflows.cli.remote.service_removal import remove_service
from argotune.workflows.cli.remote.states import states
from argotune.workflows.cli.remote.watching import shut_down
from argotune.workflows.cli.show.results import phase_and_reason
from argotune.workflows.cli.show.rows import is_exit_handler, step_rows, utc_now
from argotune.workflows.cli.show.workflow_json import (
    Workflow,
    has_ended,
    name_of,
    nodes_of,
    outputs_of_node,
    workspace_of,
)

_RELEASED_OUTPUT = "released"


def stop(
    cluster: Cluster,
    names: Sequence[str],
    *,
    everything: bool,
    terminate: bool,
    service: bool,
    timeout_seconds: float,
) -> None:
    """Stop the runs of these names, or all, and wait for their ends.

    With `service`, delete the workspaces' services too.
    """
    every = cluster_runs(cluster)
    running = [run for run in every if not has_ended(run)]
    if everything:
        names = sorted({workspace_of(run) for run in running})
        if not names:
            print(f"nothing is running in namespace {cluster.namespace}")
        meant = {name: [run for run in running if workspace_of(run) == name] for name in names}
    else:
        meant = {name: _meant(cluster, every, name) for name in names}
    found = {name: [run for run in meant[name] if not has_ended(run)] for name in names}
    runs = [run for those in found.values() for run in those]
    for run in runs:
        _ask(cluster, run, terminate=terminate)
    deadline = time.monotonic() + timeout_seconds
    problems = [problem for run in runs for problem in _wait(cluster, name_of(run), deadline)]
    missing = [name for name in names if not found[name]]
    if service:
        with_service = {
            name
            for name in names
            # The name may be a run's: then the workspace is the run's.
            if remove_service(cluster, workspace_of(meant[name][0]) if meant[name] else name)
        }
        missing = [name for name in missing if name not in with_service]
    left = {name: _left(running, runs, name) for name in names}
    for name in names:
        if left[name] and name not in missing:
            print(left[name])
    if problems:
        raise CliError(problems)
    if missing:
        what = "and no service of it is there" if service else "--service removes a service"
        raise InputError(
            [
                f"{name!r}: no run of this name is running in namespace {cluster.namespace}; "
                + (left[name] or what)
                for name in missing
            ]
        )


def _meant(cluster: Cluster, every: Sequence[Workflow], name: str) -> list[Workflow]:
    """List the run that a name means, as `find_cluster_run` does; it may be a foreign one."""
    found = newest_by_workspace(every).get(name) or whole_run(cluster, name)
    return [] if found is None else [found]


def _left(running: Sequence[Workflow], stopped: Sequence[Workflow], name: str) -> str:
    """Name the older runs of a workspace that go on; empty without any."""
    older = [
        f"argotune stop {name_of(run)}"
        for run in running
        if workspace_of(run) == name and run not in stopped
    ]
    return f"an older run goes on: {', '.join(older)}" if older else ""


def _ask(cluster: Cluster, run: Workflow, *, terminate: bool) -> None:
    name = name_of(run)
    if not terminate:
        shut_down(cluster, name, "Stop")
        print(f"run {name}: asked to stop; its exit handler still runs")
        return
    print(
        f"warning: run {name}: --terminate leaves out the exit handler: what release would give"
        " back, such as a GPU node made for the run, stays",
        file=sys.stderr,
    )
    shut_down(cluster, name, "Terminate")
    print(f"run {name}: asked to end at once")


def _wait(cluster: Cluster, name: str, deadline: float) -> list[str]:
    """Wait for the run's end and print it; returns why it has not ended, if it has not."""
    for run in states(cluster, name):
        if has_ended(run):
            print(f"run {name}: {phase_and_reason(run)}")
            for line in _exit_handlers(run):
                print(f"run {name}: {line}")
            return []
        if is_untaken(run, utc_now()):
            return [
                f"run {name}: no controller of Argo has taken it, so nothing of it has begun and"
                f" nothing ends it; `argotune rm {name} {cluster.flags}` deletes it,"
                f" `argotune doctor {cluster.flags}` says whether a controller runs"
            ]
        if time.monotonic() > deadline:
            said = [
                f"run {name}: has not ended in time, and goes on ending",
                *obstacles(cluster, run, utc_now()),
                f"look with `argotune status {name} {cluster.flags} --watch`",
            ]
            return ["; ".join(said)]
    return []


def _exit_handlers(run: Workflow) -> Iterator[str]:
    """Return the outcome of the exit handler."""
    for row in step_rows(run, utc_now()):
        node = nodes_of(run)[row.id]
        if is_exit_handler(node):
            said = outputs_of_node(node).get(_RELEASED_OUTPUT) or row.message
            yield f"{row.name}: {row.phase}" + (f": {said}" if said else "")
