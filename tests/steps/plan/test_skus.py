"""Machines of several clouds: which of them a plan proposes."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.presets.loader import sku, sku_catalogs
from argotune.presets.schema import SkuCatalog
from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.providers import MAKING_NODES
from argotune.steps.plan.request import read_request
from argotune.steps.plan.skus import describe, fits
from tests.presets.clouds import second_cloud
from tests.steps.plan.helpers import params

A10 = "Standard_NV36ads_A10_v5"


@pytest.fixture
def both(tmp_path: Path) -> tuple[SkuCatalog, ...]:
    return sku_catalogs(second_cloud(tmp_path))


def clouds(both: tuple[SkuCatalog, ...], **values: str) -> set[str]:
    request = read_request(params(preset="phi-3-mini-4k-instruct", **values), both)
    return {each.sku.cloud for each in fits(request.job)}


def test_a_named_machine_is_compared_with_those_of_its_cloud(
    both: tuple[SkuCatalog, ...],
) -> None:
    assert clouds(both, instance_type=A10, provider="karpenter") == {"azure"}
    assert clouds(both, instance_type="acme.small", provider="karpenter") == {"acme"}
    assert clouds(both, instance_type=A10, provider="existing") == {"azure"}


def test_a_provider_is_proposed_the_machines_that_it_makes(both: tuple[SkuCatalog, ...]) -> None:
    assert clouds(both, provider="aks") == {"azure"}
    assert clouds(both, provider="karpenter") >= {"acme", "azure"}


def test_catalogs_name_providers_that_make_nodes() -> None:
    named = {provider for catalog in sku_catalogs() for provider in catalog.providers}
    assert named
    assert named <= set(MAKING_NODES)


def test_each_machine_has_the_price_of_its_clouds_region(both: tuple[SkuCatalog, ...]) -> None:
    found = sku("acme.small", both)
    assert describe(found) == "acme.small (A10, 24 GiB, 1.5 USD/h in north)"


def test_a_machine_of_another_cloud_than_the_providers_is_refused(
    both: tuple[SkuCatalog, ...],
) -> None:
    with pytest.raises(ParamsError) as caught:
        read_request(params(provider="aks", instance_type="acme.small"), both)
    assert caught.value.problems == [
        "instance-type: acme.small is a machine of acme; provider aks makes machines of azure"
    ]
