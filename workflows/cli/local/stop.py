"""Stopping runs and services of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.contracts.services import (
    joined_to,
    names_of_running,
    read_service,
    stop_service,
)
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import LocalRun, local_runs, processes, runs_meant
from argotune.workflows.engine.orphans import end_orphans
from argotune.workflows.engine.record import request_stop


def stop(here: Home, names: Sequence[str], *, everything: bool) -> None:
    """Stop the runs and services that these names mean, or all.

    Raises InputError for the names by which nothing is running.
    """
    if everything:
        _stop_all(here)
        return
    problems = [problem for name in names if (problem := _stop(here, name))]
    if problems:
        raise InputError(problems)


def _stop_all(here: Home) -> None:
    runs = [run for run in local_runs(here) if _goes_on(run)]
    services = sorted(names_of_running(here.services_dir))
    for run in runs:
        _stop_run(run)
    for service in services:
        _stop_service(here, service)
    if not runs and not services:
        print("nothing is running")


def _stop(here: Home, name: str) -> str | None:
    """Stop what the name means; returns what is wrong with it where that is nothing."""
    meant = runs_meant(local_runs(here), name)
    stopped = [run for run in meant[:1] if _goes_on(run)]
    for run in stopped:
        _stop_run(run)
    is_stopped = _stop_service(here, name) or bool(stopped)
    older = [f"argotune stop {run.name}" for run in meant[1:] if _goes_on(run)]
    left = f"an older run goes on: {', '.join(older)}" if older else ""
    if not is_stopped:
        none = f"{name!r}: no run or service of this name is running"
        return "; ".join([none, left]) if left else none
    if left:
        print(left)
    return None


def _goes_on(run: LocalRun) -> bool:
    """Whether the run has an engine, or its killed engine has left processes."""
    return run.phase == "Running" or bool(run.orphans)


def _stop_run(run: LocalRun) -> None:
    print(f"run {run.name}: {_end(run)}; `argotune run --resume {run.name}` goes on with it")


def _stop_service(here: Home, name: str) -> bool:
    service = read_service(here.services_dir, name)
    if not stop_service(here.services_dir, name):
        return False
    if service is not None and service.host:
        print(
            f"{name}: taken out of service {service.host}, which goes on; `argotune start {name}`"
            " puts it back"
        )
        return True
    if joined := joined_to(here.services_dir, name):
        print(f"service {name}: {', '.join(joined)} joined it; all are back when it is started")
    print(f"service {name}: stopped; `argotune start {name}` starts it again")
    return True


def _end(run: LocalRun) -> str:
    left = run.orphans
    if not left:
        request_stop(run.directory)
        return "asked to stop, and a second time kills its steps at once"
    end_orphans(run.directory)
    ended = ", ".join(f"{step} ({processes(groups)})" for step, groups in left.items())
    return f"its engine was killed, and what it had left is ended: {ended}"
