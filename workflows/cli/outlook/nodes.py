"""Where the GPU node of a planned run would come from, and whether it would come: what `argotune
plan` shows below its tables."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from argotune.workflows.cli.checks import gpus
from argotune.workflows.cli.checks.all import findings_of
from argotune.workflows.cli.checks.api import Api
from argotune.workflows.cli.checks.finding import Level
from argotune.workflows.cli.checks.print import print_finding
from argotune.workflows.cli.checks.subject import Check, Subject
from argotune.workflows.cli.checks.workspace import needs_of
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.extras import azure_needed
from argotune.workflows.cli.providers import karpenter
from argotune.workflows.cli.remote.cluster import Cluster, installed_parameter
from argotune.workflows.workspace.planned import Planned

_CHECKS = {
    "existing": Check("gpu", "the GPU nodes", gpus.nodes),
    "karpenter": Check("gpu", "Karpenter", karpenter.nodes),
}
_CLUSTER_FLAGS = "-n NAMESPACE, --context NAME or --cluster"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the flags say."""

    cluster: Cluster | None
    """The one to look at; None: none was chosen."""
    aks_location: str | None
    """Azure region; None: that of the cluster."""
    dataset_tokens: int | None
    """Tokens of the dataset, for what the run costs."""


def print_outlook(screen: Console, planned: Planned, asked: Asked) -> bool:
    """Show it; whether a node would come, as far as can be seen. Raises CliError and StepError
    where nothing can be seen."""
    provider = planned.workspace.options.get("provider") or "existing"
    if provider == "local":
        return True
    if provider == "aks":
        return _print_aks(screen, planned, asked)
    if asked.cluster is None:
        raise InputError(
            f"--provider {provider}: say which cluster to look at, by {_CLUSTER_FLAGS}"
        )
    return _print_findings(screen, planned, asked.cluster, provider)


def _print_aks(screen: Console, planned: Planned, asked: Asked) -> bool:
    cluster_id = planned.workspace.options.get("aks-cluster-id")
    if not cluster_id and asked.cluster is not None:
        cluster_id = installed_parameter(asked.cluster, "aks-cluster-id")
    if not cluster_id:
        raise InputError(
            "--aks-cluster-id: missing; give what `az aks show --query id --output tsv` prints, or"
            f" the installation that was told it, by {_CLUSTER_FLAGS}"
        )
    with azure_needed():
        # Azure's SDK takes a second to import, and need not be there.
        from argotune.workflows.cli.providers.aks import outlook as outlook_aks

    return outlook_aks.print_outlook(
        screen,
        planned,
        cluster_id=cluster_id,
        location=asked.aks_location,
        cluster=asked.cluster,
        dataset_tokens=asked.dataset_tokens,
    )


def _print_findings(screen: Console, planned: Planned, cluster: Cluster, provider: str) -> bool:
    """What the doctor says of the nodes."""
    subject = Subject(
        api=Api(cluster.api_client),
        namespace=cluster.namespace,
        expected=(),
        needs=needs_of(planned, None),
    )
    findings = list(findings_of(_CHECKS[provider], subject))
    screen.print(f"GPU node by provider {provider}, as the cluster is now", style="bold")
    for finding in findings:
        print_finding(screen, finding)
    screen.print()
    return any(each.level is Level.OK for each in findings)
