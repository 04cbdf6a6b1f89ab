"""What a card can do at most, against the operations and bytes that the code itself asks for."""

from __future__ import annotations

import pytest

from argotune.presets.loader import model_preset, model_preset_names, published_speeds
from argotune.presets.schema import Method, ModelPreset
from argotune.steps.plan.ceiling import BYTES_REACHED, PRODUCTS_REACHED, most_tokens_per_second
from argotune.steps.plan.skus import fits
from argotune.steps.plan.speed import expected_speed, speed_of
from tests.bench.tune.counts import count
from tests.steps.plan.test_choose import job

TOKENS = 8192
TFLOPS, MEMORY = 989.0, 3352.0


def ceiling(preset: ModelPreset, recomputed_share: float) -> float:
    return most_tokens_per_second(
        preset.architecture,
        preset.family,
        recomputed_share=recomputed_share,
        tflops=TFLOPS,
        memory_gb_per_second=MEMORY,
    )


@pytest.mark.parametrize(
    ("name", "recomputed"), [("phi-3-mini-4k-instruct", False), ("mistral-7b", True)]
)
def test_it_is_above_what_the_counted_work_allows_and_not_far(name: str, recomputed: bool) -> None:
    """What it leaves out, and the further passes of other architectures than Phi-3."""
    preset = model_preset(name)
    work = count(preset, TOKENS, ours=True, recomputed=recomputed)
    seconds = work.seconds(PRODUCTS_REACHED * TFLOPS * 1e12, BYTES_REACHED * MEMORY * 1e9)
    assert 1.0 < ceiling(preset, float(recomputed)) / (TOKENS / seconds) < 1.3


def test_a_share_of_recomputed_blocks_lies_between() -> None:
    preset = model_preset("mistral-7b")
    kept, half, recomputed = (1 / ceiling(preset, share) for share in (0.0, 0.5, 1.0))
    assert half == pytest.approx((kept + recomputed) / 2)


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("name", sorted(model_preset_names()))
def test_no_card_is_promised_more_than_its_rates_allow(name: str, method: Method) -> None:
    asked, published = job(name, method=method), published_speeds()
    shape, family = asked.preset.architecture, asked.preset.family
    for fit in fits(asked):
        if fit.choice is None:
            continue
        gpu, gpus = fit.sku.gpu_model, fit.sku.gpus
        most = most_tokens_per_second(
            shape,
            family,
            recomputed_share=fit.choice.recomputed_share(shape.num_hidden_layers),
            tflops=published.bfloat16_tflops[gpu],
            memory_gb_per_second=published.memory_gb_per_second[gpu],
        )
        speed = speed_of(asked, fit.choice, gpu, gpus)
        assert speed is None or speed.low <= speed.high <= most * gpus * 1.0001


def test_a_card_with_slow_memory_has_less_than_others_speeds_promise() -> None:
    """An L4 with all activations recomputed: 34 MB of a token at 270 GB/s, beside the products."""
    preset = model_preset("phi-3-mini-4k-instruct")
    carried_over, bounded = (
        expected_speed(preset, "qlora", "L4", 1, recomputed_share=share) for share in (0.0, 1.0)
    )
    assert carried_over is not None
    assert bounded is not None
    assert bounded.low == carried_over.low
    assert bounded.high < 0.9 * carried_over.high
