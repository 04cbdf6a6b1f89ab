"""argotune plan: what a run would do, need and cost, before it does anything."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.presets.loader import sku_catalogs
from argotune.presets.schema import Method
from argotune.steps.common.errors import StepError
from argotune.steps.contracts.training_plan import dump_plan
from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli import options
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import NOT_POSSIBLE, CliError
from argotune.workflows.cli.overrides import OF_VOLUMES, join_overrides, with_overrides
from argotune.workflows.cli.providers.flags import (
    CLUSTER_SETTINGS,
    PROVIDER,
    outlook_flags,
    plan_flags,
    with_flags,
)
from argotune.workflows.cli.providers.registry import ENTRIES
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.plan_rows import (
    Row,
    SkuRow,
    memory_rows,
    plan_rows,
    price_lines,
    sku_rows,
    speed_sources,
    what_hours_are_of,
)
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)
from argotune.workflows.workspace import planned as workspaces
from argotune.workflows.workspace.input import refused_urls
from argotune.workflows.workspace.model import provider_of
from argotune.workflows.workspace.node_request import request_of

app = typer.Typer(add_completion=False)

_NODE_PANEL = "Where the GPU node would come from"


class Output(StrEnum):
    """The format of the plan."""

    TABLE = "table"
    YAML = "yaml"


@app.command()
@with_overrides(but=OF_VOLUMES)
@with_flags(plan_flags(), _NODE_PANEL)
def plan(
    files: options.Files,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="Tables, or the plan that the steps read.")
    ] = Output.TABLE,
    every: Annotated[
        bool, typer.Option("--all", help="Also the SKUs on which the job cannot run, and why.")
    ] = False,
    dataset_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of the dataset: hours and cost of the whole run.", min=1),
    ] = None,
    substitute: options.Substitute = False,
    allow_loopback: options.AllowLoopback = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
    *,
    overrides: Mapping[str, str],
    given: Mapping[str, str],
) -> None:
    """Show what a run would do: hyperparameters, GPU memory, and the SKUs that fit."""
    if output is Output.YAML:
        nodes = {f"--{flag.name}": given.get(flag.name) for flag in outlook_flags()}
        shown = {"--all": every, "--namespace": namespace, "--context": context}
        options.refuse(
            {**shown, "--cluster": on_cluster, **nodes},
            "for the tables; --output yaml is the plan alone",
        )
    of_file = (PROVIDER, *(row.name for row in CLUSTER_SETTINGS))
    planned = workspaces.load(
        read_texts(files),
        overrides=join_overrides(
            overrides, {name: text for name, text in given.items() if name in of_file}
        ),
        # Nothing is fetched here.
        allow_loopback=True,
        substitute=substitute,
        dataset_tokens=dataset_tokens,
    )
    if not allow_loopback:
        workspaces.print_as_warnings(refused_urls(planned.workspace.urls))
    provider = provider_of(planned.workspace.options)
    _refuse_other_providers(provider, given)
    if not PROVIDERS[provider].is_on_cluster:
        chosen = {"--namespace": namespace, "--context": context, "--cluster": on_cluster}
        options.refuse(chosen, f"provider {provider} tunes on this machine; leave it out")
    if output is Output.YAML:
        workspaces.print_warnings(planned)
        print(dump_plan(planned.plan), end="")
        return
    screen = console()
    rows = plan_rows(planned.plan, dataset_tokens=dataset_tokens)
    _print_rows(screen, f"Plan of {planned.workspace.name}", rows)
    _print_rows(screen, "GPU memory, estimated", memory_rows(planned.plan))
    if PROVIDERS[provider].is_on_cluster:
        _print_skus(
            screen,
            sku_rows(planned.params, every=every, dataset_tokens=dataset_tokens),
            what_hours_are_of(planned.plan, dataset_tokens=dataset_tokens),
            planned.plan.method,
            alternatives=request_of(planned).instance_types[1:],
        )
    cluster = chosen_cluster(namespace, context, on_cluster)
    is_asked = bool(any(given.values()) or cluster)
    entry = ENTRIES.get(provider)
    would_come = True
    try:
        if is_asked or (entry is not None and entry.is_foreseen_unasked):
            would_come = _print_outlook(screen, planned, cluster, given, dataset_tokens)
    except (CliError, StepError) as error:
        if is_asked:
            workspaces.print_warnings(planned)
            raise
        print(f"warning: the GPU node was not looked for: {error}", file=sys.stderr)
    workspaces.print_warnings(planned)
    if is_asked and not would_come:
        raise typer.Exit(NOT_POSSIBLE)


def _refuse_other_providers(provider: str, given: Mapping[str, str]) -> None:
    """Refuse the flags with which another provider looks for the node."""
    flags = {
        f"--{flag.name}": given.get(flag.name)
        for entry in ENTRIES.values()
        if entry.name != provider
        for flag in entry.plan_flags
    }
    options.refuse(flags, f"is not for provider {provider}")


def _print_outlook(
    screen: Console,
    planned: workspaces.Planned,
    cluster: Cluster | None,
    given: Mapping[str, str],
    dataset_tokens: int | None,
) -> bool:
    # The doctor's checks take a third of a second to import, with httpx, and a plan alone needs
    # none of them.
    from argotune.workflows.cli.outlook.nodes import Asked, print_outlook

    asked = Asked(cluster=cluster, flags=given, dataset_tokens=dataset_tokens)
    return print_outlook(screen, planned, asked)


def _print_rows(screen: Console, title: str, rows: list[Row]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(style="dim", overflow="fold")
    for row in rows:
        table.add_row(f"  {row.name}", row.value, row.note)
    screen.print(title, style="bold")
    screen.print(table)
    screen.print()


def _print_skus(
    screen: Console,
    rows: list[SkuRow],
    hours_of: str,
    method: Method,
    *,
    alternatives: Sequence[str],
) -> None:
    clouds = {row.cloud for row in rows}
    catalogs = [each for each in sku_catalogs() if not clouds or each.cloud in clouds]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(" ", width=1)
    # A narrow terminal breaks the names, and no number.
    table.add_column("SKU", overflow="fold")
    table.add_column("GPUS", overflow="fold")
    for name in ("MEMORY", "TOKENS/S", "HOURS", "USD", "USD/H"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.fits:
            mark = "*" if row.chosen else "+" if row.name in alternatives else ""
            table.add_row(mark, *_cells(row))
    tried = ", + is tried where the cloud has none of it" if alternatives else ""
    of = " and ".join(each.cloud for each in catalogs)
    planned_for = (
        f"* is planned for{tried}"
        if any(row.chosen for row in rows)
        else ("none is planned for, as the file names no resource.instanceType")
    )
    screen.print(f"GPU machines of {of} that fit; {planned_for}", style="bold")
    screen.print(table)
    speeds: tuple[str, ...] = (
        f"HOURS, USD: {hours_of}.",
        "TOKENS/S: a class, carried over by model size and bfloat16 rate: "
        f"{speed_sources(method)}.",
    )
    if all(row.tokens_per_second is None for row in rows):
        speeds = ("TOKENS/S, HOURS, USD: not known for a model so small.",)
    for line in (
        "MEMORY: of one GPU; what it has is used to keep activations instead of recomputing them.",
        *speeds,
        *price_lines(catalogs),
    ):
        screen.print(Text(line, style="dim"))
    screen.print()
    others = [Row(name=row.name, value=row.reason) for row in rows if not row.fits]
    if others:
        _print_rows(screen, "GPU machines on which it cannot run", others)


def _cells(row: SkuRow) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.gpus} x {row.gpu_model} {row.gpu_memory_gib:g} GiB",
        f"{row.peak_gb:.1f} GB" if row.peak_gb else "-",
        _or_dash(row.tokens_per_second),
        _or_dash(row.hours),
        _or_dash(row.cost_usd),
        f"{row.price_usd_per_hour:.2f}" if row.price_usd_per_hour else "-",
    )


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
