"""What `argotune plan` shows."""

from __future__ import annotations

import pytest

from presets.loader import skus_of_azure
from steps.plan.render import memory_rows, plan_rows, sku_rows
from steps.plan.run import make_plan
from tests.steps.plan.helpers import config, params

PHI_ON_A100 = params(preset="phi-3-mini-4k-instruct", instance_type="Standard_NC24ads_A100_v4")


def test_key_numbers_of_a_plan() -> None:
    rows = {row.name: (row.value, row.note) for row in plan_rows(make_plan(PHI_ON_A100))}
    assert rows == {
        "model": ("microsoft/Phi-3-mini-4k-instruct", "0a67737cc96d"),
        "method": ("qlora", "4 bits, nf4 with double quantisation"),
        "adapter": (
            "r 16, alpha 32, dropout 0",
            "qkv_proj, o_proj, gate_up_proj, down_proj",
        ),
        "longest row": ("4096 tokens", "longer rows are cut"),
        "batch": ("4 x 8192 tokens", "32768 tokens per optimizer step, rows packed"),
        "rate": ("0.0002, cosine", "warm-up 3%, seed 42"),
        "length of run": ("3 epochs", "ends after 2 evaluations without a better loss"),
        "activations": ("kept", "gradient checkpointing off"),
        "held out": ("5% of the rows", "seed 42"),
        "machine": ("Standard_NC24ads_A100_v4, 1 x A100 80GB", "3.673 USD/h"),
    }


def test_machine_that_no_cloud_sells() -> None:
    own = config("{Argotune: {gpu_memory_gib: 24}, TrainingArguments: {max_steps: 9}}")
    rows = {row.name: (row.value, row.note) for row in plan_rows(make_plan(params(config=own)))}
    assert rows["machine"] == ("existing node, 1 x GPU", "")
    assert rows["length of run"] == ("9 steps at most", "")
    here = {row.name: row.value for row in plan_rows(make_plan(params(method="lora")))}
    assert here["machine"] == "this machine"


def test_memory_terms_end_with_their_sum() -> None:
    rows = memory_rows(make_plan(PHI_ON_A100))
    assert [row.name for row in rows] == [
        "weights",
        "adapter",
        "context",
        "activations",
        "logits",
        "fragmentation",
        "peak",
    ]
    sizes = [float(row.value.removesuffix(" GB")) for row in rows]
    assert sum(sizes[:-1]) == pytest.approx(sizes[-1], abs=0.05)
    assert rows[-1].note == "of one GPU with 80 GiB"


def test_skus_that_fit_come_cheapest_first() -> None:
    rows = sku_rows(PHI_ON_A100)
    assert all(row.fits and not row.reason for row in rows)
    prices = [row.price_usd_per_hour for row in rows if row.price_usd_per_hour is not None]
    assert prices == sorted(prices)
    assert len(prices) >= len(rows) - 1
    assert [row.name for row in rows if row.chosen] == ["Standard_NC24ads_A100_v4"]
    assert rows[0].name == "Standard_NV36ads_A10_v5"
    assert rows[0].needed_gb is not None
    assert rows[0].gradient_checkpointing is True


def test_sku_that_is_asked_for_is_shown_with_the_reason_even_if_it_cannot() -> None:
    rows = sku_rows(params(preset="phi-4", instance_type="Standard_NC6s_v3"))
    shown = [row for row in rows if row.chosen]
    assert [(row.name, row.fits, row.reason) for row in shown] == [
        ("Standard_NC6s_v3", False, "retired by the cloud on 2025-09-30")
    ]
    assert rows[-1] == shown[0]


def test_every_sku_can_be_shown_with_its_reason() -> None:
    rows = sku_rows(params(preset="qwen2.5-coder-32b-instruct"), every=True)
    assert len(rows) == len(skus_of_azure().skus)
    reasons = {row.name: row.reason for row in rows}
    assert reasons["Standard_NV36ads_A10_v5"] == (
        "qwen2.5-coder-32b-instruct with qlora and 4096 tokens per pass needs 28.4 GB of one GPU, "
        "A10 gives 24.2 GB"
    )
    assert reasons["Standard_ND96asr_v4"] == ""


def test_speed_is_only_what_others_published_for_that_card_and_size() -> None:
    speeds = {row.name: row.published_speed for row in sku_rows(PHI_ON_A100)}
    assert speeds["Standard_NC24ads_A100_v4"] == (
        "8035 tokens/s with Llama-3.2-3B (torchtune README, packed rows of 4096 tokens, "
        "torch.compile)"
    )
    assert speeds["Standard_NV36ads_A10_v5"] == ""
    large = sku_rows(params(preset="qwen2.5-coder-32b-instruct"))
    assert {row.published_speed for row in large} == {""}
