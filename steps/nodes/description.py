"""What is known of a provider before its client is loaded. Standard library only: templates, the
command line and the checks of parameters read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from argotune.steps.common.setting import Setting


class NodeNeeds(Protocol):
    """What a run needs of a node that is made for it; the parameters of steps have it."""

    @property
    def disk_gib(self) -> int: ...
    @property
    def capacity_types(self) -> Collection[str]: ...
    @property
    def zones(self) -> Collection[str]: ...
    @property
    def spot_max_price_usd_per_hour(self) -> float | None: ...
    def instance_types(self) -> Collection[str]: ...


def _no_problems(settings: Any, needs: NodeNeeds) -> Iterator[str]:
    return iter(())


def _no_cluster_problems(settings: Any) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True, kw_only=True)
class ProviderDescription:
    """One provider."""

    name: str
    """Its package or module in steps/nodes."""
    summary: str
    """Where its nodes come from: a clause for forms and reference pages."""
    module: str
    """Module in steps/nodes with `provider(settings)`; it loads the client of the cloud."""
    makes_nodes: bool = False
    """Whether its nodes come and go with runs."""
    is_on_cluster: bool = True
    """Whether pods run there; False: this machine."""
    settings: tuple[Setting, ...] = ()
    needed_setting: str = ""
    """Setting without which no node can be made; `argotune install` may give it for all runs."""
    problems: Callable[[Any, NodeNeeds], Iterator[str]] = _no_problems
    """Why no node can be made with these settings: the flag, its value, and what to do."""
    cluster_problems: Callable[[Any], Iterator[str]] = _no_cluster_problems
    """Why the nodes of runs cannot be found with these settings: release and gc ask."""
    is_told_where: Callable[[Any], bool] = lambda settings: True
    """Whether the settings name the cluster of the nodes, where it needs a name."""
    variant: Callable[[Any], str] = lambda settings: ""
    """How these settings change the provider, behind its name: ` in mode nodepool`."""
    node_is_of_run: Callable[[Any], bool] = lambda settings: False
    """Whether, with these settings, the node is the run's own, to keep or to give back."""
