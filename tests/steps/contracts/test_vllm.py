from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.contracts.vllm import (
    LORA_RANKS,
    AskedEngine,
    engine_of,
    max_lora_rank,
    unservable,
    unservable_config,
)


@pytest.mark.parametrize(("rank", "accepted"), [(1, 1), (2, 8), (16, 16), (17, 32), (300, 320)])
def test_any_rank_gets_the_smallest_room_that_vllm_knows(rank: int, accepted: int) -> None:
    assert accepted in LORA_RANKS
    assert max_lora_rank(rank) == accepted


def test_a_rank_beyond_vllms_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 513: vLLM serves adapters of rank 512 at most"):
        max_lora_rank(513)


def test_an_adapter_that_vllm_does_not_serve_is_known_before_it_starts() -> None:
    assert unservable(rank=16, use_dora=False) == ""
    assert unservable(rank=512, use_dora=False) == ""
    assert unservable(rank=513, use_dora=False) == (
        "the adapter's rank is 513, and vLLM's largest is 512"
    )
    assert "DoRA" in unservable(rank=16, use_dora=True)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 16, "alpha_pattern": {}, "modules_to_save": None, "bias": "none"}, ""),
        ({"r": 600}, "the adapter's rank is 600, and vLLM's largest is 512"),
        ({"use_dora": True}, "the adapter is a DoRA adapter, which vLLM does not serve"),
        (
            {"rank_pattern": {"q_proj": 4}, "modules_to_save": ["lm_head"], "bias": "all"},
            "the adapter's adapter_config.json has modules_to_save, rank_pattern, bias, which vLLM"
            " does not follow",
        ),
    ],
)
def test_what_vllm_would_pass_over_of_an_adapters_files(
    config: dict[str, Any], reason: str
) -> None:
    assert unservable_config(config) == reason


@pytest.mark.parametrize(
    ("asked", "has_gpu", "allow_cpu", "load_in_4bit", "engine"),
    [
        ("auto", True, False, False, "vllm"),
        ("auto", False, False, False, "transformers"),
        ("auto", True, True, False, "transformers"),
        ("auto", True, False, True, "transformers"),
        ("vllm", False, False, False, "vllm"),
        ("transformers", True, False, False, "transformers"),
    ],
)
def test_auto_is_vllm_where_it_can_answer(
    asked: AskedEngine, has_gpu: bool, allow_cpu: bool, load_in_4bit: bool, engine: str
) -> None:
    found = engine_of(asked, has_gpu=has_gpu, allow_cpu=allow_cpu, load_in_4bit=load_in_4bit)
    assert found == engine
