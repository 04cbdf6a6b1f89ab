"""Whole runs of models that no preset has, by their Hub id, to an answer of /chat.

    python -m tests.bench.any_model [FAMILY...]

For each architecture (presets/families.py; by default all) a random tiny model, with a tokenizer of
the class that its published models have, is put on a Hub of this machine. `argotune run` plans it
by its files, tunes it with LoRA, pushes and serves the adapter, and `argotune chat` asks it. Exits
with 1 if any of it fails; the models learn nothing of use. A run takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    Qwen2Tokenizer,
)

from argotune.presets.families import FAMILIES
from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.steps.tiny.make import make_tokenizer
from tests.fakes.hub import fake_hub
from tests.steps.tune.architectures import random_architecture

_TOKENIZERS: Mapping[str, Any] = {
    "gemma2": GemmaTokenizer,
    "gemma3_text": GemmaTokenizer,
    "granite": GPT2Tokenizer,
    "ministral": LlamaTokenizer,
    "mistral": LlamaTokenizer,
    "olmo2": GPT2Tokenizer,
    "phi3": LlamaTokenizer,
    "qwen2": Qwen2Tokenizer,
    "qwen2_moe": Qwen2Tokenizer,
    "qwen3": Qwen2Tokenizer,
    "qwen3_moe": Qwen2Tokenizer,
}
"""`tokenizer_class` of the published models; that of the others is PreTrainedTokenizerFast."""
_ROWS = 40
_QUESTION, _ANSWER = "Explain number {}.", "It is the number {} of many."
_WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: {workspace}
  annotations:
    argotune.dev/gate: "off"
resource:
  labelSelector: {{matchLabels: {{apps: {workspace}}}}}
tuning:
  preset: {{name: {model}}}
  method: lora
  config: few-steps
  input: {{urls: [{data}]}}
  output: {{image: "oci:{output}"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: few-steps}}
data:
  training_config.yaml: |
    training_config:
      TrainingArguments: {{max_steps: 4}}
      Argotune: {{max_length: 64}}
"""


def main() -> int:
    """Run each family, and print what became of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], metavar="FAMILY")
    families = parser.parse_args().families or list(FAMILIES)
    failed = 0
    for family in families:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            problem = _run(family, Path(directory))
        print(f"{family:12} {time.monotonic() - began:4.0f} s  {problem or 'answered'}", flush=True)
        failed += bool(problem)
    return 1 if failed else 0


def _run(family: str, directory: Path) -> str:
    """Make the model and run it; what failed, or nothing."""
    model_dir = directory / "model"
    parameters = _make_model(family, model_dir)
    name, workspace = f"acme/{family}", family.replace("_", "-")
    data, file = directory / "rows.jsonl", directory / "workspace.yaml"
    data.write_text("".join(f"{json.dumps(_row(number))}\n" for number in range(_ROWS)))
    file.write_text(
        _WORKSPACE.format(
            workspace=workspace, model=name, data=data, output=directory / "dist" / workspace
        )
    )
    with fake_hub() as hub:
        hub.repositories[name] = {path.name: path.read_bytes() for path in model_dir.iterdir()}
        hub.records[name] = {"safetensors": {"parameters": {}, "total": parameters}}
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "ARGOTUNE_HOME": str(directory / "home"),
        }
        try:
            ran = _argotune(environment, "run", str(file), "--yes")
            if ran.returncode:
                return f"argotune run: {ran.stdout[-600:]} {ran.stderr[-600:]}"
            asked = _argotune(environment, "chat", workspace, _QUESTION.format(3))
            return f"argotune chat: {asked.stderr[-600:]}" if asked.returncode else ""
        finally:
            _argotune(environment, "stop", workspace)


def _argotune(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "argotune.workflows.cli", *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=600)


def _row(number: int) -> dict[str, Any]:
    turns = {"user": _QUESTION.format(number), "assistant": _ANSWER.format(number)}
    return {"messages": [{"role": role, "content": text} for role, text in turns.items()]}


def _make_model(family: str, directory: Path) -> int:
    """Write a random model with the tokenizer of preset tiny; returns its number of weights."""
    tiny = model_preset("tiny")
    of_tests = random_architecture(family).config.to_dict()
    architecture = msgspec.structs.replace(tiny.architecture, vocab_size=512)
    preset = msgspec.structs.replace(tiny, architecture=architecture)
    texts = [text.format(number) for text in (_QUESTION, _ANSWER) for number in range(_ROWS)]
    tokenizer = _make_tokenizer(family, texts, preset)
    end = tokenizer.convert_tokens_to_ids(tiny.chat.end_of_turn)
    changes = {
        "vocab_size": 512,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    mapped: Any = CONFIG_MAPPING[family]
    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        mapped(**{**of_tests, **changes})
    )
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    model.to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return int(model.num_parameters())


def _make_tokenizer(family: str, texts: list[str], preset: ModelPreset) -> Any:
    """A tokenizer of the family's class, with the chat template of preset tiny."""
    fast = make_tokenizer(texts, preset)
    if family not in _TOKENIZERS:
        return fast
    special = [token.content for token in fast.added_tokens_decoder.values()]
    own = _TOKENIZERS[family]().train_new_from_iterator(
        texts, preset.architecture.vocab_size, new_special_tokens=special
    )
    own.chat_template = fast.chat_template
    return own


if __name__ == "__main__":
    sys.exit(main())
