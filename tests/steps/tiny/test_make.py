"""Making preset tiny; the pretraining itself is `make tiny`'s work and takes most of a minute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from argotune.presets.loader import model_preset
from argotune.steps.contracts.model_cache import Origin, base_of, is_complete
from argotune.steps.tiny.docstrings import collect_docstrings
from argotune.steps.tiny.make import make_tiny
from argotune.steps.tokens.template import chat_template

TEXTS = [
    f"{documented.summary} {documented.name}. It is fast." for documented in collect_docstrings()
]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache with tiny after two steps."""
    directory = tmp_path_factory.mktemp("models")
    make_tiny(directory, texts=TEXTS, steps=2)
    return directory


@pytest.fixture
def made(cache_dir: Path) -> Path:
    """The directory of the model."""
    return next(cache_dir.glob("presets/*/*"))


def test_the_model_is_the_presets(cache_dir: Path, made: Path) -> None:
    preset = model_preset("tiny")
    assert is_complete(made)
    assert base_of(made)[0] == Origin(source="made", version=preset.revision)
    assert made.relative_to(cache_dir).as_posix() == f"presets/argotune--tiny/{preset.revision}"
    model = AutoModelForCausalLM.from_pretrained(made)
    assert model.config.model_type == preset.family
    assert model.dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) == preset.parameters
    for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size"):
        assert getattr(model.config, name) == getattr(preset.architecture, name)
    layers = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    assert set(preset.lora_target_modules) <= layers


def test_the_tokenizer_speaks_phi_3s_turns(made: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made)
    assert len(tokenizer) <= model_preset("tiny").architecture.vocab_size
    template = chat_template(tokenizer, made)
    stops = tokenizer.convert_ids_to_tokens(template.stop_token_ids)
    assert stops == [model_preset("tiny").chat.end_of_turn, "<|endoftext|>"]
    text = template.render(
        [{"role": "user", "content": "é?"}, {"role": "assistant", "content": "ü"}]
    )
    ids = tokenizer(text.text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text.text == "<|user|>\né?<|end|>\n<|assistant|>\nü<|end|>\n"


def test_it_is_found_the_second_time_and_the_same_seed_makes_the_same(
    tmp_path: Path, cache_dir: Path, made: Path
) -> None:
    weights = made / "model.safetensors"
    written = weights.stat().st_mtime_ns
    assert make_tiny(cache_dir, texts=TEXTS, steps=2) == made
    assert weights.stat().st_mtime_ns == written
    second = make_tiny(tmp_path / "b", texts=TEXTS, steps=2) / "model.safetensors"
    other = make_tiny(tmp_path / "c", seed=1, texts=TEXTS, steps=2) / "model.safetensors"
    contents = [np.frombuffer(path.read_bytes(), np.uint8) for path in (weights, second, other)]
    assert np.array_equal(contents[0], contents[1])
    assert not np.array_equal(contents[0], contents[2])
