"""argotune rm: delete runs of this machine or of a cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from argotune.steps.contracts.services import (
    forget_service,
    joined_to,
    kept_names,
    names_of_running,
)
from argotune.workflows.cli import options
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.disk import Entry, entries, older_than, remove, size
from argotune.workflows.cli.remote import remove as cluster_remove
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)

_AGE = re.compile(r"(?P<count>\d{1,5})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_GOING_ON = ("Running", "Pending")


@app.command()
def rm(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of runs.", metavar="[RUN]...", autocompletion=run_names),
    ] = None,
    age: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="All that ended before, such as 12h, 7d, 4w."
        ),
    ] = None,
    service: Annotated[
        bool,
        typer.Option("--service", help="The names are those of stopped services: delete these."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be deleted.")
    ] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Delete runs of this machine or of a cluster: records, logs, checkpoints and data.

    Model weights and what runs wrote to a registry or to oci:DIRECTORY stay, and services; here
    --service deletes stopped ones. A run that is running is refused by its name, and left out of
    --older-than. On a cluster ended runs go by themselves too, after ttl-seconds-after-failure or
    -success.
    """
    if names and age is not None:
        raise InputError(f"{' '.join(names)} and --older-than: take one")
    if not names and age is None:
        raise InputError("name a run, or say --older-than; argotune runs lists them")
    if service and age is not None:
        raise InputError("--service and --older-than: take one; name the services")
    cluster = chosen_cluster(namespace, context, on_cluster)
    if cluster is not None:
        options.refuse(
            {"--older-than": age, "--service": service},
            "for this machine; on a cluster name the runs, and argotune stop NAME --service"
            f" {cluster.flags} deletes a service",
        )
        cluster_remove.remove(cluster, names or [], dry_run=dry_run)
        return
    if service:
        _remove_services(names or [], dry_run=dry_run)
        return
    found = entries(home())
    chosen = _named(found, names) if names else _old(found, age or "")
    problems = []
    for entry in chosen:
        try:
            if not dry_run:
                remove(entry)
        except InputError as error:
            problems += error.problems
            continue
        said = "would be deleted" if dry_run else "deleted"
        print(f"run {entry.name}: {said}, {size(entry.size_bytes)}")
    if not chosen:
        print(f"no run is older than {age}")
    if problems:
        raise InputError(problems)


def _remove_services(names: Sequence[str], *, dry_run: bool) -> None:
    """Delete the stopped services of these names. Raises InputError for each that cannot be."""
    folder = home().services_dir
    running, known = names_of_running(folder), kept_names(folder)
    problems = []
    for name in dict.fromkeys(names):
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            problems.append(f"{name!r}: no service of this name on this machine; there are {there}")
        elif name in running:
            problems.append(f"{name!r}: is running; stop it first: argotune stop {name}")
    if problems:
        raise InputError(problems)
    for name in dict.fromkeys(names):
        joined = joined_to(folder, name)
        if not dry_run:
            forget_service(folder, name)
        print(f"service {name}: {'would be deleted' if dry_run else 'deleted'}")
        if joined:
            print(f"{', '.join(joined)} joined it, and their next runs serve them again")


def _named(found: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    """Find the runs of these names, all or none. Raises InputError for each that is no run's."""
    by_name = {entry.name: entry for entry in found}
    problems = []
    for name in names:
        if name in by_name:
            continue
        of_workspace = [entry.name for entry in found if entry.workspace == name]
        problems.append(
            f"{name!r}: is a workspace; name its runs: {', '.join(of_workspace)}"
            if of_workspace
            else f"{name!r}: no run of this name on this machine; argotune runs lists them"
        )
    if problems:
        raise InputError(problems)
    return [by_name[name] for name in dict.fromkeys(names)]


def _old(found: Sequence[Entry], age: str) -> list[Entry]:
    matched = _AGE.fullmatch(age)
    if matched is None:
        raise InputError(
            f"--older-than {age!r}: accepted is a number and a unit, such as 12h, 7d or 4w"
        )
    limit = timedelta(**{_UNITS[matched["unit"]]: int(matched["count"])})
    ended = [entry for entry in found if entry.phase not in _GOING_ON]
    return older_than(ended, limit, utc_now())
