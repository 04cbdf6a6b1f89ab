"""The SKU catalog and the published speeds, walked."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from argotune.presets.loader import (
    PRESETS_DIR,
    catalogs_of,
    published_speeds,
    sku,
    sku_catalogs,
    skus,
)
from argotune.presets.names import UnknownName
from argotune.presets.schema import Sku
from tests.presets.clouds import second_cloud

SKUS = skus()

# Kaito 0.12's SKUs that can tune: GPUs and total GPU memory in GiB.
KAITO_SKUS = {
    "Standard_NV36ads_A10_v5": (1, 24),
    "Standard_NV72ads_A10_v5": (2, 48),
    "Standard_NC24ads_A100_v4": (1, 80),
    "Standard_NC48ads_A100_v4": (2, 160),
    "Standard_NC96ads_A100_v4": (4, 320),
    "Standard_ND96asr_A100_v4": (8, 320),
    "Standard_ND96amsr_A100_v4": (8, 640),
    "Standard_NC40ads_H100_v5": (1, 94),
    "Standard_NCC40ads_H100_v5": (1, 94),
    "Standard_NC80adis_H100_v5": (2, 188),
    "Standard_ND96isr_H100_v5": (8, 640),
    "Standard_ND96isr_H200_v5": (8, 1128),
    "Standard_NG32ads_V620_v1": (1, 32),
    "Standard_NG32adms_V620_v1": (1, 32),
}
WITHOUT_BFLOAT16 = ("T4", "V100 16GB", "V100 32GB", "M60", "Radeon Instinct MI25")


def test_every_catalog_file_is_named_by_its_cloud() -> None:
    names = sorted(path.stem for path in (PRESETS_DIR / "skus").iterdir())
    assert [each.cloud for each in sku_catalogs()] == names
    assert len([each for each in SKUS if each.cloud == "azure"]) >= 25


def test_a_second_clouds_file_stands_beside_the_first(tmp_path: Path) -> None:
    catalogs = sku_catalogs(second_cloud(tmp_path))
    assert {"acme", "azure"} <= {each.cloud for each in catalogs}
    assert sku("Standard_NV36ads_A10_v5", catalogs).cloud == "azure"
    small, large = sku("ACME.small", catalogs), sku("acme.large", catalogs)
    assert (small.cloud, small.price_region, large.price_region) == ("acme", "north", "south")
    assert [each for each in skus(catalogs) if each not in SKUS] == [small, large]


def test_a_providers_machines_are_those_of_the_catalogs_that_name_it(tmp_path: Path) -> None:
    def clouds(provider: str) -> set[str]:
        return {each.cloud for each in catalogs_of(provider, sku_catalogs(second_cloud(tmp_path)))}

    assert clouds("acme-pools") == {"acme"}
    assert clouds("aks") == {"azure"}
    assert clouds("karpenter") >= {"acme", "azure"}
    assert clouds("existing") >= {"acme", "azure"}


@pytest.mark.parametrize("name", KAITO_SKUS)
def test_skus_of_kaito_are_known(name: str) -> None:
    gpus, total_gib = KAITO_SKUS[name]
    found = sku(name)
    assert (found.gpus, found.gpus * found.gpu_memory_gib) == (gpus, total_gib)


@pytest.mark.parametrize("entry", SKUS, ids=lambda entry: entry.name)
def test_sku_is_plausible(entry: Sku) -> None:
    assert entry.gpus in (1, 2, 4, 8)
    assert 8 <= entry.gpu_memory_gib <= 180
    assert entry.vcpus >= 4
    assert entry.memory_gib >= 16
    if entry.cloud == "azure":
        assert entry.name.startswith("Standard_N")
        assert entry.quota.lower().startswith("standard")
    if entry.vendor == "nvidia":
        assert entry.bfloat16 == (entry.gpu_model not in WITHOUT_BFLOAT16)
    if entry.price_usd_per_hour is not None:
        assert 0.3 < entry.price_usd_per_hour / entry.gpus < 15


def test_names_and_aliases_are_unique() -> None:
    names = [name.lower() for entry in SKUS for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_quick_start_sku_is_retired_and_has_no_bfloat16() -> None:
    old = sku("standard_nc6S_v3")
    assert old.retired == datetime.date(2025, 9, 30)
    assert not old.bfloat16
    assert old.price_usd_per_hour is None


def test_unknown_sku_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        sku("Standard_NC24ads_A100_v5")
    assert caught.value.nearest == "Standard_NC24ads_A100_v4"


def test_published_speeds_are_of_cards_whose_rate_is_known() -> None:
    speeds = published_speeds()
    assert speeds.anchors
    for anchor in speeds.anchors:
        assert anchor.gpu_model in speeds.bfloat16_tflops
        assert anchor.source
        assert 500 < anchor.tokens_per_second < 50_000


def test_rates_are_known_of_every_card_that_can_tune() -> None:
    cards = {entry.gpu_model for entry in SKUS if entry.bfloat16 and not entry.retired}
    assert len(cards) >= 5
    speeds = published_speeds()
    assert cards - speeds.bfloat16_tflops.keys() == set()
    assert speeds.memory_gb_per_second.keys() == speeds.bfloat16_tflops.keys()
