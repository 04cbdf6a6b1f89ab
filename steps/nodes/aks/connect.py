"""The identity towards Azure, and the endpoint of Azure Resource Manager.

ARGOTUNE_ARM_ENDPOINT is the URL of Azure Resource Manager, for sovereign clouds, Azure Stack and
tests; the authority that belongs to it is azure-identity's own AZURE_AUTHORITY_HOST.
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
    """Connect to the cluster's resource manager with the first identity that is configured.

    The order is: workload identity, service principal, managed identity, Azure CLI. Raises
    PermanentError where the endpoint or the cluster's ID is malformed.
    """
    endpoint = environment.get(ENDPOINT_VARIABLE) or PUBLIC_CLOUD
    if not endpoint.startswith("https://"):
        raise ParamsError(f"{ENDPOINT_VARIABLE}: {endpoint!r} is not https://HOST")
    try:
        cluster = ClusterId.parse(settings.aks_cluster_id)
    except ValueError as error:
        raise ParamsError(f"--aks-cluster-id: {error}") from error
    # The instance discovery service knows only the authorities of public clouds.
    credential = DefaultAzureCredential(
        disable_instance_discovery=endpoint != PUBLIC_CLOUD,
        exclude_interactive_browser_credential=True,
    )
    return Arm(cluster, credential, endpoint=endpoint)
