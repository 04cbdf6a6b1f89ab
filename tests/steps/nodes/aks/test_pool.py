from __future__ import annotations

import re

import pytest
from azure.mgmt.containerservice.models import AgentPool

from argotune.steps.nodes.aks.pool import expiry_of, owner_of, pool_name, released_node
from argotune.steps.nodes.provider import ReleasedNode
from tests.steps.nodes.aks.azure import A100, EPOCH, RUN


def pool(tags: dict[str, str], **properties: object) -> AgentPool:
    body = {"name": "gpu1", "properties": {"vmSize": A100, "tags": tags, **properties}}
    return AgentPool(body)


def test_the_name_follows_from_the_run_and_is_one_that_aks_takes() -> None:
    names = {pool_name(f"run-{number}") for number in range(1000)} | {pool_name("")}
    assert len(names) == 1001
    assert all(re.fullmatch(r"[a-z][a-z0-9]{0,11}", name) for name in names)
    assert pool_name(RUN) == pool_name(RUN) == "gpu254dba131"


def test_a_pool_without_our_tag_has_no_owner() -> None:
    assert owner_of(pool({})) is None
    assert owner_of(pool({"argotune-workflow": "w"})) is None
    assert owner_of(AgentPool()) is None


@pytest.mark.parametrize("text", ["", "soon", "2026"])
def test_a_time_that_somebody_wrote_over_is_not_known(text: str) -> None:
    tags = {"argotune-expires": text, "argotune-created": text}
    assert expiry_of(pool(tags)) is None
    assert released_node(pool(tags), EPOCH) == ReleasedNode(
        what=f"agent pool gpu1 ({A100} regular)"
    )


def test_a_price_that_is_not_known_costs_nothing_that_could_be_said() -> None:
    tags = {"argotune-created": "2026-09-21T13:13:20Z", "argotune-price-usd-per-hour": "cheap"}
    assert str(released_node(pool(tags), EPOCH)) == f"agent pool gpu1 ({A100} regular) after 1.00 h"


def test_the_cost_of_spot_is_a_bound() -> None:
    tags = {"argotune-created": "2026-09-21T13:13:20Z", "argotune-price-usd-per-hour": "3.673"}
    found = released_node(pool(tags, scaleSetPriority="Spot", availabilityZones=["1"]), EPOCH)
    assert str(found) == (f"agent pool gpu1 ({A100} spot in zone 1) after 1.00 h, at most 3.67 USD")
