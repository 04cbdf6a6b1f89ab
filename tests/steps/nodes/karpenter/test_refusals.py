from __future__ import annotations

import pytest

from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.karpenter.refusals import refusal_of

NODE_CLASS = NodeClass.parse("AKSNodeClass/gpu")
ICE = "InsufficientCapacityError: NodeClaim gpu1 event: "
NO_TYPES = "all requested instance types were unavailable during launch"
QUOTA = (
    "creating instance failed, subscription level on-demand vCPU quota for "
    "Standard_NC24ads_A100_v4 has been reached (may try provision an alternative instance type)"
)


def refused(*warnings: str, seen: str = "", was_launched: bool = False) -> StepError:
    return refusal_of(
        warnings, seen=seen, is_gone=True, was_launched=was_launched, node_class=NODE_CLASS
    )


@pytest.mark.parametrize(
    ("warning", "kind", "alike", "may_pass"),
    [
        (f"{ICE}{NO_TYPES}", PlacementRefused, ("instance_type", "capacity_type", "zone"), True),
        (
            "AsyncProvisioningError: Failed to register: AllocationFailed",
            PlacementRefused,
            ("instance_type", "capacity_type", "zone"),
            True,
        ),
        (f"{ICE}{QUOTA}", PlacementRefused, ("capacity_type", "instance_type"), False),
        (
            f"{ICE}VcpuLimitExceeded: You have requested more vCPU capacity than your limit",
            PlacementRefused,
            ("capacity_type", "instance_type"),
            False,
        ),
        (
            f"{ICE}regional on-demand vCPU quota limit for subscription has been reached",
            PlacementRefused,
            ("capacity_type",),
            False,
        ),
        (
            f"{ICE}Operation could not be completed: approved LowPriorityCores quota",
            PlacementRefused,
            ("capacity_type",),
            False,
        ),
        (
            f"{ICE}MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
            PlacementRefused,
            ("capacity_type",),
            False,
        ),
    ],
)
def test_what_a_refusal_means_for_the_others(
    warning: str, kind: type[PlacementRefused], alike: tuple[str, ...], may_pass: bool
) -> None:
    error = refused(warning)
    assert type(error) is kind
    assert isinstance(error, PlacementRefused)
    assert (error.alike, error.may_pass) == (alike, may_pass)


@pytest.mark.parametrize(
    ("warnings", "kind", "message"),
    [
        (
            [
                "NodeClassResolutionError: Failed resolving NodeClass",
                f'{ICE}resolving node class, aksnodeclasses.karpenter.azure.com "gpu" not found',
            ],
            PermanentError,
            "AKSNodeClass gpu (karpenter.azure.com) does not exist or is being deleted: "
            "NodeClassResolutionError: Failed resolving NodeClass; InsufficientCapacityError: "
            'resolving node class, aksnodeclasses.karpenter.azure.com "gpu" not found; name '
            "another with --karpenter-node-class",
        ),
        (
            ["NodeClassNotReady: NodeClaim gpu1 event: images are not ready"],
            TransientError,
            "AKSNodeClass gpu is not ready: NodeClassNotReady: images are not ready; see `kubectl "
            "describe AKSNodeClass gpu`",
        ),
        (
            [f"{ICE}LinkedAuthorizationFailed: no access to the subnet"],
            PermanentError,
            "the cloud refuses Karpenter, whatever machine it asks for: InsufficientCapacityError: "
            "LinkedAuthorizationFailed: no access to the subnet; see its role assignments, "
            "policies and the subnet of AKSNodeClass gpu",
        ),
        (
            [],
            TransientError,
            "AKSNodeClass gpu is not ready: Karpenter deleted the claim and gave no reason; see "
            "`kubectl describe AKSNodeClass gpu`",
        ),
    ],
)
def test_what_no_other_placement_would_change(
    warnings: list[str], kind: type[StepError], message: str
) -> None:
    error = refused(*warnings)
    assert type(error) is kind
    assert str(error) == message


def test_a_condition_before_the_event_tells_the_cause() -> None:
    error = refused(f"{ICE}{NO_TYPES}", seen=f"Launched: CreateInstanceFailed: {QUOTA}")
    assert isinstance(error, PlacementRefused)
    assert not error.may_pass
    assert str(error) == (
        f"no quota: InsufficientCapacityError: {NO_TYPES}; last seen Launched: "
        f"CreateInstanceFailed: {QUOTA}"
    )


def test_warnings_of_every_deletion_are_no_reason() -> None:
    error = refused(
        "TerminationGracePeriodExpiring: All pods will be deleted by 2026-01-01T00:00:00Z",
        "UnregisteredTaintMissing: Missing karpenter.sh/unregistered taint",
        was_launched=True,
    )
    assert isinstance(error, PlacementRefused)
    assert error.may_pass
    assert str(error) == (
        "the claim was deleted when it had a machine: the cloud reclaimed a spot machine, or "
        "a person deleted the claim"
    )
