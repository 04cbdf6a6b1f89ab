"""argotune presets: the models that can be tuned."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from argotune.presets.loader import PRESETS_DIR, model_preset, model_presets
from argotune.presets.names import UnknownName
from argotune.presets.schema import ModelPreset
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.show.fitting import Fitting


class _NameOrCommand(TyperGroup):
    """Takes a preset's name for `show NAME`."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        given = [] if args[0] in self.commands else ["show"]
        return super().resolve_command(ctx, [*given, *args])


app = typer.Typer(
    cls=_NameOrCommand,
    add_completion=False,
    help="The models that can be tuned: a table, or one preset whole.",
)


@app.callback(invoke_without_command=True)
def presets(context: typer.Context) -> None:
    """List the presets."""
    if context.invoked_subcommand is None:
        table = _table(model_presets())
        console().print(Fitting(table, drop=("REPOSITORY", "LICENSE", "CONTEXT", "SIZE")))


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a preset.")]) -> None:
    """Print one preset whole, with the source of its numbers."""
    try:
        preset = model_preset(name)
    except UnknownName as error:
        raise InputError(str(error)) from error
    print((PRESETS_DIR / "models" / f"{preset.name}.yaml").read_text("utf-8"), end="")


def _table(presets: tuple[ModelPreset, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("NAME", no_wrap=True)
    table.add_column("SIZE", justify="right", no_wrap=True)
    table.add_column("CONTEXT", justify="right", no_wrap=True)
    table.add_column("LICENSE", no_wrap=True)
    table.add_column("REPOSITORY", no_wrap=True)
    for preset in sorted(presets, key=lambda preset: preset.name):
        table.add_row(
            preset.name,
            _count(preset.parameters),
            str(preset.architecture.max_position_embeddings),
            preset.license,
            preset.repository,
        )
    return table


def _count(parameters: int) -> str:
    billions = parameters / 1e9
    return f"{billions:.1f}B" if billions >= 0.1 else f"{parameters / 1e6:.1f}M"
