"""Who we are for Azure, and where Azure is.

ARGOTUNE_ARM_ENDPOINT: URL of Azure Resource Manager, for sovereign clouds, Azure Stack and tests;
the authority goes with it, in azure-identity's own AZURE_AUTHORITY_HOST.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from azure.identity import DefaultAzureCredential

from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.aks.arm import PUBLIC_CLOUD, Arm
from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.steps.nodes.aks.settings import AksSettings

ENDPOINT_VARIABLE = "ARGOTUNE_ARM_ENDPOINT"


def connect(settings: AksSettings, environment: Mapping[str, str] = os.environ) -> Arm:
    """The cluster's resource manager, by the first identity that there is: workload identity,
    service principal, managed identity, Azure CLI."""
    endpoint = environment.get(ENDPOINT_VARIABLE) or PUBLIC_CLOUD
    if not endpoint.startswith("https://"):
        raise ParamsError(f"{ENDPOINT_VARIABLE}: {endpoint!r} is not https://HOST")
    try:
        cluster = ClusterId.parse(settings.aks_cluster_id)
    except ValueError as error:
        raise ParamsError(f"--aks-cluster-id: {error}") from error
    # Only the public clouds' authorities are known to the place that would be asked about others.
    credential = DefaultAzureCredential(
        disable_instance_discovery=endpoint != PUBLIC_CLOUD,
        exclude_interactive_browser_credential=True,
    )
    return Arm(cluster, credential, endpoint=endpoint)
