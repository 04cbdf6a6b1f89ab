"""Parameters and results of the release step."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.service_note import DuringTuning
from argotune.steps.nodes.providers import PROVIDERS, ClusterSettings, ProviderName


@dataclass(frozen=True, kw_only=True)
class Params(ClusterSettings):
    """Delete the nodes that provision created for this run, whether or not the run succeeded."""

    provider: ProviderName = "existing"
    """The provider that provision used."""
    run: str
    """UID of the run."""
    workflow: str = ""
    """Name of the run's Workflow, at which is written down until when the run had its node."""
    namespace: str = ""
    """Namespace of the Workflow."""
    workspace: str = "finetune"
    """Name of the workspace, whose service may have given its GPU to the run."""
    service_during_tuning: DuringTuning = "wait"
    """What provision was told: after cpu and hand-over the service gets its GPU back, unless the
    run has deployed its own adapter."""
    status: str = ""
    """Status of the run as Argo gives it to exit handlers: Succeeded, Failed or Error."""
    keep_node_seconds: float = 0.0
    """How long to keep a created node for the next run of the workspace, if this run succeeded;
    0: not at all. After any other status the node is deleted at once."""
    timeout_seconds: float = 3300.0
    """Longest wait for the deletion, including the wait for a pool that is still being created."""

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
    """Outputs of the release step."""

    released: str
    """The run's nodes with hours and cost if known: those that `watch` gave back, those that were
    deleted now, and kept ones with their price; `nothing` if no node was created for the run."""
    kept_until: str
    """Time until which a node is kept for the next run of the workspace, such as
    2026-01-31T14:05:00Z; empty: no node is kept."""
    node_hours: float | None
    """Total lifetime of the run's nodes, hours; empty: unknown, or no node was created."""
    cost_usd: float | None
    """Cost of these hours at the known price, an upper limit for spot. Empty: unknown."""
