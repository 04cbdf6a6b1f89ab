"""Parameters and results of the gc step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.providers import ClusterSettings


@dataclass(frozen=True, kw_only=True)
class Params(ClusterSettings):
    """Delete nodes of finished or expired runs, and nodes kept for a next run that did not start.

    A node of a finished run remains if the run's release step failed.
    """

    namespace: str = ""
    """Namespace in which the Workflows of runs are looked up; nodes of runs in other namespaces
    are deleted when they expire. Empty: all namespaces, which needs the right to read their
    Workflows."""
    dry_run: bool = False
    """Only list what would be deleted."""

    def __post_init__(self) -> None:
        problems = self.cluster_problems()
        if problems:
            raise ParamsError(problems)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the gc step."""

    strays: str
    """Nodes without a run and the reason, one line each; `nothing` if there are none."""
    deleted: int
    """Number of nodes whose deletion was requested."""
    kept: str
    """Nodes kept for the next run of their workspace, one line each; `nothing` if there are
    none."""
