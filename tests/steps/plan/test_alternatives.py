"""The SKUs that a run tries after the one that is planned for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argotune.presets.loader import sku
from argotune.steps.common.fields import text_of
from argotune.steps.common.progress import Progress
from argotune.steps.plan.alternatives import MOST_ALTERNATIVES, MOST_PRICE_RATIO, alternatives
from argotune.steps.plan.planning import make_plan
from argotune.steps.plan.run import run
from tests.steps.plan.helpers import params

G5 = "g5.4xlarge"
A100 = "Standard_NC24ads_A100_v4"
A100_2 = "Standard_NC48ads_A100_v4"
H100 = "Standard_NC40ads_H100_v5"
H200_8 = "Standard_ND96isr_H200_v5"


def test_they_come_cheapest_first_up_to_twice_the_price() -> None:
    found = alternatives(params(preset="phi-3-mini-4k-instruct", instance_type=G5))
    assert found == ("g6.2xlarge", "g5.2xlarge", "g6.4xlarge")


def test_a_smaller_card_has_to_hold_the_batch_as_it_is_planned() -> None:
    small = params(preset="tiny", instance_type="a2-ultragpu-1g")
    assert alternatives(small) == ("g2-standard-8", "g2-standard-12", "g2-standard-16")
    assert make_plan(small).memory.total_gb < 20
    large = params(preset="qwen2.5-coder-32b-instruct", instance_type=A100)
    assert make_plan(large).memory.total_gb > 24
    assert alternatives(large) == (H100,)
    assert alternatives(replace(large, instance_type="a2-ultragpu-1g")) == ()


def test_the_tune_pod_fits_on_them() -> None:
    planned = params(preset="phi-3-mini-4k-instruct", instance_type=G5, tune_memory="50Gi")
    assert alternatives(planned) == ("g6.4xlarge", "g6.8xlarge", "g6e.2xlarge")


def test_they_have_as_many_gpus() -> None:
    found = alternatives(params(preset="phi-3-mini-4k-instruct", instance_type=A100_2))
    assert found
    assert {sku(name).gpus for name in found} == {2}


@pytest.mark.parametrize("name", [G5, A100, A100_2, H100, "a2-highgpu-1g"])
def test_none_costs_more_than_the_bound_or_is_confidential_or_the_planned_one(name: str) -> None:
    found = [sku(each) for each in alternatives(params(preset="tiny", instance_type=name))]
    assert 0 < len(found) <= MOST_ALTERNATIVES
    most = MOST_PRICE_RATIO * (sku(name).price_usd_per_hour or 0)
    assert all((each.price_usd_per_hour or most + 1) <= most for each in found)
    assert not any(each.confidential or each.retired or each.name == name for each in found)


def test_without_a_known_price_nothing_is_proposed() -> None:
    assert sku(H200_8).price_usd_per_hour is None
    assert alternatives(params(preset="tiny", instance_type=H200_8)) == ()


def test_where_no_sku_is_planned_for_there_is_no_other() -> None:
    assert alternatives(params(preset="tiny")) == ()


def test_the_step_hands_them_on_as_a_json_list() -> None:
    wanted = params(preset="phi-3-mini-4k-instruct", instance_type=G5)
    assert text_of(run(wanted, progress=Progress()).alternatives) == (
        '["g6.2xlarge", "g5.2xlarge", "g6.4xlarge"]'
    )
