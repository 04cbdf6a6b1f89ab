"""The one list of the providers that the command line supports. Cheap to import.

To add one, write its module beside `karpenter` or its package beside `aks`, and name it here.
"""

from __future__ import annotations

import importlib

from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli.providers.aks.settings import AKS
from argotune.workflows.cli.providers.data import DATA_IDENTITIES
from argotune.workflows.cli.providers.description import Entry, Identity, ProviderCommands

ENTRIES = {
    each.name: each
    for each in (
        Entry(name="existing", module="existing"),
        Entry(name="karpenter", module="karpenter"),
        AKS,
    )
}
"""In the order of doctor and gc: first those that need no login to a cloud."""
CLUSTER_PROVIDERS = tuple(name for name, each in PROVIDERS.items() if each.is_on_cluster)
"""Names of those whose nodes belong to a cluster."""


def load_commands(name: str) -> ProviderCommands:
    """Import the commands' part of this provider."""
    module = importlib.import_module(f"{__package__}.{ENTRIES[name].module}")
    commands: ProviderCommands = module.COMMANDS
    return commands


def identities() -> tuple[Identity, ...]:
    """List the identities towards all clouds: those that make nodes, and those that read data."""
    of_nodes = (each.identity for each in ENTRIES.values() if each.identity is not None)
    return (*of_nodes, *DATA_IDENTITIES)
