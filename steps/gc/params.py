"""Parameters and results of the gc step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.providers import MAKING_NODES, PROVIDERS, ClusterSettings


@dataclass(frozen=True, kw_only=True)
class Params(ClusterSettings):
    """Take away what was made for runs that are over, whose release never came to an end, and what
    was kept for a next run that did not come."""

    namespace: str = ""
    """Only runs of this namespace are asked about; a node of another one's run goes when its time
    is over. Empty: runs of all namespaces, which takes the right to see their Workflows."""
    dry_run: bool = False
    """Only say what would go."""

    def __post_init__(self) -> None:
        problems = [
            problem
            for provider in self.providers()
            for problem in PROVIDERS[provider].cluster_problems(self)
        ]
        if problems:
            raise ParamsError(problems)

    def providers(self) -> list[str]:
        """Those whose nodes can be found: whose cluster is named, or needs no name."""
        return [name for name in MAKING_NODES if PROVIDERS[name].is_told_where(self)]


@dataclass(frozen=True, kw_only=True)
class Result:
    strays: str
    """What should not be there and why, one line each; `nothing` where all is well."""
    taken_away: int
    """How many were asked to go."""
    kept: str
    """What still waits for the next run of its workspace, one line each; `nothing` where nothing
    does."""
