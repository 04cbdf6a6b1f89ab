"""A vCPU quota in numbers, from a refusal's text or from Azure's list of usages."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MORE = "https://learn.microsoft.com/azure/quotas/per-vm-quota-requests"
SPOT_QUOTA = "lowPriorityCores"
REGIONAL_QUOTA = "cores"
"""Azure's names of the quotas of a whole region."""

# AKS's refusal of the request: with the family, or for the whole region.
_AT_REQUEST = re.compile(
    r"requested (?P<needed>\d+), remaining (?P<left>\d+) for family (?P<name>\S+) "
    r"for region (?P<location>[\w-]+)",
    re.IGNORECASE,
)
_REGIONAL_AT_REQUEST = re.compile(
    r"regional vcpu quota left for location (?P<location>[\w-]+)\. "
    r"left regional vcpu quota (?P<left>\d+), requested quota (?P<needed>\d+)",
    re.IGNORECASE,
)
# Compute's refusal in the operation.
_IN_OPERATION = re.compile(
    r"exceeding approved (?P<name>.+?) quota.*?Location: (?P<location>[\w-]+).*?"
    r"Current Limit: (?P<limit>\d+).*?Current Usage: (?P<used>\d+).*?"
    r"Additional Required: (?P<needed>\d+)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How many vCPUs a node needs and how many are left."""

    name: str
    """Azure's name: a SKU family, `cores` of the region, or `lowPriorityCores` of spot."""
    location: str
    needed: int
    left: int
    limit: int | None = None
    """None: the refusal does not contain it."""

    @property
    def suffices(self) -> bool:
        """Whether a node fits in what is left."""
        return self.left >= self.needed

    def __str__(self) -> str:
        limit = "" if self.limit is None else f" of {self.limit}"
        never = "; it was never granted" if self.limit == 0 else ""
        return (
            f"quota {self.name} in {self.location}: {self.needed} vCPUs needed, {self.left}{limit} "
            f"left{never}; ask for more ({_MORE})"
        )


def quota_in(text: str) -> Quota | None:
    """Read the quota that a refusal's text names; None without one."""
    for pattern in (_AT_REQUEST, _REGIONAL_AT_REQUEST, _IN_OPERATION):
        match = pattern.search(text)
        if match:
            return _quota(match.groupdict())
    return None


def _quota(found: dict[str, str]) -> Quota:
    limit = int(found["limit"]) if "limit" in found else None
    left = int(found["left"]) if limit is None else limit - int(found["used"])
    return Quota(
        name=_canonical(found.get("name", REGIONAL_QUOTA)),
        location=found["location"],
        needed=int(found["needed"]),
        left=left,
        limit=limit,
    )


def _canonical(name: str) -> str:
    """Write `standardNCADSA100v4Family Cores` or `Total Regional Cores` as the usages do."""
    plain = re.sub(r"\s*cores$", "", name.strip(), flags=re.IGNORECASE)
    if plain.casefold() in ("lowpriority", "total regional low-priority", "low priority"):
        return SPOT_QUOTA
    if plain.casefold() in ("total regional", "regional", ""):
        return REGIONAL_QUOTA
    return plain
