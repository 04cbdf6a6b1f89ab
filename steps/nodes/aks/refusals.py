"""Every refusal of AKS that is known, as a class: what it means, what to do next, what to say.

PermanentError: fail now. PlacementRefused: the next alternative. Busy: wait. Which class a fault
belongs to says `classify.py`. The pool's region is the cluster's, so the next alternative is
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
    """The vCPU quota of the SKU's family does not do: the next family may."""

    def __init__(self, quota: Quota, family: Iterable[str] = ()) -> None:
        super().__init__(
            str(quota), alike=("instance_type", "capacity_type"), instance_types=family
        )


class RegionalQuotaExceeded(PlacementRefused):
    """The region's vCPU quota does not do for any regular SKU; spot has a quota of its own."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(str(quota), alike=("capacity_type",))


class SpotQuotaExceeded(PlacementRefused):
    """The one quota that all spot SKUs of a region share does not do: regular may."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(str(quota), alike=("capacity_type",))


class SkuUnavailable(PlacementRefused):
    """The region does not give this SKU at this capacity type to this subscription now."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"{placement.instance_type} {placement.capacity_type} is not available: {why}",
            alike=("instance_type", "capacity_type"),
        )


class SkuUnsupported(PlacementRefused):
    """The subscription or the region does not have this SKU at all."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"{placement.instance_type} is not offered to this subscription here: {why}",
            alike=("instance_type",),
        )


class ZoneUnsupported(PlacementRefused):
    """The SKU is not in this zone: the next zone, or `any`, may do."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"{placement.instance_type} is not in zone {placement.zone}: {why}; another zone, or "
            "`any` among the zones, may do",
            alike=("instance_type", "zone"),
        )


class ZoneFull(PlacementRefused):
    """The zone has no such machine now."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(f"no machine for {placement} now: {why}", may_pass=True)


class RegionFull(PlacementRefused):
    """The region has no such machine now."""

    def __init__(self, placement: Placement, why: str) -> None:
        super().__init__(
            f"no machine for {placement} now: {why}",
            alike=("instance_type", "capacity_type"),
            may_pass=True,
        )


class PoolFailed(PlacementRefused):
    """The operation ended badly for a reason that is not known here; another SKU may do."""

    def __init__(self, placement: Placement, fault: Fault) -> None:
        super().__init__(f"AKS could not make the pool: {fault}", alike=("instance_type",))


class BootstrapFailed(PlacementRefused):
    """The machine came and did not become a node; worth one more try, then it is the network."""

    def __init__(self, placement: Placement, fault: Fault) -> None:
        super().__init__(
            f"the machine did not become a node: {fault}; look at the cluster's outbound rules "
            "(https://aka.ms/aks-required-ports-and-addresses)",
            alike=(),
        )


class OperationInProgress(Busy):
    """AKS does one thing at a time for a cluster, some of them of its own accord."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"another operation of the cluster goes on: {fault}",
            retry_after_seconds=fault.retry_after_seconds,
        )


class OperationPreempted(Busy):
    """A newer operation of the cluster took this one's place: again, once it is through."""

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
    """Azure's side or the network has a fault that passes."""

    def __init__(self, why: object, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"Azure does not answer: {why}", retry_after_seconds=retry_after_seconds)


class PreemptedByDelete(PermanentError):
    """Somebody deletes the cluster or the pool."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the pool or its cluster is being deleted by somebody: {fault}")


class ImmutableProperty(PermanentError):
    """The pool is there with other properties than asked for."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"AKS refuses to change the pool that is there: {fault}; delete the pool, then run "
            "again"
        )


class NoCredential(PermanentError):
    """There is no identity, or Entra refuses it."""

    def __init__(self, why: object) -> None:
        super().__init__(
            f"no Azure credential: {why}; give the step's ServiceAccount a workload identity "
            "(annotation azure.workload.identity/client-id, label azure.workload.identity/use)"
        )


class SecretExpired(PermanentError):
    """The service principal's secret is over."""

    def __init__(self, fault: object) -> None:
        super().__init__(
            f"the client secret of the service principal has expired: {fault}; make a new one, or "
            "use a workload identity, which has none"
        )


class RoleMissing(PermanentError):
    """The identity may not do this."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"a role is missing: {fault}; assign one with the actions {ROLE_ACTIONS} on the cluster"
        )


class LinkedRoleMissing(PermanentError):
    """The identity may change the cluster but not use something that the pool refers to."""

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
    """The subscription never used AKS' resource provider."""

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
    """The nodes' subnet has no addresses left."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"the subnet has too few free addresses: {fault}; give a larger one by --aks-subnet-id"
        )


class ClusterMissing(PermanentError):
    """There is no such cluster, or none that this identity may see."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"Azure does not find the cluster: {fault}; look at --aks-cluster-id")


class RequestRefused(PermanentError):
    """Azure does not take the request, for a reason that is not known here."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"AKS refuses the pool: {fault}")
