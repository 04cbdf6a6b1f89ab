"""Rolling back a service of this machine: step deploy alone, with an adapter that is there."""

from __future__ import annotations

from argotune.steps.contracts.services import is_alive, read_service
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import not_running
from argotune.workflows.cli.local.start import Deploy, flags_by_record, run_deploy
from argotune.workflows.cli.show.in_service import described, reference_of, version_problems


def roll_back(here: Home, name: str, version: str | None, *, deploy: Deploy | None = None) -> None:
    """Serve a version, by default the one before, and print its address.

    Raises InputError where no such service runs, CliError where nothing is known to go back to or
    the adapter does not answer; then what is in service stays.
    """
    service = read_service(here.services_dir, name)
    problems = version_problems(version)
    if service is None or not is_alive(service):
        problems.append(f"{name!r}: {not_running(here, name)}")
    if service is None or problems:
        raise InputError(problems)
    known = described(name, service.annotations)
    reference = reference_of(name, known, version)
    if reference is None:
        print(f"service {name}: {version} is in service already")
        return
    (deploy or run_deploy)(flags_by_record(here, name, reference, known.settings))
    now = read_service(here.services_dir, name)
    if now is not None:
        serving = described(name, now.annotations)
        print(f"service {name}: {serving.version or serving.adapter} answers at {now.endpoint}")
