"""argotune gc: delete nodes that runs left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.providers.flags import (
    CLUSTER_SETTINGS,
    PROVIDER,
    gc_flags,
    read_settings,
    with_flags,
)
from argotune.workflows.cli.remote import strays
from argotune.workflows.cli.where import connect

app = typer.Typer(add_completion=False)


@app.command()
@with_flags(gc_flags())
def gc(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of the runs; default: kubectl's current one."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    kept: Annotated[
        bool, typer.Option("--kept", help="Also what is kept for the namespace's next runs.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be deleted, and why.")
    ] = False,
    *,
    given: Mapping[str, str],
) -> None:
    """Delete agent pools and NodeClaims of runs that have ended, or whose time is over.

    The installed CronWorkflow `gc` does the same every ten minutes.
    """
    settings = {name: text for name, text in given.items() if name != PROVIDER}
    only = given.get(PROVIDER)
    others = {
        f"--{row.name}": settings.get(row.name)
        for row in CLUSTER_SETTINGS
        if only is not None and only not in row.providers
    }
    options.refuse(others, f"is not a setting of provider {only}")
    read_settings(settings)
    cluster = connect(namespace, context)
    strays.collect(
        cluster,
        provider=only,
        given=settings,
        kept=kept,
        dry_run=dry_run,
    )
