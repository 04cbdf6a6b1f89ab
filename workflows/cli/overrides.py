"""The flags that stand in place of a Workspace's fields and annotations."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any

import typer

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.options import Command, accepting
from argotune.workflows.workspace.fields import FLAGS, unknown_setting

_PANEL = "In place of the file's fields"

OVERRIDES: Mapping[str, str] = {
    "name": "Workspace name.",
    "preset": "Model preset.",
    "method": "lora or qlora.",
    "url": "Dataset URL; may be given several times.",
    "output-image": "REGISTRY/REPOSITORY:TAG or oci:DIRECTORY.",
    "instance-type": "SKU of the GPU node.",
    "volume-size": "Size of the run's volume.",
    "storage-class": "Storage class of the volume.",
}
"""The flags, with their help."""
OF_CLUSTERS = frozenset({"instance-type", "volume-size", "storage-class"})
"""Those that mean nothing on one machine."""
OF_VOLUMES = frozenset({"volume-size", "storage-class"})
"""Those that change no plan."""

_SET = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel=_PANEL,
        metavar="NAME=VALUE",
        help="A setting in place of the annotation argotune.dev/NAME, such as tune-memory=32Gi; may"
        " be given several times.",
    ),
]


def with_overrides(*, but: Collection[str] = ()) -> Callable[[Command], Command]:
    """Let a typer command accept these flags, but for some, beside those of its function.

    The function's parameter `overrides` gets what `read_overrides` makes of the given ones.
    """
    flags = [flag for flag in OVERRIDES if flag not in but]
    parameters = [*(_parameter(flag) for flag in flags), _keyword("settings", _SET)]

    def read(values: Mapping[str, Any]) -> dict[str, str]:
        given = {flag: values[_variable(flag)] for flag in flags}
        return read_overrides(given, values["settings"] or [])

    return accepting(parameters, "overrides", read)


def read_overrides(
    flags: Mapping[str, str | list[str] | None], settings: Sequence[str]
) -> dict[str, str]:
    """Return flags, and the NAME=VALUE of `--set`, in the form of `read_workspace`.

    That refuses the names that are no setting, together with the file's problems. Raises InputError
    for a `--set` that is of another form or contradicts another flag.
    """
    found = {}
    for flag, value in flags.items():
        if isinstance(value, list):
            found["urls"] = json.dumps(value)
        elif value is not None:
            found[flag] = value
    if not settings:
        return found
    # The table takes a tenth of a second to import, and most commands do not need it.
    from argotune.steps.settings.run_settings import annotation_settings

    known = annotation_settings()
    given = _read_pairs(settings, found)
    # What the reader knows by these names is the flag's.
    if problems := _unknown({name: given[name] for name in FLAGS if name in given}, known):
        raise InputError(problems)
    return found | given


def join_overrides(overrides: Mapping[str, str], flags: Mapping[str, str]) -> dict[str, str]:
    """Add a command's own flags of settings. Raises InputError for one that is given twice."""
    twice = sorted(overrides.keys() & flags.keys())
    if twice:
        raise InputError([f"--{name}: --set {name} is given too; give it once" for name in twice])
    return {**overrides, **flags}


def flags_of(overrides: Mapping[str, str]) -> dict[str, str]:
    """Map the flags as they were given to their values; those of `--set` have its name."""
    flags = {"urls": "--url"} | {flag: f"--{flag}" for flag in OVERRIDES}
    return {flags.get(name, f"--set {name}"): value for name, value in overrides.items()}


def read_settings(pairs: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return the pairs NAME=VALUE of `--set`, each known setting once.

    Raises InputError with all problems.
    """
    found = _read_pairs(pairs, ())
    if problems := _unknown(found, known):
        raise InputError(problems)
    return found


def _unknown(found: Mapping[str, str], known: Collection[str]) -> list[str]:
    return [unknown_setting(name, text, known) for name, text in found.items() if name not in known]


def _read_pairs(pairs: Sequence[str], taken: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    problems = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not text:
            problems.append(f"--set {pair!r}: accepted is NAME=VALUE")
        elif name in found or name in taken:
            problems.append(f"--set {pair!r}: {name} is given twice; give it once")
        else:
            found[name] = text
    if problems:
        raise InputError(problems)
    return found


def _parameter(flag: str) -> inspect.Parameter:
    option = typer.Option(f"--{flag}", rich_help_panel=_PANEL, help=OVERRIDES[flag])
    kind = list[str] | None if flag == "url" else str | None
    return _keyword(_variable(flag), Annotated[kind, option])


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _variable(flag: str) -> str:
    return flag.replace("-", "_")
