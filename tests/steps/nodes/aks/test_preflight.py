from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.common.errors import CapacityError
from argotune.steps.nodes.aks import refusals
from argotune.steps.nodes.aks.preflight import Preflight
from argotune.steps.nodes.aks.settings import AksSettings
from tests.fakes.arm import Creation, Fault
from tests.steps.nodes.aks.azure import (
    A10,
    A100,
    CLUSTER_ID,
    H100,
    Azure,
    placement,
)

A100_FAMILY = "StandardNCADSA100v4Family"
A10_FAMILY = "StandardNVADSA10v5Family"


def usage(name: str, used: int, limit: int) -> dict[str, Any]:
    """As in Compute's example Usage_List."""
    return {
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": name},
    }


def sku(name: str, family: str, vcpus: int, **changes: Any) -> dict[str, Any]:
    """As in Compute's example ListAvailableResourceSkusForARegion."""
    spot = changes.pop("spot", "True")
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "family": family,
        "locations": ["eastus"],
        "locationInfo": [{"location": "eastus", "zones": ["2", "1"]}],
        "capabilities": [
            {"name": "vCPUs", "value": str(vcpus)},
            {"name": "LowPriorityCapable", "value": spot},
        ],
        "restrictions": [],
        **changes,
    }


@pytest.fixture
def region(azure: Azure) -> Azure:
    """A region with quota and machines for everything."""
    azure.settings = AksSettings(aks_cluster_id=CLUSTER_ID, aks_location="eastus")
    azure.cloud.skus = [
        {"resourceType": "disks", "name": A100},
        sku(A100, A100_FAMILY, 24),
        sku(A10, A10_FAMILY, 36),
    ]
    azure.cloud.usages = [
        usage("cores", 20, 100),
        usage("lowPriorityCores", 0, 100),
        usage("standardNCADSA100v4Family", 0, 48),
        usage("standardNVADSA10v5Family", 0, 72),
    ]
    return azure


def refusal(region: Azure, name: str = A100, **changes: Any) -> tuple[type[Exception] | None, str]:
    found = Preflight(region.arm, "eastus").forecast(placement(name, **changes)).refusal
    return (None, "") if found is None else (type(found), str(found))


def limit(region: Azure, name: str, used: int, most: int) -> None:
    kept = [each for each in region.cloud.usages if each["name"]["value"] != name]
    region.cloud.usages = [*kept, usage(name, used, most)]


def restrict(region: Azure, **restriction: Any) -> None:
    region.cloud.skus[1]["restrictions"] = [restriction]


def test_nothing_speaks_against_a_sku_with_quota(region: Azure) -> None:
    forecast = Preflight(region.arm, "eastus").forecast(placement(A100.lower(), zone="1"))
    assert forecast.refusal is None
    assert [(q.name, q.needed, q.left, q.limit) for q in forecast.quotas] == [
        ("standardNCADSA100v4Family", 24, 48, 48),
        ("cores", 24, 80, 100),
    ]


def test_spot_counts_against_one_quota_only(region: Azure) -> None:
    limit(region, "standardNCADSA100v4Family", 48, 48)
    limit(region, "cores", 100, 100)
    assert refusal(region, capacity_type="spot") == (None, "")
    limit(region, "lowPriorityCores", 0, 3)
    kind, text = refusal(region, capacity_type="spot")
    assert kind is refusals.SpotQuotaExceeded
    assert text.startswith("quota lowPriorityCores in eastus: 24 vCPUs needed, 3 of 3 left; ask")


def test_a_full_family_and_a_full_region_are_told_apart(region: Azure) -> None:
    limit(region, "cores", 90, 100)
    assert refusal(region)[0] is refusals.RegionalQuotaExceeded
    limit(region, "standardNCADSA100v4Family", 30, 48)
    kind, text = refusal(region)
    assert kind is refusals.FamilyQuotaExceeded
    assert "24 vCPUs needed, 18 of 48 left" in text


def test_a_quota_that_was_never_granted_says_so(region: Azure) -> None:
    limit(region, "standardNCADSA100v4Family", 0, 0)
    assert "0 of 0 left; it was never granted; ask for more" in refusal(region)[1]


def test_a_sku_that_the_region_does_not_have_is_named(region: Azure) -> None:
    assert refusal(region, H100) == (
        refusals.SkuUnsupported,
        f"{H100} is not offered to this subscription here: eastus has no SKU of this name",
    )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            "QuotaId",
            "the subscription's offer type does not include it; take another kind of "
            "subscription, or another SKU",
        ),
        (
            "NotAvailableForSubscription",
            "Azure restricts it for this subscription; ask Azure's support for access, or take "
            "another SKU",
        ),
        ("Newer", "Newer"),
    ],
)
def test_a_restriction_of_the_subscription_says_what_to_do(
    region: Azure, code: str, why: str
) -> None:
    restrict(region, type="Location", values=["eastus"], reasonCode=code)
    assert refusal(region) == (
        refusals.SkuUnsupported,
        f"{A100} is not offered to this subscription here: {why}",
    )


