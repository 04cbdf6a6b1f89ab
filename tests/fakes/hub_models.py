"""Models of a fake Hub: the small files of real ones, and no weights."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.hub import FakeHub

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}"
)
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}
LLAMA_PARAMETERS = 106_816
"""2 * 256 * 64 of both embeddings; each of 2 blocks 3 * 64 * 128 of the MLP, 2 * 64 * 64 and
2 * 64 * 32 of the attention, 2 * 64 of its norms; 64 of the last norm."""
TOKENIZER_CONFIG: dict[str, Any] = {
    "chat_template": TEMPLATE,
    "eos_token": "<|endoftext|>",
    "pad_token": {"content": "<|pad|>"},
    "added_tokens_decoder": {
        "2": {"content": "<|endoftext|>"},
        "3": {"content": "<|im_end|>"},
    },
}
WEIGHTS = "model.safetensors"


def model_files(
    config: dict[str, Any] | None = None,
    tokenizer_config: dict[str, Any] | None = None,
    **others: bytes,
) -> dict[str, bytes]:
    """The files of a model; those that are not given are of a small llama."""
    return {
        "config.json": json.dumps(LLAMA if config is None else config).encode(),
        "generation_config.json": json.dumps({"eos_token_id": [2, 3]}).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": json.dumps(
            TOKENIZER_CONFIG if tokenizer_config is None else tokenizer_config
        ).encode(),
        WEIGHTS: b"no weights are read",
        **others,
    }


def add_model(
    hub: FakeHub,
    repository: str,
    *,
    config: dict[str, Any] | None = None,
    tokenizer_config: dict[str, Any] | None = None,
    parameters: int | None = None,
    license: str | None = "apache-2.0",
    **record: object,
) -> None:
    """Put a model on the Hub, with what the Hub says of it."""
    hub.repositories[repository] = model_files(config, tokenizer_config)
    card = {} if license is None else {"cardData": {"license": license}}
    total = {} if parameters is None else {"safetensors": {"parameters": {}, "total": parameters}}
    hub.records[repository] = {**card, **total, **record}
