"""The table that turns Azure's faults into refusals; the first row that matches decides.

Codes alone are ambiguous: OperationNotAllowed stands for a quota, for another operation in progress
and for a property that cannot change. Sources of the rows: AKS's and Compute's error reference
(learn.microsoft.com/troubleshoot/azure/azure-kubernetes/error-codes), and texts that users posted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from argotune.steps.common.errors import StepError
from argotune.steps.nodes.aks import refusals
from argotune.steps.nodes.aks.fault import Fault
from argotune.steps.nodes.aks.quota import REGIONAL_QUOTA, SPOT_QUOTA, Quota, quota_in
from argotune.steps.nodes.provider import Placement

Make = Callable[[Fault, Placement], StepError]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row matches a fault when all of its conditions do."""

    codes: str = ""
    """Regular expression that matches the whole of one of the codes; empty: any."""
    text: str = ""
    """Regular expression that occurs in the messages; empty: any."""
    statuses: Sequence[int] = ()
    """HTTP statuses; empty: any."""
    make: Make

    def holds(self, fault: Fault) -> bool:
        """Whether the row matches the fault."""
        if self.statuses and fault.status not in self.statuses:
            return False
        if self.codes and not any(re.fullmatch(self.codes, code) for code in fault.codes):
            return False
        return not self.text or re.search(self.text, fault.text, re.IGNORECASE) is not None


def refusal_of(fault: Fault, placement: Placement) -> StepError:
    """Return the refusal that a fault means for a placement."""
    row = next((row for row in ROWS if row.holds(fault)), None)
    if row is not None:
        return row.make(fault, placement)
    if fault.status >= 500 or fault.status == 408:
        return refusals.AzureAway(fault, fault.retry_after_seconds)
    if fault.status >= 400:
        return refusals.RequestRefused(fault)
    return refusals.PoolFailed(placement, fault)


def _quota_refusal(fault: Fault, placement: Placement) -> StepError:
    found = quota_in(fault.text)
    if found is None:
        return refusals.SkuUnavailable(placement, str(fault))
    return quota_exceeded(found, [placement.instance_type])


def quota_exceeded(quota: Quota, family: Sequence[str]) -> StepError:
    """Return the refusal for a kind of quota; `family` are the SKUs that count against it."""
    if quota.name.casefold() == SPOT_QUOTA.casefold():
        return refusals.SpotQuotaExceeded(quota)
    if quota.name.casefold() == REGIONAL_QUOTA:
        return refusals.RegionalQuotaExceeded(quota)
    return refusals.FamilyQuotaExceeded(quota, family)


def _zone_unsupported(fault: Fault, placement: Placement) -> StepError:
    if placement.zone is None:
        return refusals.SkuUnsupported(placement, str(fault))
    return refusals.ZoneUnsupported(placement, str(fault))


def _of(refusal: Callable[[Fault], StepError]) -> Make:
    """Return a row's action for a refusal that does not depend on the placement."""
    return lambda fault, placement: refusal(fault)


def _at(refusal: Callable[[Placement, str], StepError]) -> Make:
    """Return a row's action for a refusal of the placement, with Azure's text."""
    return lambda fault, placement: refusal(placement, str(fault))


ROWS: tuple[Row, ...] = (
    Row(text=r"AADSTS7000222", make=_of(refusals.SecretExpired)),
    Row(text=r"AADSTS\d+", make=_of(refusals.NoCredential)),
    Row(codes=r"LinkedAuthorizationFailed", make=_of(refusals.LinkedRoleMissing)),
    Row(codes=r"ReadOnlyDisabledSubscription", make=_of(refusals.SubscriptionReadOnly)),
    Row(codes=r"RequestDisallowedByPolicy", make=_of(refusals.PolicyViolated)),
    Row(
        codes=r"MissingSubscriptionRegistration|SubscriptionNotRegistered",
        make=_of(refusals.ProviderNotRegistered),
    ),
    Row(codes=r"InsufficientSubnetSize|SubnetIsFull", make=_of(refusals.SubnetFull)),
    Row(
        codes=r"Throttled|SubscriptionRequestsThrottled|TooManyRequests",
        make=_of(refusals.Throttled),
    ),
    Row(statuses=(429,), make=_of(refusals.Throttled)),
    Row(
        codes=r"AKSOperationPreemptedByDelete|OperationPreemptedByDelete",
        make=_of(refusals.PreemptedByDelete),
    ),
    Row(codes=r"(AKS)?OperationPreempted", make=_of(refusals.OperationPreempted)),
    Row(
        text=r"another agentpool operation|in[- ]progress|aks-pending-operation",
        codes=r"OperationNotAllowed|Conflict|AnotherOperationInProgress|OperationInProgress",
        make=_of(refusals.OperationInProgress),
    ),
    Row(
        codes=r"ErrCode_InsufficientVCPUQuota|InsufficientVCPUQuota|QuotaExceeded",
        make=_quota_refusal,
    ),
    Row(
        codes=r"OperationNotAllowed",
        text=r"exceeding approved .+ quota",
        make=_quota_refusal,
    ),
    Row(
        codes=r"OperationNotAllowed|PropertyChangeNotAllowed|InvalidParameter",
        text=r"not allowed to be changed|immutable|cannot be changed|changing property",
        make=_of(refusals.ImmutableProperty),
    ),
    Row(
        codes=r"ZonalAllocationFailed|OverconstrainedZonalAllocationRequest",
        make=_at(refusals.ZoneFull),
    ),
    Row(codes=r"AllocationFailed|OverconstrainedAllocationRequest", make=_at(refusals.RegionFull)),
    Row(codes=r"AvailabilityZoneNotSupported", make=_zone_unsupported),
    Row(codes=r"SkuNotAvailable", make=_at(refusals.SkuUnavailable)),
    Row(codes=r"VMSizeNotSupported", make=_at(refusals.SkuUnsupported)),
    Row(
        text=r"Virtual Machine size: .* is not supported|vm-size-selector",
        make=_at(refusals.SkuUnsupported),
    ),
    Row(
        codes=r"VMExtension\w*|\w*(OutboundConnFail|K8SAPIServerConnFail)\w*|ProvisioningTimeout",
        make=lambda fault, placement: refusals.BootstrapFailed(placement, fault),
    ),
    Row(
        text=r"VMExtension|OutboundConnFail|K8SAPIServerConnFail",
        make=lambda fault, placement: refusals.BootstrapFailed(placement, fault),
    ),
    Row(codes=r"AuthorizationFailed", make=_of(refusals.RoleMissing)),
    Row(statuses=(403,), make=_of(refusals.RoleMissing)),
    Row(statuses=(401,), make=_of(refusals.NoCredential)),
    Row(statuses=(409,), make=_of(refusals.OperationInProgress)),
    Row(statuses=(404,), make=_of(refusals.ClusterMissing)),
)