def test_a_restriction_of_a_zone_is_one_of_that_zone_only(region: Azure) -> None:
    restrict(
        region,
        type="Zone",
        restrictionInfo={"locations": ["eastus"], "zones": ["1"]},
        reasonCode="NotAvailableForSubscription",
    )
    assert refusal(region, zone="1")[0] is refusals.ZoneUnsupported
    assert refusal(region, zone="2") == (None, "")
    assert refusal(region) == (None, "")


def test_a_zone_that_the_sku_is_not_in_is_refused_with_those_that_it_is_in(region: Azure) -> None:
    assert refusal(region, zone="3") == (
        refusals.ZoneUnsupported,
        f"{A100} is not in zone 3: it is in 1, 2; another zone, or `any` among the zones, may do",
    )


def test_a_sku_that_is_never_spot_is_refused_as_spot(region: Azure) -> None:
    region.cloud.skus[1] = sku(A100, A100_FAMILY, 24, spot="False")
    assert refusal(region, capacity_type="spot") == (
        refusals.SkuUnavailable,
        f"{A100} spot is not available: it is not offered as spot",
    )


def test_what_the_lists_speak_against_is_not_asked_for(region: Azure) -> None:
    limit(region, "standardNCADSA100v4Family", 48, 48)
    node = region.provision(instance_types=(A100, A10), capacity_types=("regular",))
    assert node.placement == placement(A10)
    assert node.tried[0].outcome.startswith("not requested: quota standardNCADSA100v4Family")
    assert len(region.cloud.asked("PUT")) == 1


def test_a_forecast_stands_for_its_own_placement_only(region: Azure) -> None:
    limit(region, "cores", 80, 100)
    region.cloud.skus[2] = sku(A10, A10_FAMILY, 12)
    node = region.provision(instance_types=(A100, A10))
    assert node.placement == placement(A10)


def test_when_everything_is_refused_no_money_is_spent(region: Azure) -> None:
    limit(region, "cores", 100, 100)
    with pytest.raises(CapacityError) as caught:
        region.provision(instance_types=(A100, A10))
    assert str(caught.value).count("quota cores in eastus") == 2
    assert region.cloud.asked("PUT") == []
    assert region.time.seconds == 0


def test_the_lists_are_read_once_and_only_for_a_new_pool(region: Azure) -> None:
    region.cloud.creations = [Creation(error={"code": "SkuNotAvailable", "message": "no"})]
    region.provision(instance_types=(A100, A10))
    assert len([each for each in region.cloud.requests if "/usages?" in each]) == 2
    before = len(region.cloud.requests)
    region.provision(instance_types=(A100, A10))
    assert not any("Compute" in each for each in region.cloud.requests[before:])


def test_without_the_right_to_look_it_goes_on(
    region: Azure, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"error": {"code": "AuthorizationFailed", "message": "no right to read usages"}}
    region.cloud.faults = [Fault("GET", "Microsoft.Compute", 403, body, times=9)]
    assert region.provision().name
    said = [record.message for record in caplog.records if "not-all-of-preflight" in record.message]
    assert [text.partition('reason="')[2].partition(":")[0] for text in said] == ["quotas", "SKUs"]


def test_what_could_not_be_read_is_said_and_the_rest_is_used(region: Azure) -> None:
    body = {"error": {"code": "AuthorizationFailed", "message": "no right to read usages"}}
    region.cloud.faults = [Fault("GET", "/usages", 403, body)]
    restrict(region, type="Location", values=["eastus"], reasonCode="QuotaId")
    preflight = Preflight(region.arm, "eastus")
    (said,) = preflight.unseen
    assert said.startswith(
        "quotas: a role is missing: AuthorizationFailed: no right to read usages"
    )
    forecast = preflight.forecast(placement())
    assert forecast.quotas == ()
    assert isinstance(forecast.refusal, refusals.SkuUnsupported)


def test_the_region_is_that_of_the_clusters_nodes(region: Azure) -> None:
    region.settings = AksSettings(aks_cluster_id=CLUSTER_ID)
    labels = {"topology.kubernetes.io/region": "eastus"}
    region.cluster.nodes = [{"metadata": {"name": "cpu-1", "labels": labels}}]
    limit(region, "standardNCADSA100v4Family", 48, 48)
    assert region.provision(instance_types=(A100, A10)).placement == placement(A10)
    assert any("locations/eastus/usages" in each for each in region.cloud.requests)


def test_azure_says_the_region_of_the_cluster(region: Azure) -> None:
    region.cloud.location = "westeurope"
    assert region.arm.location() == "westeurope"


def test_a_list_that_leads_elsewhere_is_not_followed(region: Azure) -> None:
    page = {"value": [], "nextLink": "https://evil.example/next"}
    region.cloud.faults = [Fault("GET", "usages", 200, page)]
    assert region.arm.usages("eastus") == []
    assert region.arm.operation("https://evil.example/operations/1") is None
    assert len(region.cloud.requests) == 1
