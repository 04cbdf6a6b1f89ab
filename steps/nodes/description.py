"""The facts about a provider that need no client of its cloud.

Standard library only: templates, the command line and the checks of parameters read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from argotune.steps.common.setting import Setting


class NodeNeeds(Protocol):
    """A run's needs of a node that is made for it; the parameters of steps have them."""

    @property
    def disk_gib(self) -> int:
        """Size of the OS disk in GiB; 0: the cloud's default."""

    @property
    def capacity_types(self) -> Collection[str]:
        """Capacity types, in order: spot, regular."""

    @property
    def zones(self) -> Collection[str]:
        """Availability zones, in order."""

    @property
    def spot_max_price_usd_per_hour(self) -> float | None:
        """Highest price of a spot node in USD per hour; None: up to the regular price."""

    def instance_types(self) -> Collection[str]:
        """List the SKUs, in order."""


def _no_problems(settings: Any, needs: NodeNeeds) -> Iterator[str]:
    return iter(())


def _no_cluster_problems(settings: Any) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True, kw_only=True)
class ProviderDescription:
    """A provider of nodes."""

    name: str
    """Name of its package or module in steps/nodes."""
    summary: str
    """Source of its nodes, as a clause for forms and reference pages."""
    module: str
    """Module in steps/nodes with `provider(settings)`; it loads the client of the cloud."""
    makes_nodes: bool = False
    """Whether nodes are made and deleted with runs."""
    is_on_cluster: bool = True
    """Whether pods run on a cluster; False: on this machine."""
    settings: tuple[Setting, ...] = ()
    needed_setting: str = ""
    """Setting without which no node can be made; `argotune install` may set it for all runs."""
    problems: Callable[[Any, NodeNeeds], Iterator[str]] = _no_problems
    """Why no node can be made with these settings: the flag, its value, and what to do."""
    cluster_problems: Callable[[Any], Iterator[str]] = _no_cluster_problems
    """Why the nodes of runs cannot be found with these settings; release and gc ask."""
    names_cluster: Callable[[Any], bool] = lambda settings: True
    """Whether the settings name the cluster of the nodes, where it needs a name."""
    variant: Callable[[Any], str] = lambda settings: ""
    """How these settings change the provider, behind its name: ` in mode nodepool`."""
    node_is_of_run: Callable[[Any], bool] = lambda settings: False
    """Whether, with these settings, the node is the run's own, to keep or to give back."""
