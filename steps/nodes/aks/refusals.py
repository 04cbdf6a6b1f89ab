"""Every known refusal of AKS as a class: its meaning, the next action, the message.

PermanentError: fail now. PlacementRefused: try the next alternative. Busy: wait. `classify.py`
assigns faults to the classes. The pool's region is the cluster's, so the next alternative is
another zone, another SKU or another capacity type, never another region.
"""

from __future__ import annotations

from collections.abc import Iterable

from argotune.steps.common.errors import PermanentError
from argotune.steps.nodes.aks.fault import Fault
from argotune.steps.nodes.aks.quota import Quota
from argotune.steps.nodes.errors import Busy, PlacementRefused
from argotune.steps.nodes.provider import Placement

ROLE_ACTIONS = "Microsoft.ContainerService/managedClusters/agentPools/read, /write and /delete"


class FamilyQuotaExceeded(PlacementRefused):
    """The vCPU quota of the SKU's family does not suffice: the next family may."""

    def __init__(self, quota: Quota, family: Iterable[str] = ()) -> None:
        super().__init__(
            str(quota), alike=("instance_type", "capacity_type"), instance_types=family
        )


class RegionalQuotaExceeded(PlacementRefused):
    """The region's vCPU quota suffices for no regular SKU; spot has a quota of its own."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(str(quota), alike=("capacity_type",))


class SpotQuotaExceeded(PlacementRefused):
    """The quota that all spot SKUs of a region share does not suffice: regular may."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(str(quota), alike=("capacity_type",))


class SkuUnavailable(PlacementRefused):
    """The region does not offer this SKU at this capacity type to this subscription now."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"{placement.instance_type} {placement.capacity_type} is not available: {why}",
            alike=("instance_type", "capacity_type"),
        )


class SkuUnsupported(PlacementRefused):
    """The subscription or the region does not offer this SKU at all."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"{placement.instance_type} is not offered to this subscription here: {why}",
            alike=("instance_type",),
        )


class ZoneUnsupported(PlacementRefused):
    """The zone does not offer the SKU: the next zone, or `any`, may."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"{placement.instance_type} is not in zone {placement.zone}: {why}; another zone, or "
            "`any` among the zones, may do",
            alike=("instance_type", "zone"),
        )


class ZoneFull(PlacementRefused):
    """The zone has no such machine free now."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(f"no machine for {placement} now: {why}", may_pass=True)


class RegionFull(PlacementRefused):
    """The region has no such machine free now."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"no machine for {placement} now: {why}",
            alike=("instance_type", "capacity_type"),
            may_pass=True,
        )


class PoolFailed(PlacementRefused):
    """The operation failed for an unknown reason; another SKU may succeed."""

    def __init__(self, placement: Placement, fault: Fault) -> None:
        super().__init__(f"AKS could not make the pool: {fault}", alike=("instance_type",))


class BootstrapFailed(PlacementRefused):
    """The machine started and did not become a node; twice, it is the network's fault."""

    def __init__(self, placement: Placement, fault: Fault) -> None:
        super().__init__(
            f"the machine did not become a node: {fault}; look at the cluster's outbound rules "
            "(https://aka.ms/aks-required-ports-and-addresses)",
            alike=(),
        )


class OperationInProgress(Busy):
    """AKS runs one operation of a cluster at a time, and starts some by itself."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"another operation of the cluster is in progress: {fault}",
            retry_after_seconds=fault.retry_after_seconds,
        )


class OperationPreempted(Busy):
    """A newer operation of the cluster replaced this one: try again when it has ended."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"another operation of the cluster came first: {fault}")


class Throttled(Busy):
    """Azure asks for fewer requests."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"Azure asks for fewer requests: {fault}",
            retry_after_seconds=fault.retry_after_seconds,
        )


class AzureAway(Busy):
    """A fault of Azure's side or of the network, which passes."""

    def __init__(self, why: object, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"Azure does not answer: {why}", retry_after_seconds=retry_after_seconds)


class PreemptedByDelete(PermanentError):
    """The cluster or the pool is being deleted."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the pool or its cluster is being deleted, and not by this run: {fault}")


class ImmutableProperty(PermanentError):
    """The pool exists with other properties than requested."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"AKS refuses to change the existing pool: {fault}; delete the pool, then run again"
        )


class NoCredential(PermanentError):
    """No identity is configured, or Entra refuses it."""

    def __init__(self, why: object) -> None:
        super().__init__(
            f"no Azure credential: {why}; give the step's ServiceAccount a workload identity "
            "(annotation azure.workload.identity/client-id, label azure.workload.identity/use)"
        )


class SecretExpired(PermanentError):
    """The service principal's secret has expired."""

    def __init__(self, fault: object) -> None:
        super().__init__(
            f"the client secret of the service principal has expired: {fault}; make a new one, or "
            "use a workload identity, which has none"
        )


class RoleMissing(PermanentError):
    """The identity lacks the right for this."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"a role is missing: {fault}; assign one with the actions {ROLE_ACTIONS} on the cluster"
        )


class LinkedRoleMissing(PermanentError):
    """The identity may change the cluster but not use a resource that the pool refers to."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"a role on a linked resource is missing: {fault}; for a subnet that is "
            "Microsoft.Network/virtualNetworks/subnets/join/action"
        )


class SubscriptionReadOnly(PermanentError):
    """The subscription is disabled: unpaid, over its limit, or expired."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the subscription is disabled and read only: {fault}; see its billing")


class ProviderNotRegistered(PermanentError):
    """The resource provider of AKS is not registered in the subscription."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"the subscription is not registered: {fault}; run "
            "`az provider register --namespace Microsoft.ContainerService`"
        )


class PolicyViolated(PermanentError):
    """An Azure Policy forbids the pool."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"an Azure Policy forbids the pool: {fault}; ask for an exemption from it")


class SubnetFull(PermanentError):
    """The nodes' subnet has no free addresses."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"the subnet has too few free addresses: {fault}; give a larger one by --aks-subnet-id"
        )


class ClusterMissing(PermanentError):
    """The cluster does not exist, or this identity may not see it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"Azure does not find the cluster: {fault}; look at --aks-cluster-id")


class RequestRefused(PermanentError):
    """Azure refuses the request for an unknown reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"AKS refuses the pool: {fault}")
