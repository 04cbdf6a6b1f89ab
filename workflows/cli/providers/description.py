"""The interface between the command line and a provider.

Cheap to import, because the help of commands reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from argotune.steps.common.values import ValueType

if TYPE_CHECKING:
    from rich.console import Console

    from argotune.steps.cluster.kube import Kube
    from argotune.steps.nodes.provider import Provider
    from argotune.steps.nodes.providers import ProviderSettings
    from argotune.workflows.cli.checks.subject import Check
    from argotune.workflows.cli.outlook.nodes import Asked
    from argotune.workflows.workspace.planned import Planned


NODE_ACCOUNTS = ("argotune-provision", "argotune-release")
"""Accounts of the pods that make and delete nodes."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag of a command; its value is a text."""

    name: str
    help: str
    panel: str | None = None
    """Heading in the help, in place of the command's for such flags."""
    choices: tuple[str, ...] = ()
    """The accepted texts; empty: any."""

    @property
    def type(self) -> Any:
        """Return the type by which typer reads it."""
        return Literal[self.choices] if self.choices else str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An identity of pods towards a cloud.

    It is an annotation of their accounts, which a flag of `argotune install` sets.
    """

    flag: Flag
    annotation: str
    value: ValueType
    accounts: tuple[str, ...] = NODE_ACCOUNTS


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A provider in the registry."""

    name: str
    """As in steps/nodes/providers.py."""
    module: str
    """Module beside this one with COMMANDS; it may import the clients of Kubernetes and of the
    cloud."""
    identity: Identity | None = None
    plan_flags: tuple[Flag, ...] = ()
    """Flags of `argotune plan` beside the settings that name the provider's cluster."""
    is_foreseen_unasked: bool = False
    """Whether `argotune plan` can look for the node without flags that choose a cluster."""


class PrintOutlook(Protocol):
    """Prints where the node of a planned run would come from."""

    def __call__(self, screen: Console, planned: Planned, asked: Asked) -> bool:
        """Print whether a node would come, as far as can be seen.

        Raises CliError and StepError where nothing can be seen.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ProviderCommands:
    """One provider's part of the commands."""

    print_outlook: PrintOutlook
    """For `argotune plan`."""
    checks: tuple[Check, ...] = ()
    """Checks of `argotune doctor`, beside those of every cluster."""
    connect: Callable[[Kube, ProviderSettings], Provider] | None = None
    """For `argotune gc`: the provider with the user's own rights; None: it makes no nodes."""
