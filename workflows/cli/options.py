"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from argotune.workflows.cli.errors import InputError

Command = Callable[..., None]

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Kaito Workspace, with its ConfigMap in the same or a further file.",
        metavar="FILE...",
        show_default=False,
    ),
]
AllowLoopback = Annotated[
    bool,
    typer.Option("--allow-loopback", help="Permit dataset URLs of this machine, and file URLs."),
]
Substitute = Annotated[
    bool,
    typer.Option(
        "--substitute", help="Take the nearest SKU that fits where the file's cannot be used."
    ),
]
ImagesRegistry = Annotated[str | None, typer.Option(help="Registry of the step images, HOST/PATH.")]
ImagesTag = Annotated[str | None, typer.Option(help="Tag of the step images.")]


def refuse(given: Mapping[str, object], reason: str) -> None:
    """Refuse the flags that are given, by name, since they contradict others or have no effect.

    A flag is not given where it is None, False or empty. Raises InputError with the reason.
    """
    flags = [flag for flag, value in given.items() if value not in (None, False, "", [], {})]
    if flags:
        raise InputError([f"{flag}: {reason}" for flag in flags])


def accepting(
    parameters: Sequence[inspect.Parameter],
    argument: str,
    receive: Callable[[Mapping[str, Any]], Any],
) -> Callable[[Command], Command]:
    """Let a typer command accept further options beside those of its function.

    The function gets, as its keyword `argument`, what `receive` makes of their values by name.
    """

    def extend(command: Command) -> Command:
        @functools.wraps(command)
        def extended(**values: Any) -> None:
            further = {each.name: values.pop(each.name) for each in parameters}
            command(**values, **{argument: receive(further)})

        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != argument]
        # typer reads the options from the signature.
        extended.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *parameters)]
        )
        return extended

    return extend
