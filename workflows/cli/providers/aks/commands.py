"""Provider aks, for the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console

from argotune.steps.cluster.kube import Kube
from argotune.steps.nodes.provider import Provider
from argotune.steps.nodes.providers import ProviderSettings, load_provider
from argotune.workflows.cli.checks.subject import Check
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.outlook.nodes import CLUSTER_FLAGS, Asked
from argotune.workflows.cli.providers.aks import doctor
from argotune.workflows.cli.providers.aks.settings import LOCATION
from argotune.workflows.cli.providers.description import ProviderCommands
from argotune.workflows.cli.remote.cluster import installed_setting
from argotune.workflows.workspace.planned import Planned


def _print_outlook(screen: Console, planned: Planned, asked: Asked) -> bool:
    cluster_id = planned.workspace.options.get("aks-cluster-id")
    if not cluster_id and asked.cluster is not None:
        cluster_id = installed_setting(asked.cluster, "aks-cluster-id")
    if not cluster_id:
        raise InputError(
            "--aks-cluster-id: missing; give what `az aks show --query id --output tsv` prints, or"
            f" an installation that has it, by {CLUSTER_FLAGS}"
        )
    with _azure_needed():
        # Azure's SDK takes a second to import, and need not be there.
        from argotune.workflows.cli.providers.aks.outlook import print_outlook

    return print_outlook(
        screen,
        planned,
        cluster_id=cluster_id,
        location=asked.flags.get(LOCATION),
        cluster=asked.cluster,
        dataset_tokens=asked.dataset_tokens,
    )


def _connect(kube: Kube, settings: ProviderSettings) -> Provider:
    with _azure_needed():
        return load_provider("aks", settings)


@contextlib.contextmanager
def _azure_needed() -> Iterator[None]:
    """Turn a missing package of Azure's into advice, around the import of provider aks."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CliError(
            f"provider aks needs {error.name}, of the extra `azure`: uv sync --extra azure, or"
            " pip install 'argotune[azure]'"
        ) from error


COMMANDS = ProviderCommands(
    checks=(Check("azure", "what Azure permits", doctor.rights, in_namespace=True),),
    print_outlook=_print_outlook,
    connect=_connect,
)
