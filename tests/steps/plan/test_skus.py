"""Machines of several clouds: which of them a plan proposes."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.presets.loader import model_presets, sku, sku_catalogs
from argotune.presets.schema import SkuCatalog
from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.providers import MAKING_NODES
from argotune.steps.plan.hardware import card_of
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


@pytest.mark.parametrize("provider", ["existing", "karpenter"])
@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_a_named_cloud_is_the_one_whose_machines_are_proposed(provider: str, cloud: str) -> None:
    request = read_request(params(preset="phi-3-mini-4k-instruct", provider=provider, cloud=cloud))
    found = fits(request.job)
    assert {each.sku.cloud for each in found} == {cloud}
    assert any(each.choice for each in found)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"cloud": "ibm"}, "cloud: 'ibm'; accepted are aws, azure, gcp"),
        (
            {"cloud": "aws", "provider": "aks"},
            "cloud: aws; provider aks makes machines of azure",
        ),
        (
            {"cloud": "azure", "instance_type": "g5.4xlarge"},
            "instance-type: g5.4xlarge is a machine of aws; the run is in azure, as setting cloud, "
            "node class, nodes or instance type say",
        ),
    ],
)
def test_clouds_are_not_mixed(values: dict[str, str], problem: str) -> None:
    with pytest.raises(ParamsError) as caught:
        read_request(params(**values))
    assert caught.value.problems == [problem]


def test_an_unknown_machine_is_answered_with_those_of_the_cloud() -> None:
    with pytest.raises(ParamsError) as caught:
        read_request(params(cloud="gcp", instance_type="g2-standard-5"))
    (problem,) = caught.value.problems
    assert "did you mean g2-standard-" in problem
    assert "a3-ultragpu-8g" in problem
    assert "g5.xlarge" not in problem


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("preset", [each.name for each in model_presets()])
def test_every_preset_fits_on_a_machine_of_every_cloud_or_is_refused_with_its_reason(
    preset: str, method: str, cloud: str
) -> None:
    job = read_request(params(preset=preset, method=method, cloud=cloud, provider="existing")).job
    found = fits(job)
    assert len(found) == len(job.skus)
    for each in found:
        assert (each.choice is None) == bool(each.reason)
        if each.choice is not None:
            assert each.choice.memory.total_gb <= card_of(each.sku).usable_gb
    assert found[0].choice is not None


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
