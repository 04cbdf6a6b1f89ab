"""Stopping runs and services of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.contracts.services import names_of_running, stop_service
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import LocalRun, local_runs, processes
from argotune.workflows.engine.orphans import end_orphans
from argotune.workflows.engine.record import request_stop


def stop(here: Home, names: Sequence[str], *, everything: bool) -> None:
    """Stop the runs and services of these names, or all."""
    if everything:
        names = _all_names(here)
        if not names:
            print("nothing is running")
    missing = [name for name in names if not _stop(here, name)]
    if missing:
        raise InputError(
            [f"{name!r}: no run or service of this name is running" for name in missing]
        )


def _stop(here: Home, name: str) -> bool:
    """Stop what has this name; returns whether anything had."""
    found = [run for run in _running(here) if name in (run.name, run.workspace)]
    for run in found:
        print(f"run {run.name}: {_end(run)}; `argotune run --resume {run.name}` goes on with it")
    if stop_service(here.services_dir, name):
        print(f"service {name}: stopped")
        return True
    return bool(found)


def _running(here: Home) -> list[LocalRun]:
    """Runs with an engine, and those whose killed engine has left processes."""
    return [run for run in local_runs(here) if run.phase == "Running" or run.orphans]


def _end(run: LocalRun) -> str:
    left = run.orphans
    if not left:
        request_stop(run.directory)
        return "asked to stop, and a second time kills its steps at once"
    end_orphans(run.directory)
    ended = ", ".join(f"{step} ({processes(groups)})" for step, groups in left.items())
    return f"its engine was killed, and what it had left is ended: {ended}"


def _all_names(here: Home) -> list[str]:
    runs = {run.workspace for run in _running(here)}
    return sorted(runs | names_of_running(here.services_dir))
