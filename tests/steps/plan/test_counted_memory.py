"""The memory that the plan says against the peak of a whole pack, on tensors without numbers."""

from __future__ import annotations

import msgspec
import pytest

from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.presets.sizes import lora_parameters
from argotune.steps.plan.memory import Loop, block_bytes, estimate
from tests.bench.tune.counts import compute_pack
from tests.peak import Peak
from tests.steps.plan.helpers import variant

TOKENS = 8192


def peak_bytes(preset: ModelPreset, blocks: int, *, recomputed: bool = False) -> int:
    """Of everything but the weights, which are there before."""
    peak = Peak()
    compute_pack(preset, TOKENS, peak, blocks=blocks, recomputed=recomputed)
    return peak.most


# Layers in one, layers apart, norms of heads and of all heads, and norms behind as well.
@pytest.mark.parametrize("family", ["phi3", "mistral", "qwen3", "olmo2", "glm4"])
def test_a_block_keeps_what_the_plan_says(family: str) -> None:
    preset = variant("mistral-7b", family, family)
    kept = (peak_bytes(preset, 2) - peak_bytes(preset, 1)) / TOKENS
    assert kept == pytest.approx(block_bytes(preset.architecture, family), rel=0.06)


@pytest.mark.parametrize(
    ("name", "recomputed"), [("phi-3-mini-4k-instruct", False), ("mistral-7b", True)]
)
def test_the_peak_of_a_pack_is_at_most_a_tenth_below_the_plan(name: str, recomputed: bool) -> None:
    """Of a model of eight blocks, so that what is there once counts four times as much."""
    preset, blocks = model_preset(name), 8
    shape = msgspec.structs.replace(preset.architecture, num_hidden_layers=blocks)
    adapter = lora_parameters(shape, preset.family, preset.lora_target_modules, 16)
    loop = Loop(micro_batch_tokens=TOKENS, checkpointing=recomputed)
    memory = estimate(shape, preset.family, "qlora", lora_weights=adapter, loop=loop)
    planned = memory.activations_gb + memory.logits_gb
    found = peak_bytes(preset, blocks, recomputed=recomputed) / 1e9
    assert 0.9 * planned < found < planned
