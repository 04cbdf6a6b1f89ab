"""An Azure to which this machine is logged in, with lists of SKUs and quotas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.nodes.aks.connect import ENDPOINT_VARIABLE
from tests.fakes import arm
from tests.fakes.tls import self_signed, server_context

CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
A100 = "Standard_NC24ads_A100_v4"
H100 = "Standard_NC40ads_H100_v5"
_FAMILIES = {
    A100: ("StandardNCADSA100v4Family", 24),
    H100: ("StandardNCadsH100v5Family", 40),
}


@contextmanager
def azure(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[arm.Cloud]:
    """As a workload identity; the region has quota for everything."""
    certificate, key = self_signed(directory, ["127.0.0.1"])
    token_file = directory / "token"
    token_file.write_text("projected token")
    cloud = arm.Cloud(
        creation=arm.Creation(seconds=0.0),
        delete_seconds=0.0,
        skus=[sku(name) for name in _FAMILIES],
        usages=[
            usage("cores", 20, 100),
            usage("lowPriorityCores", 0, 100),
            usage("StandardNCADSA100v4Family", 0, 48),
            usage("StandardNCadsH100v5Family", 0, 80),
        ],
    )
    with arm.serving(cloud, server_context(certificate, key)) as url:
        environment = {
            ENDPOINT_VARIABLE: url,
            "AZURE_AUTHORITY_HOST": url,
            "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
            "AZURE_CLIENT_ID": "66666666-7777-8888-9999-000000000000",
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "REQUESTS_CA_BUNDLE": str(certificate),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield cloud


def usage(name: str, used: int, limit: int) -> dict[str, Any]:
    return {"currentValue": used, "limit": limit, "name": {"value": name}}


def sku(name: str, **changes: Any) -> dict[str, Any]:
    family, vcpus = _FAMILIES[name]
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "family": family,
        "locationInfo": [{"location": "eastus", "zones": ["1", "2"]}],
        "capabilities": [
            {"name": "vCPUs", "value": str(vcpus)},
            {"name": "LowPriorityCapable", "value": "True"},
        ],
        "restrictions": [],
        **changes,
    }


def set_quota(cloud: arm.Cloud, name: str, used: int, limit: int) -> None:
    """Another state of one quota."""
    others = [each for each in cloud.usages if each["name"]["value"] != name]
    cloud.usages = [*others, usage(name, used, limit)]
