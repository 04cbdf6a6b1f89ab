"""Every refusal that is known, as the real SDK brings it from a server that answers with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.nodes.aks import refusals
from argotune.steps.nodes.aks.classify import ROWS, refusal_of
from argotune.steps.nodes.aks.fault import fault_of
from argotune.steps.nodes.aks.pool import pool_body, pool_name
from argotune.steps.nodes.aks.settings import AksSettings
from argotune.steps.nodes.errors import THIS_ONE, Busy, PlacementRefused
from argotune.steps.nodes.provider import Placement
from tests.fakes.arm import Creation, Fault
from tests.steps.nodes.aks.azure import A10, A100, RUN, Azure, placement, request

HERE = placement(capacity_type="spot", zone="1")
QUOTA_URL = "https://learn.microsoft.com/azure/quotas/per-vm-quota-requests"
COMPUTE_QUOTA = (
    "Operation could not be completed as it results in exceeding approved {name} quota. Additional "
    "details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: {limit}, "
    "Current Usage: {used}, Additional Required: 24, (Minimum) New Limit Required: 34. Submit a "
    "request for Quota increase at https://aka.ms/ProdportalCRP/?#blade/x"
)


def flat(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "message": message, **more}


def wrapped(code: str, message: str) -> dict[str, Any]:
    return {"error": flat(code, message)}


# (status, body, class, sentence)
AT_REQUEST: list[tuple[int, Mapping[str, Any] | str, type[StepError], str]] = [
    (
        400,
        flat(
            "ErrCode_InsufficientVCPUQuota",
            "Insufficient vcpu quota requested 24, remaining 6 for family "
            "standardNCADSA100v4Family for region northeurope.",
        ),
        refusals.FamilyQuotaExceeded,
        "quota standardNCADSA100v4Family in northeurope: 24 vCPUs needed, 6 left; ask for more "
        f"({QUOTA_URL})",
    ),
    (
        400,
        wrapped(
            "ErrCode_InsufficientVCPUQuota",
            "Insufficient regional vcpu quota left for location westus2. left regional vcpu quota "
            "4, requested quota 24",
        ),
        refusals.RegionalQuotaExceeded,
        f"quota cores in westus2: 24 vCPUs needed, 4 left; ask for more ({QUOTA_URL})",
    ),
    (
        400,
        flat("QuotaExceeded", "no numbers"),
        refusals.SkuUnavailable,
        f"{A100} spot is not available: QuotaExceeded: no numbers",
    ),
    (
        409,
        flat(
            "OperationNotAllowed",
            "Operation is not allowed: Another agentpool operation (nodepool1 - Creating) is in "
            "progress, please wait for it to finish before starting a new operation. See "
            "https://aka.ms/aks-pending-operation for more details",
        ),
        refusals.OperationInProgress,
        "another operation of the cluster is in progress: OperationNotAllowed: "
        "Operation is not allowed: "
        "Another agentpool operation (nodepool1 - Creating) is in progress, please wait for it to "
        "finish before starting a new operation. See https://aka.ms/aks-pending-operation for "
        "more details",
    ),
    (
        409,
        flat(
            "OperationNotAllowed",
            "Operation is not allowed because there's an in progress create node pool operation",
        ),
        refusals.OperationInProgress,
        "another operation of the cluster is in progress: OperationNotAllowed: "
        "Operation is not allowed "
        "because there's an in progress create node pool operation",
    ),
    (
        409,
        flat("EtagMismatch", "changed meanwhile"),
        refusals.OperationInProgress,
        "another operation of the cluster is in progress: EtagMismatch: changed meanwhile",
    ),
    (
        400,
        flat(
            "PropertyChangeNotAllowed",
            "Changing property 'properties.vmSize' is not allowed.",
        ),
        refusals.ImmutableProperty,
        "AKS refuses to change the existing pool: PropertyChangeNotAllowed: Changing property "
        "'properties.vmSize' is not allowed.; delete the pool, then run again",
    ),
    (
        400,
        flat("OperationNotAllowed", "Property osDiskSizeGB is immutable: old 128, new 256"),
        refusals.ImmutableProperty,
        "AKS refuses to change the existing pool: OperationNotAllowed: Property osDiskSizeGB "
        "is immutable: old 128, new 256; delete the pool, then run again",
    ),
    (
        400,
        flat("SkuNotAvailable", "The requested VM size is currently not available in westus2"),
        refusals.SkuUnavailable,
        f"{A100} spot is not available: SkuNotAvailable: The requested VM size is currently not "
        "available in westus2",
    ),
    (
        400,
        flat("VMSizeNotSupported", "not here"),
        refusals.SkuUnsupported,
        f"{A100} is not offered to this subscription here: VMSizeNotSupported: not here",
    ),
    (
        400,
        flat(
            "BadRequest",
            "Virtual Machine size: 'Standard_X' is not supported for subscription S in location "
            "'westus2'. The available VM sizes are at https://aka.ms/aks/vm-size-selector",
        ),
        refusals.SkuUnsupported,
        f"{A100} is not offered to this subscription here: BadRequest: Virtual Machine size: "
        "'Standard_X' is not supported for subscription S in location 'westus2'. The available VM "
        "sizes are at https://aka.ms/aks/vm-size-selector",
    ),
    (
        400,
        flat("AvailabilityZoneNotSupported", "The zone(s) '1' is not supported."),
        refusals.ZoneUnsupported,
        f"{A100} is not in zone 1: AvailabilityZoneNotSupported: The zone(s) '1' is not "
        "supported.; another zone, or `any` among the zones, may do",
    ),
    (
        429,
        flat(
            "Throttled",
            "The PutAgentPoolHandler.PUT request limit has been exceeded for SubID='S', please "
            "retry again in 60 seconds",
        ),
        refusals.Throttled,
        "Azure asks for fewer requests: Throttled: The PutAgentPoolHandler.PUT request limit has "
        "been exceeded for SubID='S', please retry again in 60 seconds",
    ),
    (
        429,
        wrapped("SubscriptionRequestsThrottled", "Number of requests exceeded the limit."),
        refusals.Throttled,
        "Azure asks for fewer requests: SubscriptionRequestsThrottled: Number of requests exceeded "
        "the limit.",
    ),
    (
        429,
        "slow down",
        refusals.Throttled,
        "Azure asks for fewer requests: slow down",
    ),
    (
        403,
        wrapped(
            "AuthorizationFailed",
            "The client 'c' with object id 'o' does not have authorization to perform action "
            "'Microsoft.ContainerService/managedClusters/agentPools/write' over scope 'x'",
        ),
        refusals.RoleMissing,
        "a role is missing: AuthorizationFailed: The client 'c' with object id 'o' does not have "
        "authorization to perform action "
        "'Microsoft.ContainerService/managedClusters/agentPools/write' over scope 'x'; assign one "
        "with the actions Microsoft.ContainerService/managedClusters/agentPools/read, /write and "
        "/delete on the cluster",
    ),
    (
        403,
        wrapped("LinkedAuthorizationFailed", "no right on the linked scope 'subnet'"),
        refusals.LinkedRoleMissing,
        "a role on a linked resource is missing: LinkedAuthorizationFailed: no right on the linked "
        "scope 'subnet'; for a subnet that is "
        "Microsoft.Network/virtualNetworks/subnets/join/action",
    ),
    (
        401,
        wrapped("ExpiredAuthenticationToken", "The access token expiry UTC time is in the past"),
        refusals.NoCredential,
        "no Azure credential: ExpiredAuthenticationToken: The access token expiry UTC time is in "
        "the past; give the step's ServiceAccount a workload identity (annotation "
        "azure.workload.identity/client-id, label azure.workload.identity/use)",
    ),
    (
        401,
        wrapped("invalid_client", "AADSTS7000222: The provided client secret keys are expired."),
        refusals.SecretExpired,
        "the client secret of the service principal has expired: invalid_client: AADSTS7000222: "
        "The provided client secret keys are expired.; make a new one, or use a workload "
        "identity, which has none",
    ),
    (
        409,
        wrapped("ReadOnlyDisabledSubscription", "The subscription 'S' is disabled."),
        refusals.SubscriptionReadOnly,
        "the subscription is disabled and read only: ReadOnlyDisabledSubscription: The "
        "subscription 'S' is disabled.; see its billing",
    ),
    (
        409,
        wrapped("MissingSubscriptionRegistration", "The subscription is not registered"),
        refusals.ProviderNotRegistered,
        "the subscription is not registered: MissingSubscriptionRegistration: The subscription is "
        "not registered; run `az provider register --namespace Microsoft.ContainerService`",
    ),
    (
        403,
        wrapped("RequestDisallowedByPolicy", "disallowed by policy 'allowed sizes'"),
        refusals.PolicyViolated,
        "an Azure Policy forbids the pool: RequestDisallowedByPolicy: disallowed by policy "
        "'allowed sizes'; ask for an exemption from it",
    ),
    (
        400,
        flat("InsufficientSubnetSize", "Pre-allocated IPs 31 exceeds IPs available 12"),
        refusals.SubnetFull,
        "the subnet has too few free addresses: InsufficientSubnetSize: Pre-allocated IPs 31 "
        "exceeds IPs available 12; give a larger one by --aks-subnet-id",
    ),
    (
        404,
        wrapped("ResourceGroupNotFound", "Resource group 'team' could not be found."),
        refusals.ClusterMissing,
        "Azure does not find the cluster: ResourceGroupNotFound: Resource group 'team' could not "
        "be found.; look at --aks-cluster-id",
    ),
    (
        400,
        flat("InvalidParameter", "The value of parameter x is invalid."),
        refusals.RequestRefused,
        "AKS refuses the pool: InvalidParameter: The value of parameter x is invalid.",
    ),
    (
        503,
        "<html>Service Unavailable</html>",
        refusals.AzureAway,
        "Azure does not answer: <html>Service Unavailable</html>",
    ),
    (
        500,
        wrapped("InternalServerError", "try again"),
        refusals.AzureAway,
        "Azure does not answer: InternalServerError: try again",
    ),
]

# (error of the operation, class, sentence)
IN_OPERATION: list[tuple[dict[str, Any], type[StepError], str]] = [
    (
        flat(
            "OperationNotAllowed",
            COMPUTE_QUOTA.format(name="standardNCADSA100v4Family Cores", limit=10, used=10),
        ),
        refusals.FamilyQuotaExceeded,
        "quota standardNCADSA100v4Family in westeurope: 24 vCPUs needed, 0 of 10 left; ask for "
        f"more ({QUOTA_URL})",
    ),
    (
        flat(
            "QuotaExceeded",
            COMPUTE_QUOTA.format(name="standardNCADSA100v4Family Cores", limit=0, used=0),
        ),
        refusals.FamilyQuotaExceeded,
        "quota standardNCADSA100v4Family in westeurope: 24 vCPUs needed, 0 of 0 left; it was never "
        f"granted; ask for more ({QUOTA_URL})",
    ),
    (
        flat("OperationNotAllowed", COMPUTE_QUOTA.format(name="LowPriorityCores", limit=3, used=1)),
        refusals.SpotQuotaExceeded,
        "quota lowPriorityCores in westeurope: 24 vCPUs needed, 2 of 3 left; ask for more "
        f"({QUOTA_URL})",
    ),
    (
        flat(
            "OperationNotAllowed",
            COMPUTE_QUOTA.format(name="Total Regional Cores", limit=30, used=20),
        ),
        refusals.RegionalQuotaExceeded,
        f"quota cores in westeurope: 24 vCPUs needed, 10 of 30 left; ask for more ({QUOTA_URL})",
    ),
    (
        flat("AKSOperationPreempted", "preempted by another operation"),
        refusals.OperationPreempted,
        "another operation of the cluster came first: AKSOperationPreempted: preempted by another "
        "operation",
    ),
    (
        flat("AKSOperationPreemptedByDelete", "preempted by delete"),
        refusals.PreemptedByDelete,
        "the pool or its cluster is being deleted, and not by this run: "
        "AKSOperationPreemptedByDelete: preempted by delete",
    ),
    (
        flat("ZonalAllocationFailed", "not enough in zone '1'"),
        refusals.ZoneFull,
        f"no machine for {HERE} now: ZonalAllocationFailed: not enough in zone '1'",
    ),
    (
        flat("OverconstrainedZonalAllocationRequest", "too many constraints"),
        refusals.ZoneFull,
        f"no machine for {HERE} now: OverconstrainedZonalAllocationRequest: too many constraints",
    ),
    (
        flat("AllocationFailed", "not enough in this region"),
        refusals.RegionFull,
        f"no machine for {HERE} now: AllocationFailed: not enough in this region",
    ),
    (
        flat("OverconstrainedAllocationRequest", "too many constraints"),
        refusals.RegionFull,
        f"no machine for {HERE} now: OverconstrainedAllocationRequest: too many constraints",
    ),
    (
        flat(
            "ReconcileVMSSAgentPoolFailed",
            "outer",
            details=[flat("AllocationFailed", "not enough in this region")],
        ),
        refusals.RegionFull,
        f"no machine for {HERE} now: AllocationFailed: not enough in this region",
    ),
    (
        flat(
            "CreateVMSSAgentPoolFailed",
            'Unable to establish: autorest/azure: StatusCode=0 Code="AllocationFailed" '
            'Message="not enough"',
        ),
        refusals.RegionFull,
        f"no machine for {HERE} now: AllocationFailed: Unable to establish: autorest/azure: "
        'StatusCode=0 Code="AllocationFailed" Message="not enough"',
    ),
    (
        flat(
            "InvalidTemplateDeployment",
            json.dumps(wrapped("SkuNotAvailable", "not in this region")),
        ),
        refusals.SkuUnavailable,
        f"{A100} spot is not available: SkuNotAvailable: not in this region",
    ),
    (
        flat("SubnetIsFull", "Subnet gpu is full"),
        refusals.SubnetFull,
        "the subnet has too few free addresses: SubnetIsFull: Subnet gpu is full; give a larger "
        "one by --aks-subnet-id",
    ),
    (
        flat("VMExtensionError_OutboundConnFail", "exit status 50"),
        refusals.BootstrapFailed,
        "the machine did not become a node: VMExtensionError_OutboundConnFail: exit status 50; "
        "look at the cluster's outbound rules "
        "(https://aka.ms/aks-required-ports-and-addresses)",
    ),
    (
        flat("VMExtensionError_K8SAPIServerConnFail", "exit status 51"),
        refusals.BootstrapFailed,
        "the machine did not become a node: VMExtensionError_K8SAPIServerConnFail: exit status "
        "51; look at the cluster's outbound rules "
        "(https://aka.ms/aks-required-ports-and-addresses)",
    ),
    (
        flat("VMExtensionProvisioningTimeout", "timed out"),
        refusals.BootstrapFailed,
        "the machine did not become a node: VMExtensionProvisioningTimeout: timed out; look at "
        "the cluster's outbound rules (https://aka.ms/aks-required-ports-and-addresses)",
    ),
    (
        flat("NobodyKnowsThis", "something new"),
        refusals.PoolFailed,
        "AKS could not make the pool: NobodyKnowsThis: something new",
    ),
]


def action(error: StepError) -> str:
    """What follows from the class."""
    if isinstance(error, Busy):
        return "wait"
    if isinstance(error, PlacementRefused):
        return "next"
    assert isinstance(error, PermanentError)
    return "fail"


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"), AT_REQUEST, ids=[row[2].__name__ for row in AT_REQUEST]
)
def test_a_refused_request_has_its_class_and_sentence(
    azure: Azure,
    status: int,
    body: Mapping[str, Any] | str,
    kind: type[StepError],
    sentence: str,
) -> None:
    azure.cloud.faults = [Fault("PUT", "agentPools", status, body)]
    asked = pool_body(request(), HERE, AksSettings(), 0.0)
    with pytest.raises(StepError) as caught:
        azure.arm.create(pool_name(RUN), asked, HERE)
    assert (type(caught.value), str(caught.value)) == (kind, sentence)
    assert len(azure.cloud.asked("PUT")) == 1


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    IN_OPERATION,
    ids=[f"{row[1].__name__}-{row[0]['code']}" for row in IN_OPERATION],
)
@pytest.mark.parametrize("says_operation", [True, False])
def test_a_failed_operation_has_its_class_and_sentence(
    azure: Azure,
    error: dict[str, Any],
    kind: type[StepError],
    sentence: str,
    says_operation: bool,
) -> None:
    azure.cloud.creations = [
        Creation(seconds=0, error=error, says_operation=says_operation, brings_node=False)
    ]
    name = pool_name(RUN)
    url = azure.arm.create(name, pool_body(request(), HERE, AksSettings(), 0.0), HERE)
    assert (url is not None) is says_operation
    if url is not None:
        operation = azure.arm.operation(url)
        assert operation is not None
        assert operation.fault is not None
        fault = operation.fault
    else:
        pool = azure.arm.get(name)
        assert pool is not None
        assert pool.status is not None
        fault = fault_of(pool.status.provisioning_error.as_dict())
    found = refusal_of(fault, HERE)
    assert (type(found), str(found)) == (kind, sentence)


def test_every_refusal_class_is_reached_by_a_case() -> None:
    known = {
        found
        for found in vars(refusals).values()
        if isinstance(found, type)
        and issubclass(found, StepError)
        and found.__module__ == refusals.__name__
    }
    reached = {row[2] for row in AT_REQUEST} | {row[1] for row in IN_OPERATION}
    assert len(known) > 20
    assert known == reached


def test_every_row_of_the_table_is_reached_by_a_case() -> None:
    faults = [fault_of(body, status=status) for status, body, _, _ in AT_REQUEST]
    faults += [fault_of(error) for error, _, _ in IN_OPERATION]
    faults += [
        fault_of(flat("invalid_grant", "AADSTS700016: no such application"), status=400),
        fault_of(flat("Forbidden", "the firewall of the cluster"), status=403),
        fault_of(flat("ProvisioningFailed", "vmssCSE: VMExtension returned 50")),
    ]
    first = [next((row for row in ROWS if row.holds(fault)), None) for fault in faults]
    assert [index for index, row in enumerate(ROWS) if row not in first] == []


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (
            {
                refusals.FamilyQuotaExceeded,
                refusals.RegionalQuotaExceeded,
                refusals.SpotQuotaExceeded,
                refusals.SkuUnavailable,
                refusals.SkuUnsupported,
                refusals.ZoneUnsupported,
                refusals.ZoneFull,
                refusals.RegionFull,
                refusals.PoolFailed,
                refusals.BootstrapFailed,
            },
            "next",
        ),
        (
            {
                refusals.OperationInProgress,
                refusals.OperationPreempted,
                refusals.Throttled,
                refusals.AzureAway,
            },
            "wait",
        ),
    ],
)
def test_the_action_of_each_class(kinds: set[type[StepError]], expected: str) -> None:
    bodies = [(status, body) for status, body, _, _ in AT_REQUEST]
    found = [refusal_of(fault_of(body, status=status), HERE) for status, body in bodies]
    found += [refusal_of(fault_of(error), HERE) for error, _, _ in IN_OPERATION]
    assert {type(error) for error in found if action(error) == expected} == kinds


@pytest.mark.parametrize(
    ("error", "ruled_out"),
    [
        ("AllocationFailed", {"spot 1", "spot 2"}),
        ("ZonalAllocationFailed", {"spot 1"}),
        ("SkuNotAvailable", {"spot 1", "spot 2"}),
        ("VMSizeNotSupported", {"spot 1", "spot 2", "regular 1"}),
        ("AvailabilityZoneNotSupported", {"spot 1", "regular 1"}),
        ("NobodyKnowsThis", {"spot 1", "spot 2", "regular 1"}),
        ("ProvisioningTimeout", {"spot 1", "spot 2", "regular 1", "other"}),
    ],
)
def test_what_a_refusal_rules_out(error: str, ruled_out: set[str]) -> None:
    others = {
        "spot 1": HERE,
        "spot 2": placement(capacity_type="spot", zone="2"),
        "regular 1": placement(zone="1"),
        "other": Placement(instance_type=A10, capacity_type="spot", zone="1"),
    }
    refusal = refusal_of(fault_of(flat(error, "")), HERE)
    assert isinstance(refusal, PlacementRefused)
    assert {name for name, other in others.items() if refusal.rules_out(HERE, other)} == ruled_out
    assert refusal.may_pass is (error in ("AllocationFailed", "ZonalAllocationFailed"))


def test_a_zone_that_nobody_asked_for_is_the_skus_fault() -> None:
    fault = fault_of(flat("AvailabilityZoneNotSupported", "no zones"))
    assert isinstance(refusal_of(fault, placement()), refusals.SkuUnsupported)


def test_the_default_refusal_stands_for_itself_only() -> None:
    assert PlacementRefused("x").alike == THIS_ONE


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "30"}, 30.0), ({"Retry-After": "9999"}, 120.0)]
)
def test_retry_after_is_kept_within_bounds(
    azure: Azure, headers: dict[str, str], seconds: float
) -> None:
    azure.cloud.faults = [Fault("GET", "agentPools", 429, flat("Throttled", "x"), headers)]
    with pytest.raises(Busy) as caught:
        azure.arm.get("gpu1")
    assert caught.value.retry_after_seconds == seconds
