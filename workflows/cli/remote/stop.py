"""Stopping runs and services of a cluster's namespace."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from argotune.steps.contracts.in_service import joined_in
from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.steps.nodes.made_node import node_of_service
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.remote.api_errors import explain_errors
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.reasons import is_untaken, obstacles
from argotune.workflows.cli.remote.rollback import begin_leave
from argotune.workflows.cli.remote.runs import (
    SERVICE_LABEL,
    cluster_runs,
    deployments,
    host_of,
    newest_by_workspace,
    whole_run,
)
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
        with_service = {name for name in names if _remove_service(cluster, name, meant[name])}
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
                f" nothing ends it; `kubectl delete workflow {name} {cluster.flags}` removes it,"
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


def _remove_service(cluster: Cluster, name: str, runs: Sequence[Workflow]) -> bool:
    """Delete the objects of the workspace's service; returns whether any existed.

    The name may be a run's: then the workspace is the run's.
    """
    name = workspace_of(runs[0]) if runs else name
    known = deployments(cluster)
    if name in known and host_of(known[name]) != name:
        run = begin_leave(cluster, name, known[name])
        print(
            f"{name}: run {run} takes it out of service {host_of(known[name])}, which stays;"
            f" `argotune status {run} {cluster.flags}` shows it"
        )
        return True
    joined = joined_in(known[name]["metadata"].get("annotations") or {}) if name in known else {}
    if joined:
        print(
            f"warning: {', '.join(joined)} joined service {name} and go with it; the next run of"
            " each, with another serve-with or none, serves it again",
            file=sys.stderr,
        )
    removed = False
    # What serves goes after what stands around it.
    for kind in reversed(SERVICE_KINDS):
        # Some clusters do not have the kinds of Gateway API and Prometheus' operator.
        with explain_errors(f"{kind} {name}"):
            item = cluster.kube.get(kind, cluster.namespace, name)
        if item is None:
            continue
        labels = item["metadata"].get("labels") or {}
        if labels.get(SERVICE_LABEL) != name:
            print(f"warning: {kind} {name} is not argotune's, and stays", file=sys.stderr)
            continue
        cluster.delete(kind, name)
        print(f"{kind} {name}: deleted from namespace {cluster.namespace}")
        removed = True
        node = node_of_service(item["metadata"].get("annotations") or {})
        if node is not None:
            print(
                f"node {node.placement}: was the service's own, and is given back within ten"
                f" minutes; at once: argotune gc {cluster.flags}"
            )
    return removed
