"""How many tokens the evaluation answers at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.training_plan import MOST_BATCH_TOKENS
from argotune.steps.plan.planning import make_plan
from tests.steps.plan.helpers import config, params

A10G, A100 = "g5.2xlarge", "p4d.24xlarge"


def tokens(preset: str, sku: str, **values: str) -> int:
    wanted = params(preset=preset, instance_type=sku, provider="karpenter", **values)
    return make_plan(wanted).evaluation.batch_tokens


def test_answers_take_what_the_weights_leave_of_a_small_gpu() -> None:
    # 9.1 GB of weights in 4 bits leave 13 of 24.2 GB, of which 80 % hold tokens of 205 KB.
    assert tokens("phi-4", A10G) == MOST_BATCH_TOKENS
    # In 16 bits 7.6 GB of weights leave 15 GB, for tokens of 393 KB.
    assert tokens("phi-3-mini-4k-instruct", A10G, method="lora") == pytest.approx(31_000, rel=0.05)
    assert tokens("phi-3-mini-4k-instruct", A100, method="lora") == MOST_BATCH_TOKENS


def test_larger_adapters_leave_less() -> None:
    wide = config("LoraConfig: {r: 256}")
    assert tokens("phi-3-mini-4k-instruct", A10G, method="lora", config=wide) < 27_000


def test_adapters_side_by_side_leave_less() -> None:
    sized = {"preset": "phi-3-mini-4k-instruct", "instance_type": A10G, "method": "lora"}
    wanted = params(**sized, provider="karpenter", loaded_weights=10**9)
    # Their 4 GB take the place of the 0.2 GB of two.
    assert make_plan(wanted).evaluation.batch_tokens == pytest.approx(23_000, rel=0.05)
    with pytest.raises(ParamsError) as caught:
        make_plan(replace(wanted, loaded_weights=5 * 10**9))
    [problem] = caught.value.problems
    assert "with lora and 4096 tokens per pass beside 20.0 GB of adapters needs" in problem
    assert "; possible changes: fewer models in one evaluation; instance type " in problem


def test_a_machine_of_unknown_memory_answers_as_many_as_there_may_be() -> None:
    assert make_plan(params()).evaluation.batch_tokens == MOST_BATCH_TOKENS
