"""Flags of commands that follow from the settings of the providers.

A new setting or provider needs no change of a command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from argotune.steps.common.fields import parse_fields
from argotune.steps.nodes.providers import (
    MAKING_NODES,
    PROVIDERS,
    ProviderSettings,
    cluster_settings,
)
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.options import Command, accepting
from argotune.workflows.cli.providers.description import Flag
from argotune.workflows.cli.providers.registry import CLUSTER_PROVIDERS, ENTRIES, identities

PROVIDER = "provider"
"""Flag of `argotune plan` and `argotune gc`."""
CLOUD = "cloud"
"""Flag of `argotune plan`."""

ALL_RUNS = "All runs"
"""Heading of the flags of `argotune install` for runs with nodes of any kind."""
INSTALLABLE = tuple(row for row in SETTINGS.values() if row.is_installable)
"""Settings of all runs that are flags of `argotune install`."""
LOOKED_FOR_NODES = tuple(
    PROVIDERS[name].needed_setting for name in MAKING_NODES if PROVIDERS[name].needed_setting
)
"""Settings without which no node is made, as far as the provider needs one."""
CLUSTER_SETTINGS = cluster_settings()
"""Settings that name the cluster with the nodes of runs."""


def install_flags() -> list[Flag]:
    """List the flags for the identities of accounts, and for settings of all runs."""
    rows = [
        Flag(
            name=row.name,
            help=f"{row.description}{_for_providers(row.providers)}.",
            panel=None if row.providers else ALL_RUNS,
        )
        for row in INSTALLABLE
    ]
    return [*(each.flag for each in identities()), *rows]


def plan_flags() -> list[Flag]:
    """List the flags about the source of the node."""
    return [
        Flag(
            name=PROVIDER,
            help="Look whether it would bring the node; default: as the file says.",
            choices=CLUSTER_PROVIDERS,
        ),
        Flag(
            name=CLOUD,
            help="Plan with its machines; default: as the file, its machine or the cluster say.",
            choices=SETTINGS[CLOUD].choices,
        ),
        *_cluster_flags("the file's, or the installation's"),
        *outlook_flags(),
    ]


def outlook_flags() -> list[Flag]:
    """List the flags about what a provider says of the node, which do not change the plan."""
    return [flag for entry in ENTRIES.values() for flag in entry.plan_flags]


def gc_flags() -> list[Flag]:
    """List the flags that choose the nodes, and their cluster."""
    return [
        Flag(
            name=PROVIDER,
            help="Only what this one made; default: all that is set up.",
            choices=MAKING_NODES,
        ),
        *_cluster_flags("the one of `argotune install`"),
    ]


def with_flags(flags: Sequence[Flag], panel: str | None = None) -> Callable[[Command], Command]:
    """Let a typer command accept these flags beside those of its function.

    The function's parameter `given` gets the texts of the given ones, by the flag's name.
    """

    def given(values: Mapping[str, Any]) -> dict[str, str]:
        texts = {flag.name: values[_parameter_name(flag)] for flag in flags}
        return {name: text for name, text in texts.items() if text is not None}

    return accepting([_parameter(flag, panel) for flag in flags], "given", given)


def read_settings(texts: Mapping[str, str]) -> ProviderSettings:
    """Return the settings that say where the nodes are.

    Raises InputError for values that cannot name a cluster.
    """
    settings = parse_fields(ProviderSettings, texts)
    problems = settings.cluster_problems()
    if problems:
        raise InputError(problems)
    return settings


def _for_providers(names: Sequence[str]) -> str:
    return f"; for provider {' and '.join(names)}" if names else ""


def _cluster_flags(default: str) -> list[Flag]:
    return [
        Flag(name=row.name, help=f"{row.description}; default: {default}.")
        for row in CLUSTER_SETTINGS
    ]


def _parameter(flag: Flag, panel: str | None) -> inspect.Parameter:
    option = typer.Option(f"--{flag.name}", rich_help_panel=flag.panel or panel, help=flag.help)
    return inspect.Parameter(
        _parameter_name(flag),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[flag.type | None, option],
    )


def _parameter_name(flag: Flag) -> str:
    return flag.name.replace("-", "_")
