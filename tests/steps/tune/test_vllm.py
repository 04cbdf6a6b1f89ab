from __future__ import annotations

from argotune.steps.tune.vllm import vllm_command
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
