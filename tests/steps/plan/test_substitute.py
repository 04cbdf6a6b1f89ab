"""Another SKU for one that cannot be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.plan.planning import make_plan
from argotune.steps.plan.substitute import find_substitution
from tests.steps.plan.helpers import config, params


def test_quick_starts_retired_sku_gets_the_nearest_that_fits() -> None:
    wanted = params(preset="phi-3-mini-128k-instruct", instance_type="standard_nc6s_v3")
    found = find_substitution(wanted)
    assert found is not None
    assert (found.old, found.new) == ("Standard_NC6s_v3", "Standard_NC24ads_A100_v4")
    assert found.retired
    assert found.reason == (
        "Standard_NC6s_v3 cannot be used: retired by the cloud on 2025-09-30; the nearest that "
        "fits is Standard_NC24ads_A100_v4 (A100 80GB, 80 GiB, 3.673 USD/h in eastus)"
    )
    assert (
        make_plan(replace(wanted, instance_type=found.new)).hardware.instance_type
        == "Standard_NC24ads_A100_v4"
    )


@pytest.mark.parametrize(
    ("preset", "method", "old", "new"),
    [
        ("tiny", "qlora", "Standard_NC4as_T4_v3", "Standard_NC24ads_A100_v4"),
        ("phi-4", "lora", "g5.8xlarge", "g6e.xlarge"),
        ("qwen2.5-coder-32b-instruct", "qlora", "g5.12xlarge", "g6e.xlarge"),
        ("phi-4", "lora", "g2-standard-8", "a2-highgpu-1g"),
    ],
)
def test_sku_on_offer_that_cannot_do_it_is_no_retired_one(
    preset: str, method: str, old: str, new: str
) -> None:
    wanted = params(preset=preset, method=method, instance_type=old)
    found = find_substitution(wanted)
    assert found is not None
    assert (found.old, found.new, found.retired) == (old, new, False)
    assert make_plan(replace(wanted, instance_type=found.new)).hardware.instance_type == new


@pytest.mark.parametrize("instance_type", [None, "Standard_NC24ads_A100_v4"])
def test_nothing_is_substituted_where_it_fits_or_no_sku_is_named(
    instance_type: str | None,
) -> None:
    assert find_substitution(params(preset="phi-4", instance_type=instance_type)) is None


def test_nothing_is_substituted_where_no_sku_fits() -> None:
    wanted = params(
        preset="qwen2.5-coder-32b-instruct",
        method="lora",
        config=config("Argotune: {max_length: 32768, micro_batch_tokens: 262144}"),
        instance_type="Standard_NC6s_v3",
    )
    assert find_substitution(wanted) is None
    with pytest.raises(ParamsError, match="2025-09-30; no other SKU fits"):
        make_plan(wanted)


def test_a_machine_without_the_memory_of_the_tune_pod_gets_the_nearest_that_has_it() -> None:
    wanted = params(instance_type="g5.8xlarge", tune_memory="200Gi")
    found = find_substitution(wanted)
    assert found is not None
    assert found.reason == (
        "g5.8xlarge cannot be used: 124.8 GiB of memory for the tune pod, 200 GiB needed "
        "(parameter tune-memory); the nearest that fits is g6.16xlarge (L4, 24 GiB, 3.3968 USD/h "
        "in us-east-1)"
    )
    plan = make_plan(replace(wanted, instance_type=found.new))
    assert plan.hardware.instance_type == "g6.16xlarge"


def test_a_machine_whose_newest_driver_is_too_old_for_the_images_is_refused() -> None:
    found = find_substitution(params(instance_type="Standard_NV36ads_A10_v5"))
    assert found is not None
    assert found.reason == (
        "Standard_NV36ads_A10_v5 cannot be used: NVIDIA driver 570.237, 580 or later needed (CUDA "
        "13), and azure has no newer one for it; the nearest that fits is "
        "Standard_NC24ads_A100_v4 (A100 80GB, 80 GiB, 3.673 USD/h in eastus)"
    )


def test_a_tune_pod_that_no_machine_has_room_for_is_refused() -> None:
    wanted = params(instance_type="Standard_NC24ads_A100_v4", tune_memory="4000Gi", tune_cpu="32")
    assert find_substitution(wanted) is None
    with pytest.raises(ParamsError) as caught:
        make_plan(wanted)
    assert caught.value.problems == [
        "instance-type: Standard_NC24ads_A100_v4 cannot be used: 23.16 CPUs for the tune pod, 32 "
        "needed (parameter tune-cpu); 216.8 GiB of memory for the tune pod, 4000 GiB needed "
        "(parameter tune-memory); no other SKU fits; ask for less"
    ]


def test_the_gpu_that_is_assumed_for_existing_nodes_does_not_depend_on_the_tune_pod() -> None:
    wanted = params(preset="phi-4", provider="existing", tune_memory="4000Gi")
    assert make_plan(wanted) == make_plan(params(preset="phi-4", provider="existing"))


def test_wrong_config_is_an_error_before_any_substitution() -> None:
    wanted = params(config=config("LoraConfig: {r: 0}"), instance_type="Standard_NC6s_v3")
    with pytest.raises(ParamsError) as caught:
        find_substitution(wanted)
    assert caught.value.problems == [
        "training_config.LoraConfig.r: 0; accepted is a whole number from 1 to 512",
        "instance-type: Standard_NC6s_v3 cannot be used: retired by the cloud on 2025-09-30",
    ]
