from __future__ import annotations

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.vllm import LORA_RANKS, max_lora_rank, vllm_command
from tests.steps.contracts.test_serving import contract


def test_the_command_says_all_that_the_contract_holds() -> None:
    assert vllm_command(contract(), "/adapter") == [
        "vllm",
        "serve",
        "acme/base",
        "--revision",
        "abc",
        "--tokenizer-revision",
        "abc",
        "--max-model-len",
        "4096",
        "--chat-template",
        "/adapter/chat_template.jinja",
        "--generation-config",
        "/adapter",
        "--override-generation-config",
        '{"temperature": 0.0, "top_p": 1.0}',
        "--enable-lora",
        "--max-lora-rank",
        "8",
        "--lora-target-modules",
        "qkv_proj",
        "--lora-modules",
        "demo=/adapter",
    ]


@pytest.mark.parametrize(("rank", "accepted"), [(1, 1), (2, 8), (16, 16), (17, 32), (300, 320)])
def test_any_rank_gets_the_smallest_room_that_vllm_knows(rank: int, accepted: int) -> None:
    assert accepted in LORA_RANKS
    assert max_lora_rank(rank) == accepted


def test_a_rank_beyond_vllms_is_refused() -> None:
    with pytest.raises(PermanentError, match="rank 513: vLLM serves adapters of rank 512 at most"):
        max_lora_rank(513)
