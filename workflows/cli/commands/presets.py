"""argotune presets: the models that can be tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from argotune.presets.loader import PRESETS_DIR, model_preset, model_presets
from argotune.presets.names import UnknownName
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError
from argotune.steps.plan.planning import (
    describe_base_model,
    own_preset,
    write_own_preset,
)
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.texts import read_texts, write_file
from argotune.workflows.workspace.own_presets import (
    directory_of_this_machine,
    files_of_this_machine,
    text_of_this_machine,
)


class _NameOrCommand(TyperGroup):
    """Takes a preset's name for `show NAME`."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        given = [] if args[0] in self.commands else ["show"]
        return super().resolve_command(ctx, [*given, *args])


app = typer.Typer(
    cls=_NameOrCommand,
    add_completion=False,
    help="The models that can be tuned: a table, one preset whole, or one made of any model.",
)


@app.callback(invoke_without_command=True)
def presets(context: typer.Context) -> None:
    """List the presets."""
    if context.invoked_subcommand is None:
        table = _table([*model_presets(), *_own_presets()])
        console().print(Fitting(table, drop=("REPOSITORY", "LICENSE", "CONTEXT", "SIZE")))


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a preset.")]) -> None:
    """Print one preset whole, with the source of its numbers."""
    own = text_of_this_machine(name)
    if own is not None:
        own_preset(name, own)
        print(own, end="")
        return
    try:
        preset = model_preset(name)
    except UnknownName as error:
        raise InputError(
            f"{error}; `argotune presets add OWNER/NAME` makes one of a model of the Hub"
        ) from error
    print((PRESETS_DIR / "models" / f"{preset.name}.yaml").read_text("utf-8"), end="")


@app.command()
def add(
    model: Annotated[
        str, typer.Argument(help="OWNER/NAME or OWNER/NAME@REVISION of the Hub.", metavar="HUB_ID")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the preset; by default the model's.")
    ] = None,
    chat_template: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Jinja template of conversations, for a tokenizer that has none.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Directory of the file, as for `argotune install --presets DIR`; by default that"
            " of this machine, whose presets every command here knows.",
        ),
    ] = None,
) -> None:
    """Make a preset of a model's own files, to change and to keep: no weights are fetched."""
    wanted = name or model.partition("@")[0].rpartition("/")[2].lower().replace("_", "-")
    template = None
    if chat_template is not None:
        ((_, template),) = read_texts([chat_template])
    described = describe_base_model(model, chat_template=template)
    if template is not None and described.preset.chat.template is None:
        raise InputError(
            f"--chat-template {chat_template}: the tokenizer of {model} has a template of its own;"
            " leave it out"
        )
    text = write_own_preset(described, wanted)
    own_preset(wanted, text)
    directory = output or directory_of_this_machine()
    path = directory / f"{wanted}.yaml"
    if path.exists():
        raise InputError(f"{path}: is there already; give --name, or delete it")
    directory.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode())
    print(path)


def _own_presets() -> list[ModelPreset]:
    """Read the presets of this machine. Raises InputError with every problem."""
    found, problems = list[ModelPreset](), list[str]()
    for path in files_of_this_machine():
        try:
            found.append(own_preset(path.stem, path.read_text("utf-8")))
        except ParamsError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def _table(presets: Sequence[ModelPreset]) -> Table:
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
