"""argotune plan: what a run would do, need and cost, before it does anything."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from presets.loader import skus_of_azure
from steps.common.training_plan import dump_plan
from steps.plan.render import Row, SkuRow, memory_rows, plan_rows, sku_rows
from workflows.cli import options, workspaces
from workflows.cli.console import console
from workflows.cli.texts import read_texts

app = typer.Typer(add_completion=False)


class Output(StrEnum):
    """How the plan is printed."""

    TABLE = "table"
    YAML = "yaml"


@app.command()
def plan(
    files: options.Files,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="Tables, or the plan that the steps read.")
    ] = Output.TABLE,
    every: Annotated[
        bool, typer.Option("--all", help="Also the SKUs on which the job cannot run, and why.")
    ] = False,
    substitute: options.Substitute = False,
    allow_loopback: options.AllowLoopback = False,
    name: options.Name = None,
    preset: options.Preset = None,
    method: options.Method = None,
    url: options.Url = None,
    output_image: options.OutputImage = None,
    instance_type: options.InstanceType = None,
) -> None:
    """Show what a run would do: hyperparameters, GPU memory, and the SKUs that fit."""
    planned = workspaces.load(
        read_texts(files),
        overrides=options.overrides(
            name=name,
            preset=preset,
            method=method,
            url=url,
            output_image=output_image,
            instance_type=instance_type,
        ),
        allow_loopback=allow_loopback,
        substitute=substitute,
    )
    if output is Output.YAML:
        workspaces.print_warnings(planned)
        print(dump_plan(planned.plan), end="")
        return
    screen = console()
    _print_rows(screen, f"Plan of {planned.workspace.name}", plan_rows(planned.plan))
    _print_rows(screen, "GPU memory, estimated", memory_rows(planned.plan))
    _print_skus(screen, sku_rows(planned.params, every=every))
    workspaces.print_warnings(planned)


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


def _print_skus(screen: Console, rows: list[SkuRow]) -> None:
    catalog = skus_of_azure()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(" ", width=1)
    table.add_column("SKU", no_wrap=True)
    table.add_column("GPUS", no_wrap=True)
    table.add_column("NEEDS", justify="right", no_wrap=True)
    table.add_column("USD/H", justify="right", no_wrap=True)
    table.add_column("", overflow="fold", style="dim")
    speeds = list(dict.fromkeys(row.published_speed for row in rows if row.published_speed))
    for row in rows:
        note = f"[{speeds.index(row.published_speed) + 1}]" if row.published_speed else row.reason
        table.add_row(
            "*" if row.chosen else "",
            row.name,
            f"{row.gpus} x {row.gpu_model} {row.gpu_memory_gib:g} GiB",
            f"{row.needed_gb:.1f} GB" if row.needed_gb else "-",
            f"{row.price_usd_per_hour:.2f}" if row.price_usd_per_hour else "-",
            Text(note),
        )
    screen.print(f"GPU machines of {catalog.cloud} that fit; * is planned for", style="bold")
    screen.print(table)
    for number, speed in enumerate(speeds, 1):
        screen.print(Text(f"[{number}] published by others: {speed}", style="dim"))
    screen.print(f"Prices: {catalog.price_region}, {catalog.price_source}", style="dim")
    screen.print()
