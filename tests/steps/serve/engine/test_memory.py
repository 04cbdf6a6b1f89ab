from __future__ import annotations

from pathlib import Path

import pytest
import torch

from argotune.steps.serve.engine.memory import free_memory, slots_that_fit, token_bytes
from argotune.steps.serve.engine.row_attention import RowCache
from tests.steps.tune.models import random_model

LENGTH = 100


@pytest.mark.parametrize("family", ["phi3", "qwen2"])
def test_a_token_takes_what_the_cache_takes(family: str) -> None:
    model = random_model(family, "sdpa")
    layers = [layer.self_attn for layer in model.model.layers]
    heads, width = model.config.num_key_value_heads, layers[0].head_dim
    cache, tokens = RowCache(LENGTH), torch.zeros(heads, LENGTH, width)
    kept = [cache.write(block, 0, tokens, tokens) for block in range(len(layers))]
    taken = sum(part.untyped_storage().nbytes() for pair in kept for part in pair)
    assert taken == LENGTH * token_bytes(model)


@pytest.mark.parametrize(("answers", "slots"), [(0.5, 1), (3.7, 2), (4, 3), (100, 16), (None, 16)])
def test_as_many_answers_as_four_fifths_of_the_memory_hold(
    answers: float | None, slots: int
) -> None:
    model = random_model("phi3", "sdpa")
    free = None if answers is None else int(answers * LENGTH * token_bytes(model))
    assert slots_that_fit(model, LENGTH, 16, free) == slots


def test_free_memory_is_what_the_machine_says(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 900 kB\nMemFree: 1 kB\nMemAvailable: 7 kB\n")
    assert free_memory(torch.device("cpu"), meminfo) == 7 * 1024


def test_a_cache_grows_without_losing_anything_and_never_beyond_its_most() -> None:
    cache = RowCache(300)
    whole = torch.randn(2, 300, 4)
    for begin in range(300):
        part = whole[:, begin : begin + 1]
        keys, values = cache.write(0, begin, part, -part)
    assert torch.equal(keys, whole)
    assert torch.equal(values, -whole)
    assert keys.untyped_storage().nbytes() == whole.untyped_storage().nbytes()
