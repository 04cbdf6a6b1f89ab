"""What an identity has to be permitted to make agent pools of AKS, and what it lacks. Without
Azure's SDK: the command line reads what a pod found.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

REQUIRED = tuple(
    f"Microsoft.ContainerService/managedClusters/agentPools/{verb}"
    for verb in ("read", "write", "delete")
)
"""What makes and deletes agent pools, on the cluster."""
QUOTAS = "Microsoft.Compute/locations/usages/read"
SKUS = "Microsoft.Compute/skus/read"
"""What tells that a quota or a SKU will not do before it is asked for, on the subscription."""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What Azure said."""

    has_token: bool
    """Whether the pod was given a token of its account, as the workload identity webhook does."""
    refused: str = ""
    """Why Azure did not let the identity in, or did not answer; empty where it did."""
    is_login_refused: bool = False
    """Whether it is the identity that was refused, and no request of it."""
    may_pass: bool = False
    """Whether another try may be answered."""
    missing: tuple[str, ...] = ()
    """Required actions that the identity lacks on the cluster."""
    unknown: tuple[str, ...] = ()
    """Required actions of which Azure does not say whether the identity has them."""
    recommended: tuple[str, ...] = ()
    """Recommended actions that it lacks."""


def allows(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Whether one of the roles has the action: among its actions and not among its notActions,
    which take away from that role only. A star stands for any text; case does not count."""
    return any(
        _matches(role.get("actions") or (), action)
        and not _matches(role.get("notActions") or (), action)
        for role in permissions
    )


def _matches(patterns: Iterable[str], action: str) -> bool:
    # In fnmatch a star stands for slashes too; Azure's patterns have no other sign.
    return any(fnmatch.fnmatchcase(action.lower(), str(each).lower()) for each in patterns)
