"""argotune compare: two adapters side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argotune.workflows.cli.compared import load_sides, named_adapters
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import read_both
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, login_of
from argotune.workflows.cli.show.comparison import comparison_page, print_comparison
from argotune.workflows.cli.texts import write_file
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    one: Annotated[
        str,
        typer.Argument(
            metavar="NAME:VERSION|IMAGE",
            help="A version of a workspace, such as dolly:v2 or dolly:live, or an adapter's image.",
        ),
    ],
    other: Annotated[
        str,
        typer.Argument(
            metavar="VERSION|NAME:VERSION|IMAGE",
            help="Another one; v3, live, previous or candidate alone are of the same repository.",
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write it as a page of one file."),
    ] = None,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Show two adapters side by side: settings, data, losses, checks, answers.

    It reads their images and the reports that their runs left beside them.
    """
    cluster = chosen_cluster(namespace, context, on_cluster)
    login, adapters = read_both(
        lambda: login_of(auth_file, ca_file, cluster), lambda: named_adapters(one, other, cluster)
    )
    first, second = load_sides(*adapters, login)
    print_comparison(console(), first, second)
    if html is not None:
        write_file(html, comparison_page(first, second).encode())
        print(f"written to {html}")
