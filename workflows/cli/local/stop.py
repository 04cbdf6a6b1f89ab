"""End runs and services of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.contracts.services import names_of_running, stop_service
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import local_runs
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
    """Whether anything of this name was running."""
    running = [run for run in local_runs(here) if run.phase == "Running"]
    found = [run for run in running if name in (run.name, run.workspace)]
    for run in found:
        request_stop(run.directory)
        print(f"run {run.name}: asked to stop; `argotune run --resume {run.name}` goes on with it")
    if stop_service(here.services_dir, name):
        print(f"service {name}: stopped")
        return True
    return bool(found)


def _all_names(here: Home) -> list[str]:
    runs = {run.workspace for run in local_runs(here) if run.phase == "Running"}
    return sorted(runs | names_of_running(here.services_dir))
