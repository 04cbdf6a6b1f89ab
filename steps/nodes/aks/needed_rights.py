"""The rights that an identity needs to make agent pools of AKS, and those that it lacks.

This module does without Azure's SDK, because the command line reads what a pod found.
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
"""Actions that make and delete agent pools, on the cluster."""
QUOTAS = "Microsoft.Compute/locations/usages/read"
SKUS = "Microsoft.Compute/skus/read"
"""Action on the subscription, with which a quota or SKU that does not suffice is seen in
advance."""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """Azure's answer about an identity."""

    has_token: bool
    """Whether the pod has a token of its account, which the workload identity webhook gives it."""
    refused: str = ""
    """Why Azure refused the identity or did not answer; empty where it answered."""
    is_login_refused: bool = False
    """Whether Azure refused the identity itself rather than one of its requests."""
    may_pass: bool = False
    """Whether another try may succeed."""
    missing: tuple[str, ...] = ()
    """Required actions that the identity lacks on the cluster."""
    unknown: tuple[str, ...] = ()
    """Required actions about which Azure gives no answer."""
    recommended: tuple[str, ...] = ()
    """Recommended actions that it lacks."""


def allows(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Whether one of the roles permits the action.

    A role permits what is among its actions and not among its notActions, which restrict that role
    only. A star stands for any text; case is ignored.
    """
    return any(
        _matches(role.get("actions") or (), action)
        and not _matches(role.get("notActions") or (), action)
        for role in permissions
    )


def _matches(patterns: Iterable[str], action: str) -> bool:
    # In fnmatch a star stands for slashes too; Azure's patterns have no other sign.
    return any(fnmatch.fnmatchcase(action.lower(), str(each).lower()) for each in patterns)
