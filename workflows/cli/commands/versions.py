"""argotune versions: the versions of an adapter."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.steps.registry.versions import list_versions, repository_of
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, read_both
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, login_of
from argotune.workflows.cli.show.results import Output, print_record
from argotune.workflows.cli.show.versions import difference, version_rows, versions_table
from argotune.workflows.cli.versions_of import place_of
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def versions(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|IMAGE",
            autocompletion=run_names,
            help="Name of a workspace, or the repository of its adapters: REGISTRY/REPOSITORY or"
            " oci:DIRECTORY.",
        ),
    ],
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="Print the list as JSON or YAML.")
    ] = None,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """List an adapter's versions: losses, data, cost, who deployed them, which is live.

    They are the tags of the adapter's repository; who deployed one, and when, its service notes.
    """
    cluster = chosen_cluster(namespace, context, on_cluster)
    login, place = read_both(
        lambda: login_of(auth_file, ca_file, cluster), lambda: place_of(name, cluster)
    )
    with login.registry() as registry:
        found = list_versions(repository_of(place.image, registry))
    rows = version_rows(found, place.known)
    if output:
        print_record([row.record() for row in rows], output)
        return
    if not rows:
        raise CliError(f"{place.image} has no versions: nothing was pushed to it yet")
    console().print(versions_table(rows))
    note = difference(rows, place.known)
    if note:
        print(note)
