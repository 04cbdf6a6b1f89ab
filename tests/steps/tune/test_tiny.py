"""Making preset tiny; the pretraining itself is `make tiny`'s work and takes most of a minute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from presets.loader import model_preset
from steps.common.docstrings import collect_docstrings
from steps.common.model_cache import is_complete
from steps.tune.template import chat_template
from steps.tune.tiny import make_tiny

TEXTS = [
    f"{documented.summary} {documented.name}. It is fast." for documented in collect_docstrings()
]


def test_the_model_is_the_presets(tmp_path: Path) -> None:
    preset = model_preset("tiny")
    directory = make_tiny(tmp_path, texts=TEXTS, steps=2)
    assert is_complete(directory)
    assert directory.relative_to(tmp_path).as_posix() == f"argotune--tiny/{preset.revision}"
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert model.config.model_type == preset.family
    assert model.dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) == preset.parameters
    for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size"):
        assert getattr(model.config, name) == getattr(preset.architecture, name)
    layers = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    assert set(preset.lora_target_modules) <= layers


def test_the_tokenizer_speaks_phi_3s_turns(tmp_path: Path) -> None:
    directory = make_tiny(tmp_path, texts=TEXTS, steps=1)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert len(tokenizer) <= model_preset("tiny").architecture.vocab_size
    template = chat_template(tokenizer, directory)
    stops = tokenizer.convert_ids_to_tokens(template.stop_token_ids)
    assert stops == [model_preset("tiny").chat.end_of_turn, "<|endoftext|>"]
    text = template.render(
        [{"role": "user", "content": "é?"}, {"role": "assistant", "content": "ü"}]
    )
    ids = tokenizer(text.text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text.text == "<|user|>\né?<|end|>\n<|assistant|>\nü<|end|>\n"


def test_it_is_found_the_second_time_and_the_same_seed_makes_the_same(tmp_path: Path) -> None:
    first = make_tiny(tmp_path / "a", texts=TEXTS, steps=2)
    weights = first / "model.safetensors"
    written = weights.stat().st_mtime_ns
    make_tiny(tmp_path / "a", texts=TEXTS, steps=2)
    assert weights.stat().st_mtime_ns == written
    second = make_tiny(tmp_path / "b", texts=TEXTS, steps=2) / "model.safetensors"
    other = make_tiny(tmp_path / "c", seed=1, texts=TEXTS, steps=2) / "model.safetensors"
    contents = [np.frombuffer(path.read_bytes(), np.uint8) for path in (weights, second, other)]
    assert np.array_equal(contents[0], contents[1])
    assert not np.array_equal(contents[0], contents[2])
