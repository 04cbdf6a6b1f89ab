"""What `argotune plan` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from argotune.presets.loader import sku_catalogs, skus
from argotune.steps.plan.planning import make_plan
from argotune.workflows.cli.show.plan_rows import (
    memory_rows,
    plan_rows,
    price_lines,
    sku_rows,
    speed_sources,
    what_hours_are_of,
)
from tests.presets.clouds import second_cloud
from tests.steps.plan.helpers import config, params

PHI_ON_A100 = params(preset="phi-3-mini-4k-instruct", instance_type="Standard_NC24ads_A100_v4")


def test_key_numbers_of_a_plan() -> None:
    rows = {row.name: (row.value, row.note) for row in plan_rows(make_plan(PHI_ON_A100))}
    assert rows == {
        "model": ("microsoft/Phi-3-mini-4k-instruct", "0a67737cc96d, MIT"),
        "method": ("qlora", "4 bits, nf4 with double quantisation"),
        "adapter": (
            "r 16, alpha 32, dropout 0",
            "qkv_proj, o_proj, gate_up_proj, down_proj",
        ),
        "longest row": ("4096 tokens", "longer rows are cut"),
        "batch": ("4 x 8192 tokens", "at most 32768 tokens per step, fewer for little data"),
        "rate": ("0.0002, cosine", "warm-up 3%, seed 42"),
        "length of run": ("3 epochs", "ends after 2 evaluations without a better loss"),
        "activations": ("kept", "gradient checkpointing off"),
        "held out": ("5% of the rows", "seed 42"),
        "machine": ("Standard_NC24ads_A100_v4, 1 x A100 80GB", "3.673 USD/h"),
        "expected": (
            "4600-9600 tokens/s",
            "class, 0.29-0.60 h, 1.1-2.2 USD per 10 million tokens trained on",
        ),
        "volume": ("22 GiB", "20 GiB for data, the rest for checkpoints and the adapter"),
    }


def test_machine_that_no_cloud_sells() -> None:
    own = config("{Argotune: {gpu_memory_gib: 24}, TrainingArguments: {max_steps: 9}}")
    rows = {row.name: (row.value, row.note) for row in plan_rows(make_plan(params(config=own)))}
    assert rows["machine"] == ("existing node, 1 x GPU", "")
    assert rows["length of run"] == ("9 steps", "")
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
    assert rows[0].name == "Standard_NC24ads_A100_v4"
    assert rows[0].peak_gb is not None


def test_sku_that_is_asked_for_is_shown_with_the_reason_even_if_it_cannot() -> None:
    rows = sku_rows(params(preset="phi-4", instance_type="Standard_NC6s_v3"))
    shown = [row for row in rows if row.chosen]
    assert [(row.name, row.fits, row.reason) for row in shown] == [
        ("Standard_NC6s_v3", False, "retired by the cloud on 2025-09-30")
    ]
    assert rows[-1] == shown[0]


def test_prices_of_several_clouds_are_told_apart(tmp_path: Path) -> None:
    catalogs = sku_catalogs(second_cloud(tmp_path))
    lines = price_lines(catalogs)
    assert len(lines) == len(catalogs)
    assert "Prices of acme: north, acme.example's price list" in lines
    (azure,) = (each for each in catalogs if each.cloud == "azure")
    assert price_lines([azure])[0].startswith("Prices: eastus, Linux, pay as you go")


def test_every_sku_can_be_shown_with_its_reason() -> None:
    rows = sku_rows(params(preset="qwen2.5-coder-32b-instruct"), every=True)
    assert len(rows) == len(skus())
    reasons = {row.name: row.reason for row in rows}
    assert reasons["g5.4xlarge"] == (
        "qwen2.5-coder-32b-instruct with qlora and 4096 tokens per pass needs 28.7 GB per GPU, "
        "but A10G has 24.2 GB"
    )
    assert reasons["Standard_ND96asr_v4"] == ""


def test_activations_that_are_kept_in_part_are_counted() -> None:
    plan = make_plan(params(preset="phi-4", instance_type="g5.4xlarge"))
    rows = {row.name: row.value for row in plan_rows(plan)}
    assert rows["activations"] == "recomputed in 30 of 40 blocks"


def test_hours_and_cost_are_of_the_run_where_its_length_is_known() -> None:
    wanted = params(preset="phi-4", instance_type="g5.4xlarge")
    rows = {row.name: row.note for row in plan_rows(make_plan(wanted), dataset_tokens=2_000_000)}
    assert rows["expected"] == "class, 3.0-6.1 h, 4.8-10 USD of 3 epochs of 2,000,000 tokens"
    (chosen,) = (row for row in sku_rows(wanted, dataset_tokens=2_000_000) if row.chosen)
    assert (str(chosen.hours), str(chosen.cost_usd)) == ("3.0-6.1", "4.8-10")


def test_hours_are_of_the_steps_that_the_config_names() -> None:
    own = config("TrainingArguments: {max_steps: 100}")
    wanted = params(preset="phi-4", config=own, instance_type="g5.4xlarge")
    plan = make_plan(wanted)
    rows = {row.name: row.note for row in plan_rows(plan)}
    assert rows["expected"] == "class, 1.6-3.4 h, 2.6-5.5 USD of 100 steps"
    assert what_hours_are_of(plan, dataset_tokens=5) == "of 100 steps"
    few = {row.name: row.note for row in plan_rows(plan, dataset_tokens=1_000_000)}
    # 30,000 tokens a step, a hundredth of three epochs.
    assert few["expected"] == "class, 1.5-3.1 h, 2.4-5.0 USD of 100 steps"
    fewer = {row.name: row.note for row in plan_rows(plan, dataset_tokens=20_000)}
    assert fewer["expected"].startswith("class, 0.030-0.061 h, ")


def test_nothing_is_said_of_the_speed_of_a_card_that_is_not_known() -> None:
    own = config("Argotune: {gpu_memory_gib: 24, gpu_model: Mystery 9000}")
    assert "expected" not in [row.name for row in plan_rows(make_plan(params(config=own)))]
    assert "expected" not in [row.name for row in plan_rows(make_plan(params()))]
    (old,) = (row for row in sku_rows(params(instance_type="Standard_NC6s_v3")) if row.chosen)
    assert (old.tokens_per_second, old.hours, old.cost_usd) == (None, None, None)


def test_machine_without_a_price_has_hours_and_no_cost() -> None:
    (row,) = (row for row in sku_rows(PHI_ON_A100) if row.name == "Standard_ND96isr_H200_v5")
    assert row.hours is not None
    assert row.cost_usd is None


def test_speeds_name_their_publications() -> None:
    assert speed_sources("qlora").startswith(
        "8035 with Llama-3.2-3B on A100 80GB (torchtune README, packed rows of 4096 tokens, "
        "torch.compile); 2413 with Llama-3.1-8B on RTX 4090 ("
    )


def test_checks_of_answers_are_listed_with_their_least_scores() -> None:
    own = json.dumps({"training_config": {"Argotune": {"checks": [{"kind": "exact_match"}]}}})
    rows = {row.name: (row.value, row.note) for row in plan_rows(make_plan(params(config=own)))}
    assert rows["checks"] == (
        "exact_match 1",
        "least score of each; up to 200 answers of at most 256 tokens",
    )
    assert "checks" not in {row.name for row in plan_rows(make_plan(params()))}


def test_of_checks_that_compare_the_bounds_that_are_given_are_listed() -> None:
    tasks = {"kind": "lm_eval", "name": "facts", "tasks": ["arc_easy"], "min_improvement": 0}
    scorer = {
        "kind": "scorer",
        "scorer": "tone",
        "min_row": 0.2,
        "min_improvement_over_live": -0.05,
    }

    def row(*checks: object) -> tuple[str, str]:
        own = json.dumps({"training_config": {"Argotune": {"checks": checks}}})
        plan = make_plan(params(config=own))
        return next((row.value, row.note) for row in plan_rows(plan) if row.name == "checks")

    assert row(tasks) == ("facts +0 over the base", "least score of each")
    assert row({**tasks, "min": 0.5}, scorer) == (
        "facts 0.5 and +0 over the base, tone 0.2 in each row and -0.05 over the one in service",
        "least score of each; up to 200 answers of at most 256 tokens",
    )
