"""Where the GPU node of a planned run would come from, and whether it would come.

`argotune plan` prints it below its tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli.checks.all import findings_of
from argotune.workflows.cli.checks.finding import Level
from argotune.workflows.cli.checks.print import print_finding
from argotune.workflows.cli.checks.subject import Check, Subject
from argotune.workflows.cli.checks.workspace import needs_of
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.providers.description import PrintOutlook
from argotune.workflows.cli.providers.registry import load_commands
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.workspace.model import provider_of
from argotune.workflows.workspace.planned import Planned

CLUSTER_FLAGS = "-n NAMESPACE, --context NAME or --cluster"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The given flags."""

    cluster: Cluster | None
    """The cluster to look at; None: none was chosen."""
    flags: Mapping[str, str]
    """The given flags of providers, by name."""
    dataset_tokens: int | None
    """Tokens of the dataset, for the cost of the run."""


def print_outlook(screen: Console, planned: Planned, asked: Asked) -> bool:
    """Print whether a node would come, as far as can be seen.

    Raises CliError and StepError where nothing can be seen.
    """
    provider = provider_of(planned.workspace.options)
    if not PROVIDERS[provider].is_on_cluster:
        return True
    return load_commands(provider).print_outlook(screen, planned, asked)


def outlook_by(check: Check) -> PrintOutlook:
    """Return the outlook of a provider for which a doctor's check shows whether a node comes."""

    def print_findings(screen: Console, planned: Planned, asked: Asked) -> bool:
        provider, cluster = provider_of(planned.workspace.options), asked.cluster
        if cluster is None:
            raise InputError(
                f"--provider {provider}: say which cluster to look at, by {CLUSTER_FLAGS}"
            )
        subject = Subject(
            kube=cluster.kube,
            namespace=cluster.namespace,
            expected=(),
            needs=needs_of(planned, None),
        )
        findings = list(findings_of(check, subject))
        screen.print(f"GPU node by provider {provider}, as the cluster is now", style="bold")
        for finding in findings:
            print_finding(screen, finding)
        screen.print()
        return any(each.level is Level.OK for each in findings)

    return print_findings
