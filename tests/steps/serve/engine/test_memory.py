from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from argotune.steps.serve.engine.memory import (
    free_memory,
    room_problem,
    slots_that_fit,
    token_bytes,
    weights_bytes,
)
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


def test_weights_count_as_they_are_held_and_not_as_they_are_stored(tmp_path: Path) -> None:
    file = tmp_path / "adapter_model.safetensors"
    save_file({"a": torch.zeros(3, 5, dtype=torch.bfloat16), "b": torch.zeros(1)}, file)
    assert weights_bytes(tmp_path) == 4 * (15 + 1)
    file.write_bytes(b"{")
    assert weights_bytes(tmp_path) == 0
    file.unlink()
    assert weights_bytes(tmp_path) == 0


def test_adapters_have_room_up_to_nine_tenths_of_the_memory() -> None:
    fits = {"answers_bytes": 8_000_000, "others_bytes": 600_000, "own_bytes": 400_000}
    assert room_problem(**fits, free_bytes=10_000_000) is None
    assert room_problem(**fits, free_bytes=None) is None
    assert room_problem(**fits, free_bytes=9_900_000) == (
        "its weights take 0.4 MB, those of other added adapters 0.6 MB, and the answers up to"
        " 8.0 MB, but 8.9 MB are there for them"
    )
