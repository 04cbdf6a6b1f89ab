"""Watching a run on a cluster, as `argotune run` does on this machine."""

from __future__ import annotations

import time
from typing import Literal

import typer
from rich.console import Console

from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import INTERRUPTED, RunFailed
from argotune.workflows.cli.remote.api_errors import explain_errors
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.reasons import obstacles, reasons
from argotune.workflows.cli.remote.states import states
from argotune.workflows.cli.show.pending import PullProblem, PullTimer
from argotune.workflows.cli.show.results import exit_code_of, print_results
from argotune.workflows.cli.show.rows import can_go_on, is_exit_handler, step_name, utc_now
from argotune.workflows.cli.show.view import view_for
from argotune.workflows.cli.show.workflow_json import Workflow, is_offloaded, name_of

PULL_TIMEOUT_SECONDS = 60.0
"""After which a run that is watched from its beginning is stopped, unless a person says more."""
_EXIT_HANDLER_SECONDS = 20.0


def watch(cluster: Cluster, name: str, *, pull_timeout_seconds: float | None = None) -> None:
    """Show the run until it has ended, and exit with the code that its phase means.

    Where a step's image cannot be pulled for that long, the run is stopped, because Argo would wait
    on. Ctrl-C ends the watching, not the run.
    """
    workflow = follow(cluster, name, pull_timeout_seconds=pull_timeout_seconds)
    raise typer.Exit(exit_code_of(workflow))


def follow(cluster: Cluster, name: str, *, pull_timeout_seconds: float | None = None) -> Workflow:
    """Show the run likewise, and return it as it ended."""
    screen = console()
    try:
        workflow, problems = _show(cluster, name, screen, pull_timeout_seconds)
    except KeyboardInterrupt:
        flags = cluster.flags
        screen.print(f"\nrun {name} goes on", soft_wrap=True)
        screen.print(f"watch it again: argotune status {name} {flags} --watch", soft_wrap=True)
        screen.print(f"end it: argotune stop {name} {flags}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    print_results(screen, workflow, advice(cluster, workflow))
    if problems:
        raise RunFailed(problems)
    return workflow


def advice(cluster: Cluster, run: Workflow) -> list[str]:
    """List what can be done about a failed run."""
    name, flags = name_of(run), cluster.flags
    logs = f"logs: argotune logs {name} {flags}"
    if can_go_on(run):
        return [logs, f"go on with it: argo retry {name} {flags} (with the right to delete pods)"]
    return [
        logs,
        "argo retry would come no further: mend the cause and begin a new run",
        f"delete it with its volume: argotune rm {name} {flags}",
    ]


def _show(
    cluster: Cluster, name: str, screen: Console, pull_timeout_seconds: float | None
) -> tuple[Workflow, list[str]]:
    """Show the ended run, and why it was stopped, if it was."""
    stopper = _Stopper(cluster, name, pull_timeout_seconds)
    said_of_database = False
    workflow: Workflow = {}
    told: list[str] = []
    with view_for(screen) as view:
        for workflow in states(cluster, name):
            view.update(workflow, reasons(cluster, workflow))
            now = obstacles(cluster, workflow, utc_now())
            for line in now:
                if line not in told:
                    screen.print(f"{name}: {line}", soft_wrap=True)
            told = now
            if is_offloaded(workflow) and not said_of_database:
                said_of_database = True
                screen.print(database_note(cluster, name), soft_wrap=True)
            for line in stopper.look(workflow, time.monotonic()):
                screen.print(line, soft_wrap=True)
    return workflow, stopper.problems


def database_note(cluster: Cluster, name: str) -> str:
    """Explain why the steps cannot be shown."""
    return (
        f"the steps of {name} are in Argo's own database, and only the Argo server shows them:"
        f" argo get {name} {cluster.flags}"
    )


class _Stopper:
    """Stops a run whose step waits for an image that cannot be pulled."""

    def __init__(self, cluster: Cluster, name: str, timeout_seconds: float | None) -> None:
        self._cluster = cluster
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._timer = PullTimer(timeout_seconds or 0.0)
        self.problems: list[str] = []
        """Why the run was stopped, and what to do about it."""

    def look(self, workflow: Workflow, now_seconds: float) -> list[str]:
        """Stop the run if this state requires it; returns the lines to print."""
        if self._timeout_seconds is None:
            return []
        shutdown = workflow["spec"].get("shutdown")
        for node, problem in self._timer.overdue(workflow, now_seconds):
            if shutdown == "Terminate" or (shutdown and not is_exit_handler(node)):
                continue
            step = step_name(node).partition("(")[0]
            self.problems = self.problems or self._explain(step, problem)
            act = self._terminate if is_exit_handler(node) else self._stop
            return [act(step, problem)]
        return []

    def _explain(self, step: str, problem: PullProblem) -> list[str]:
        return [
            f"{step}: {problem}, for {self._timeout_seconds:.0f} s",
            "is it there, and may the pods pull it? `argotune install --images-registry`"
            " sets where the step images come from,"
            f" `argotune doctor {self._cluster.flags}` tries to pull them",
        ]

    def _stop(self, step: str, problem: PullProblem) -> str:
        shut_down(self._cluster, self._name, "Stop")
        # The exit handler's image is in the same registry, so its wait may be shorter.
        self._timer = PullTimer(min(self._timeout_seconds or 0.0, _EXIT_HANDLER_SECONDS))
        return (
            f"{step}: {problem}; the run is being stopped (spec.shutdown: Stop), its exit handler"
            " still runs"
        )

    def _terminate(self, step: str, problem: PullProblem) -> str:
        shut_down(self._cluster, self._name, "Terminate")
        return (
            f"{step}: {problem}; the run is ended without this exit handler (spec.shutdown:"
            " Terminate)"
        )


def shut_down(cluster: Cluster, name: str, strategy: Literal["Stop", "Terminate"]) -> None:
    """End a run, a suspended one too: Stop runs the exit handler, Terminate does not."""
    with explain_errors(f"Workflow {name}"):
        cluster.kube.stop_workflow(cluster.namespace, name, strategy)
