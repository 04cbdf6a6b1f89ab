"""A check of quotas and SKUs before any request for a node.

A refusal by quota takes Azure minutes and a place in the queue of the cluster's operations; the
lists that decide it can be read in a second. They are a forecast: Azure decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.nodes.aks.classify import quota_exceeded
from argotune.steps.nodes.aks.quota import REGIONAL_QUOTA, SPOT_QUOTA, Quota
from argotune.steps.nodes.aks.refusals import SkuUnavailable, SkuUnsupported, ZoneUnsupported
from argotune.steps.nodes.errors import Busy, PlacementRefused
from argotune.steps.nodes.provider import Placement

_WHY = {
    "QuotaId": "the subscription's offer type does not include it; take another kind of "
    "subscription, or another SKU",
    "NotAvailableForSubscription": "Azure restricts it for this subscription; ask Azure's support "
    "for access, or take another SKU",
}


class Region(Protocol):
    """Source of the lists."""

    def usages(self, location: str) -> Sequence[Mapping[str, Any]]:
        """List the quotas of vCPUs."""
        ...

    def skus(self, location: str) -> Sequence[Mapping[str, Any]]:
        """List the SKUs."""
        ...


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The lists' answer for a placement."""

    placement: Placement
    quotas: tuple[Quota, ...]
    """The quotas that a node there counts against; empty where they cannot be read."""
    refusal: StepError | None
    """Why Azure will refuse the placement; None where nothing in the lists excludes it."""


class Preflight:
    """The lists of one region, read once."""

    def __init__(self, region: Region, location: str) -> None:
        self._location = location
        self._unseen: list[str] = []
        self._quotas = self._usages(region)
        self._skus = self._skus_of(region)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Why a list could not be read; a list that is not read excludes nothing."""
        return tuple(self._unseen)

    def forecast(self, placement: Placement) -> Forecast:
        """Forecast the answer for a placement; missing information excludes nothing."""
        if not self._skus:
            return Forecast(placement=placement, quotas=(), refusal=None)
        sku = self._skus.get(placement.instance_type.casefold())
        if sku is None:
            missing = SkuUnsupported(placement, f"{self._location} has no SKU of this name")
            return Forecast(placement=placement, quotas=(), refusal=missing)
        quotas = self._quotas_of(placement, sku)
        short = next((quota for quota in quotas if not quota.suffices), None)
        exceeded = quota_exceeded(short, ()) if short is not None else None
        refusal = _restriction(placement, sku) or exceeded
        return Forecast(placement=placement, quotas=quotas, refusal=refusal)

    def check(self, placement: Placement) -> None:
        """Raise PlacementRefused where a refusal is to be expected.

        It stands for this placement only, because every other one has its own forecast.
        """
        forecast = self.forecast(placement)
        if forecast.refusal is not None:
            raise PlacementRefused(f"not requested: {forecast.refusal}") from forecast.refusal

    def _usages(self, region: Region) -> dict[str, Mapping[str, Any]]:
        """Read the quotas of vCPUs by name in lower case."""
        try:
            found = region.usages(self._location)
        except (PermanentError, Busy) as error:
            self._unseen.append(f"quotas: {error}")
            return {}
        return {usage["name"]["value"].casefold(): usage for usage in found}

    def _skus_of(self, region: Region) -> dict[str, Mapping[str, Any]]:
        """Read the VM sizes by name in lower case."""
        try:
            found = region.skus(self._location)
        except (PermanentError, Busy) as error:
            self._unseen.append(f"SKUs: {error}")
            return {}
        machines = [sku for sku in found if sku.get("resourceType") == "virtualMachines"]
        return {str(sku["name"]).casefold(): sku for sku in machines}

    def _quotas_of(self, placement: Placement, sku: Mapping[str, Any]) -> tuple[Quota, ...]:
        spot = placement.capacity_type == "spot"
        names = [SPOT_QUOTA] if spot else [str(sku.get("family", "")), REGIONAL_QUOTA]
        usages = [self._quotas.get(name.casefold()) for name in names]
        return tuple(
            Quota(
                name=str(usage["name"]["value"]),
                location=self._location,
                needed=_vcpus(sku),
                left=int(usage["limit"]) - int(usage["currentValue"]),
                limit=int(usage["limit"]),
            )
            for usage in usages
            if usage is not None
        )


def _restriction(placement: Placement, sku: Mapping[str, Any]) -> StepError | None:
    for restriction in sku.get("restrictions") or []:
        code = str(restriction.get("reasonCode"))
        why = _WHY.get(code, code)
        if restriction.get("type") == "Location":
            return SkuUnsupported(placement, why)
        zones = (restriction.get("restrictionInfo") or {}).get("zones") or []
        if restriction.get("type") == "Zone" and placement.zone in zones:
            return ZoneUnsupported(placement, why)
    offered = [zone for info in sku.get("locationInfo") or [] for zone in info.get("zones") or []]
    if placement.zone and placement.zone not in offered:
        has = f"it is in {', '.join(sorted(offered))}" if offered else "it is in none here"
        return ZoneUnsupported(placement, has)
    wants_spot = placement.capacity_type == "spot"
    if wants_spot and _capability(sku, "LowPriorityCapable", "True") != "True":
        return SkuUnavailable(placement, "it is not offered as spot")
    return None


def _vcpus(sku: Mapping[str, Any]) -> int:
    text = _capability(sku, "vCPUs", "0")
    return int(text) if text.isdigit() else 0


def _capability(sku: Mapping[str, Any], name: str, default: str) -> str:
    for capability in sku.get("capabilities") or []:
        if capability.get("name") == name:
            return str(capability.get("value"))
    return default
