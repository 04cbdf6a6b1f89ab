"""The `vllm serve` command for an adapter, from the serving contract.

vLLM reads neither serving.json nor the tokenizer and chat template beside an adapter, so flags must
set everything that affects answers. Their names and limits are those of vLLM 0.33.
"""

from __future__ import annotations

import json

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.contracts.vllm import max_lora_rank

BASE_DIRECTORY = "BASE_DIRECTORY"
"""Stands in commands for the directory of a base model that the Hub does not have."""


def vllm_command(contract: ServingContract, directory: str = ".") -> list[str]:
    """The command's words; `directory` has the adapter.

    A base that is not on the Hub is in BASE_DIRECTORY, which the reader has to replace.

    Raises ValueError for a rank that vLLM does not support.
    """
    base, adapter = contract.base, contract.adapter
    # Not max_new_tokens: as a server default it would limit what a request may set.
    sampling = {
        "temperature": contract.generation.temperature,
        "top_p": contract.generation.top_p,
    }
    return [
        *("vllm", "serve", base.repository if base.is_on_hub else BASE_DIRECTORY),
        *(("--revision", base.revision) if base.is_on_hub else ()),
        *(("--tokenizer-revision", base.revision) if base.is_on_hub else ()),
        # It also selects LongRoPE's factors: the long ones above the model's original length.
        *("--max-model-len", str(contract.max_length)),
        *("--chat-template", f"{directory}/chat_template.jinja"),
        # Its generation_config.json has the stop tokens.
        *("--generation-config", directory),
        *("--override-generation-config", json.dumps(sampling)),
        "--enable-lora",
        *("--max-lora-rank", str(max_lora_rank(adapter.r))),
        *("--lora-target-modules", *adapter.target_modules),
        *("--lora-modules", f"{adapter.name}={directory}"),
    ]
