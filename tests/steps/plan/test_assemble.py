"""What a plan says of architectures for which training is slower, larger or narrower."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from argotune.presets.loader import sku
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.plan.assemble import assemble
from argotune.steps.plan.choose import choose
from argotune.steps.plan.hardware import card_of
from argotune.steps.plan.planning import make_plan
from argotune.steps.plan.request import read_request
from tests.steps.plan.helpers import config, gemma_2_9b, mixture_of_experts, params


def planned(preset: ModelPreset) -> TrainingPlan:
    """The plan of a preset that has no file, on an A100."""
    wanted = params(preset="qwen3-8b", instance_type="Standard_NC24ads_A100_v4")
    card = card_of(sku("Standard_NC24ads_A100_v4"))
    job = replace(read_request(wanted).job, preset=preset, targets=preset.lora_target_modules)
    choice = choose(job, card)
    assert choice is not None
    return assemble(wanted, job, card, choice, [])


def test_experts_stay_in_16_bits_and_are_not_adapted() -> None:
    plan = planned(mixture_of_experts())
    (warning,) = plan.warnings
    assert warning == (
        "the experts of qwen3-30b-a3b are neither adapted nor in 4 bits: they stay 58.0 GB in 16 "
        "bits, and the adapter can be on q_proj, k_proj, v_proj, o_proj alone"
    )
    assert plan.memory.weights_gb > 58


def test_bounded_attention_is_said_to_be_slow() -> None:
    (warning,) = planned(gemma_2_9b()).warnings
    assert re.match(r"gemma-2-9b-it bounds the logits of its attention, .* 512 queries", warning)


def test_blocks_of_transformers_are_said_to_be_slower() -> None:
    wanted = params(preset="gemma-3-1b-it", instance_type="g5.2xlarge")
    (warning,) = make_plan(wanted).warnings
    assert warning.startswith("the norms and MLPs of gemma-3-1b-it are transformers' own, ")


def test_liger_is_refused_where_it_has_no_kernels() -> None:
    liger = config("TrainingArguments: {use_liger_kernel: true}")
    with pytest.raises(ParamsError, match="Liger has no kernels for the norms and MLPs of gemma3"):
        make_plan(params(preset="gemma-3-1b-it", config=liger))
    assert make_plan(params(preset="tiny", config=liger)).execution.liger
