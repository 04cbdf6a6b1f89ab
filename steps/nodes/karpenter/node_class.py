"""The node class of a NodeClaim, as a parameter names it, and what it can make.

Standard library only, because parameters are checked with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from argotune.steps.common.values import is_dns_subdomain

KNOWN_GROUPS: Mapping[str, str] = {
    "AKSNodeClass": "karpenter.azure.com",
    "EC2NodeClass": "karpenter.k8s.aws",
    "GCENodeClass": "karpenter.k8s.gcp",
    "KaitoNodeClass": "kaito.sh",
}
"""API groups of the node classes whose group may be left out."""
_KIND = re.compile(r"[A-Z][A-Za-z0-9]*")


@dataclass(frozen=True, kw_only=True)
class NodeClass:
    """The object of a cloud's own kind that tells Karpenter how to make machines."""

    group: str
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> NodeClass:
        """Read GROUP/KIND/NAME or KIND/NAME. Raises ValueError for another text."""
        if not text:
            raise ValueError(f"empty; give {_ACCEPTED}")
        parts = text.split("/")
        kind, name = parts[-2:] if len(parts) in (2, 3) else ("", "")
        group = parts[0] if len(parts) == 3 else KNOWN_GROUPS.get(kind, "")
        if not (_KIND.fullmatch(kind) and is_dns_subdomain(name)):
            raise ValueError(f"{text!r} is not {_ACCEPTED}")
        if not is_dns_subdomain(group):
            raise ValueError(f"{text!r} lacks the API group of {kind}; give GROUP/{kind}/{name}")
        return cls(group=group, kind=kind, name=name)

    @property
    def is_kaito(self) -> bool:
        """Whether Kaito's gpu-provisioner makes the machines; it supports less."""
        return self.kind == "KaitoNodeClass"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


_ACCEPTED = f"GROUP/KIND/NAME, or KIND/NAME of {', '.join(KNOWN_GROUPS)}"


def claim_problems(
    node_class: str,
    *,
    instance_types: Collection[str],
    disk_gib: int,
    capacity_types: Collection[str],
    zones: Collection[str],
) -> Iterator[str]:
    """Say why no claim can be made with this: the flag, its value, and what to do."""
    if not instance_types:
        yield "--instance-type: empty; a claim of provider karpenter needs a SKU"
    try:
        found = NodeClass.parse(node_class)
    except ValueError as error:
        yield f"--karpenter-node-class: {error}"
        return
    if not found.is_kaito:
        return
    if not disk_gib:
        yield f"--disk-gib: 0 with {found}, whose agent pools need the size of the disk"
    # gpu-provisioner makes a regular node in any zone, whatever the claim says.
    if "spot" in capacity_types:
        yield f"--capacity-types: spot with {found}, which makes regular nodes only"
    if set(zones) - {"any"}:
        yield f"--zones: {', '.join(zones)} with {found}, which does not choose zones"


def price_problem(spot_max_price_usd_per_hour: float) -> str:
    """Say why the price cannot be limited."""
    return (
        f"--spot-max-price-usd-per-hour: {spot_max_price_usd_per_hour:g}; Karpenter has no such "
        "limit, leave it out"
    )
