"""Parameters and results of the gc step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.aks.cluster_id import ClusterId


@dataclass(frozen=True, kw_only=True)
class Params:
    """Take away what was made for runs that are over, whose release never came to an end, and what
    was kept for a next run that did not come."""

    namespace: str = ""
    """Only runs of this namespace are asked about; a node of another one's run goes when its time
    is over. Empty: runs of all namespaces, which takes the right to see their Workflows."""
    aks_cluster_id: str = ""
    """Azure resource ID of the cluster whose agent pools are looked at; empty: none are."""
    dry_run: bool = False
    """Only say what would go."""

    def __post_init__(self) -> None:
        if not self.aks_cluster_id:
            return
        try:
            ClusterId.parse(self.aks_cluster_id)
        except ValueError as error:
            raise ParamsError(f"--aks-cluster-id: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Result:
    strays: str
    """What should not be there and why, one line each; `nothing` where all is well."""
    taken_away: int
    """How many were asked to go."""
    kept: str
    """What still waits for the next run of its workspace, one line each; `nothing` where nothing
    does."""
