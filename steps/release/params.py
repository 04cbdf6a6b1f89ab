"""Parameters and results of the release step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.providers import PROVIDERS, ClusterSettings, ProviderName


@dataclass(frozen=True, kw_only=True)
class Params(ClusterSettings):
    """Give back what provision got for this run, whatever the run's result."""

    provider: ProviderName = "existing"
    """The provider that provision used."""
    run: str
    """UID of the run."""
    status: str = ""
    """How the run ended: Succeeded, Failed or Error, as Argo says it to exit handlers."""
    keep_node_seconds: float = 0.0
    """How long a node that was made waits for the next run of the workspace, after a run that
    succeeded; 0: not at all. The node of any other run is given back at once."""
    timeout_seconds: float = 3300.0
    """Longest wait until everything is gone; a pool that is still being made is waited for."""

    def __post_init__(self) -> None:
        problems = []
        if not self.run:
            problems.append("--run: empty; give the run's UID")
        if not self.timeout_seconds > 0:
            problems.append(f"--timeout-seconds: {self.timeout_seconds} is not above 0")
        if not self.keep_node_seconds >= 0:
            problems.append(f"--keep-node-seconds: {self.keep_node_seconds} is less than 0")
        problems += PROVIDERS[self.provider].cluster_problems(self)
        if problems:
            raise ParamsError(problems)


@dataclass(frozen=True, kw_only=True)
class Result:
    released: str
    """What was given back, with hours and cost where known, and what was kept, with its price;
    `nothing` where the nodes were there before the run."""
    kept_until: str
    """Until when a node waits for the next run of the workspace, as 2026-01-31T14:05:00Z; empty:
    none does."""
    node_hours: float | None
    """How long the run's nodes were there, together; empty: not known, or none was made."""
    cost_usd: float | None
    """What they cost by the known price; spot at most this. Empty: not known."""
