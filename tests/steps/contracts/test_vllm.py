from __future__ import annotations

import pytest

from argotune.steps.contracts.vllm import LORA_RANKS, max_lora_rank, unservable


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
