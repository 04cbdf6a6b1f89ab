"""The adapter's README.md: what it is, and how to load and serve it as it was trained."""

from __future__ import annotations

import shlex

from argotune.steps.contracts.serving import Base, ServingContract
from argotune.steps.contracts.vllm import unservable
from argotune.steps.tune.facts import Facts
from argotune.steps.tune.vllm import BASE_DIRECTORY, vllm_command

_CARD = """\
---
{front}library_name: peft
pipeline_tag: text-generation
tags: [lora]
---
# {name}
A LoRA adapter of rank {rank} on {layers} of
{base}, tuned with argotune.
`serving.json` has the settings that serving must share with training; the commands below use them.

## How it was tuned
Losses are nats per token.

| | |
|---|---|
{facts}

## Load it with PEFT
In this directory{with_base}:
```python
{load}
tokenizer = AutoTokenizer.from_pretrained(".")
question = [{{"role": "user", "content": "Hello?"}}]
prompt = tokenizer.apply_chat_template(
    question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**prompt, max_length={max_length}, eos_token_id={stop_token_ids})
print(tokenizer.decode(answer[0]))
```

{vllm}"""

_VLLM = """\
## Serve it with vLLM
In this directory, with vLLM 0.33 or later:
```sh
{command}
```
{rope}Requests name the adapter by `"model": "{name}"`.
"""
_NO_VLLM = "vLLM does not serve it: {reason}. argotune's server on transformers does.\n"

_LOAD_FROM_HUB = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained(".")"""
_LOAD_FROM_DIRECTORY = f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{BASE_DIRECTORY}")
model = PeftModel.from_pretrained(base, ".")"""

_ROPE_NOTES = {
    "default": "",
    "short": (
        "Training used the short factors of LongRoPE: with a larger `--max-model-len` vLLM uses "
        "the long\nones, and answers become worse.\n"
    ),
    "long": (
        "Training used the long factors of LongRoPE: with a `--max-model-len` of the model's "
        "original\nlength or less vLLM uses the short ones, and answers become worse.\n"
    ),
}


def readme(contract: ServingContract, facts: Facts) -> str:
    """The Markdown text of README.md."""
    base, adapter = contract.base, contract.adapter
    no_vllm = unservable(rank=adapter.r, use_dora=adapter.use_dora)
    return _CARD.format(
        name=adapter.name,
        front=f"base_model: {base.repository}\n" if base.is_on_hub else "",
        base=_base(base),
        with_base=(
            ", with the base model from the Hub"
            if base.is_on_hub
            else f", with {BASE_DIRECTORY} replaced by the base model's directory"
        ),
        load=_LOAD_FROM_HUB if base.is_on_hub else _LOAD_FROM_DIRECTORY,
        rank=adapter.r,
        layers=", ".join(adapter.target_modules),
        max_length=contract.max_length,
        stop_token_ids=contract.stop_token_ids,
        facts="\n".join(f"| {name} | {fact} |" for name, fact in facts.items()),
        vllm=_NO_VLLM.format(reason=no_vllm) if no_vllm else _vllm(contract),
    )


def _vllm(contract: ServingContract) -> str:
    return _VLLM.format(
        name=contract.adapter.name,
        command=_shell(vllm_command(contract)),
        rope=_ROPE_NOTES[contract.rope],
    )


def _base(base: Base) -> str:
    """The base model in words: where its files come from, and what they are known by."""
    if base.is_on_hub:
        return f"[{base.repository}](https://huggingface.co/{base.repository}/tree/{base.revision})"
    if base.source == "made":
        return f"`{base.repository}`, which argotune made (files {base.digest})"
    return f"a {base.family} model from `{base.source}` ({base.revision})"


def _shell(words: list[str]) -> str:
    """A shell command with one flag per line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(shlex.join(line) for line in lines)
