"""The adapter's README.md: what it is, and how to load and serve it as it was trained."""

from __future__ import annotations

import shlex

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.tune.vllm import vllm_command

_BASE = "BASE"
_CARD = """\
---
{hub_base}library_name: peft
pipeline_tag: text-generation
tags: [lora]
---
# {name}
A LoRA adapter of rank {rank} on {layers} of
{base}, tuned with argotune.
`serving.json` has the settings that serving must share with training; the commands below use them.

## Load it with PEFT
{base_comes_from}:
```python
{load}
tokenizer = AutoTokenizer.from_pretrained(".")
question = [{{"role": "user", "content": "Hello?"}}]
prompt = tokenizer.apply_chat_template(
    question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**prompt, max_new_tokens={max_new_tokens}, eos_token_id={stop_token_ids})
print(tokenizer.decode(answer[0]))
```

## Serve it with vLLM
In this directory, with vLLM 0.33 or later{vllm_base}:
```sh
{command}
```
{rope}Requests name the adapter by `"model": "{name}"`.
"""

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


_LOAD_FROM_HUB = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained(".")"""

_LOAD_FROM_DIRECTORY = f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{_BASE}")
model = PeftModel.from_pretrained(base, ".")"""


def model_card(contract: ServingContract, *, is_on_hub: bool) -> str:
    """The Markdown text of README.md; a base that is on no hub is a directory of the reader's."""
    repository, revision = contract.base.repository, contract.base.revision
    if is_on_hub:
        origin = {
            "hub_base": f"base_model: {repository}\n",
            "base": f"[{repository}](https://huggingface.co/{repository}/tree/{revision})",
            "base_comes_from": "In this directory, with the base model from the Hub",
            "load": _LOAD_FROM_HUB,
            "vllm_base": "",
        }
    else:
        origin = {
            "hub_base": "",
            "base": f"{repository}, revision {revision}, which is on no hub",
            "base_comes_from": f"In this directory; `{_BASE}` is the directory of the base model",
            "load": _LOAD_FROM_DIRECTORY,
            "vllm_base": f"; `{_BASE}` is the directory of the base model",
        }
    return _CARD.format(
        **origin,
        name=contract.adapter.name,
        rank=contract.adapter.r,
        layers=", ".join(contract.adapter.target_modules),
        max_new_tokens=contract.generation.max_new_tokens,
        stop_token_ids=contract.stop_token_ids,
        command=_shell(vllm_command(contract, base=None if is_on_hub else _BASE)),
        rope=_ROPE_NOTES[contract.rope],
    )


def _shell(words: list[str]) -> str:
    """A shell command with one flag per line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(shlex.join(line) for line in lines)
