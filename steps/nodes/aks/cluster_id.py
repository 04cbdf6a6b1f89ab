"""The Azure resource ID of an AKS cluster.

Standard library only, because parameters are checked with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_EXAMPLE = (
    "/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ContainerService/"
    "managedClusters/NAME"
)
# Azure's rules for names; a name that passes is safe in a path. Azure ignores the case of IDs.
_PATTERN = re.compile(
    r"/subscriptions/(?P<subscription>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"
    r"/resourceGroups/(?P<group>[\w.()-]{0,89}[\w()-])"
    r"/providers/Microsoft\.ContainerService"
    r"/managedClusters/(?P<name>[a-z0-9](?:[\w-]{0,61}[a-z0-9])?)/?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class ClusterId:
    """The names that locate a cluster in Azure."""

    subscription: str
    """ID of the subscription."""
    group: str
    """Name of the resource group."""
    name: str
    """Name of the cluster."""

    @classmethod
    def parse(cls, text: str) -> ClusterId:
        """Read a resource ID. Raises ValueError when it is not one of a cluster."""
        if not text:
            raise ValueError("empty; give what `az aks show --query id --output tsv` prints")
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not {_EXAMPLE}")
        return cls(**match.groupdict())
