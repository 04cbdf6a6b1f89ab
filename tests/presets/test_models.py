"""Every model preset file, walked."""

from __future__ import annotations

import re

import pytest

from argotune.presets.loader import PRESETS_DIR, model_preset, model_presets
from argotune.presets.names import UnknownName
from argotune.presets.schema import ModelPreset
from argotune.presets.sizes import linear_layers, lora_parameters, total_parameters

# Millions of LoRA weights at rank 16 on all linear layers, and the known totals in billions:
# the table of published and recomputed sizes that the memory model was checked against.
KNOWN_SIZES = {
    "phi-3-mini-4k-instruct": (3.82, 25.2),
    "phi-3-mini-128k-instruct": (3.82, 25.2),
    "phi-3.5-mini-instruct": (3.82, 25.2),
    "phi-4-mini-instruct": (3.84, 23.1),
    "phi-3-medium-4k-instruct": (13.96, 55.7),
    "phi-3-medium-128k-instruct": (13.96, 55.7),
    "phi-4": (14.66, 55.7),
    "mistral-7b": (7.25, 41.9),
    "mistral-7b-instruct": (7.25, 41.9),
    "qwen2.5-coder-7b-instruct": (7.62, 40.4),
    "qwen2.5-coder-32b-instruct": (32.76, 134.2),
    "gemma-3-1b-it": (1.00, 13.0),
    "granite-3.3-8b-instruct": (8.17, 49.5),
    "llama-3.1-8b-instruct": (8.03, 41.9),
    "llama-3.2-1b-instruct": (1.24, 11.3),
    "llama-3.2-3b-instruct": (3.21, 24.3),
    "ministral-8b-instruct": (8.02, 43.6),
    "qwen3-0.6b": (0.60, 10.1),
    "qwen3-4b": (4.02, 33.0),
    "qwen3-8b": (8.19, 43.6),
    "smollm3-3b": (3.08, 30.2),
}

# Licenses without restrictions on use, and those with terms of their own to accept.
FREE, GATED = {"MIT", "Apache-2.0"}, {"gemma", "llama3.1", "llama3.2", "mrl"}

# What Kaito 0.12 calls its tuning presets.
KAITO_NAMES = [
    "phi-4",
    "phi-4-mini-instruct",
    "phi-3.5-mini-instruct",
    "phi-3-mini-4k-instruct",
    "phi-3-mini-128k-instruct",
    "phi-3-medium-4k-instruct",
    "phi-3-medium-128k-instruct",
    "mistral-7b-v0.3",
    "mistral-7b",
    "mistral-7b-instruct",
    "qwen2.5-coder-7b-instruct",
    "qwen2.5-coder-32b-instruct",
]

PRESETS = model_presets()


def test_every_file_is_a_preset_of_its_name() -> None:
    stems = {path.stem for path in (PRESETS_DIR / "models").glob("*.yaml")}
    assert len(stems) == 22
    assert stems == {preset.name for preset in PRESETS}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_parameters_follow_from_the_architecture(preset: ModelPreset) -> None:
    assert total_parameters(preset.architecture, preset.family) == preset.parameters


@pytest.mark.parametrize("name", KNOWN_SIZES)
def test_sizes_are_the_published_ones(name: str) -> None:
    preset = model_preset(name)
    billions, lora_millions = KNOWN_SIZES[name]
    lora = lora_parameters(preset.architecture, preset.family, preset.lora_target_modules, 16)
    assert preset.parameters / 1e9 == pytest.approx(billions, abs=0.005)
    assert lora / 1e6 == pytest.approx(lora_millions, abs=0.05)


def test_known_sizes_cover_every_published_model() -> None:
    assert set(KNOWN_SIZES) == {preset.name for preset in PRESETS if preset.source == "hub"}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_target_modules_are_the_real_layers(preset: ModelPreset) -> None:
    assert preset.lora_target_modules == list(linear_layers(preset.architecture, preset.family))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_preset_is_pinned_and_consistent(preset: ModelPreset) -> None:
    architecture, defaults = preset.architecture, preset.defaults
    assert re.fullmatch(r"[0-9a-f]{40}", preset.revision)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", preset.repository)
    assert preset.license in (GATED if preset.gated else FREE)
    assert architecture.num_attention_heads % architecture.num_key_value_heads == 0
    assert defaults.max_length <= architecture.max_position_embeddings
    assert defaults.max_length <= (architecture.original_max_position_embeddings or 1 << 20)
    assert defaults.tokens_per_step >= defaults.max_length
    assert defaults.source
    assert preset.chat.end_of_turn


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_file_opens_with_its_sources_and_a_command(preset: ModelPreset) -> None:
    text = (PRESETS_DIR / "models" / f"{preset.name}.yaml").read_text()
    header = text[: text.index("name:")]
    assert header.startswith("# Numbers: ")
    assert f"# Try it: argotune presets show {preset.name}\n" in header


@pytest.mark.parametrize("name", KAITO_NAMES)
def test_names_of_kaito_are_known(name: str) -> None:
    assert model_preset(name).source == "hub"


def test_names_and_aliases_are_unique() -> None:
    names = [name for preset in PRESETS for name in (preset.name, *preset.aliases)]
    assert len(names) == len(set(names))


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        model_preset("phi3-mini-4k-instruct")
    assert caught.value.nearest == "phi-3-mini-4k-instruct"
    assert str(caught.value).startswith(
        "'phi3-mini-4k-instruct' is not a model preset; did you mean phi-3-mini-4k-instruct? "
        "known are gemma-3-1b-it, granite-3.3-8b-instruct, llama-3.1-8b-instruct, "
    )


def test_name_without_resemblance_gets_the_list_only() -> None:
    with pytest.raises(
        UnknownName, match=r"^'falcon' is not a model preset; known are gemma-3-1b-it"
    ):
        model_preset("falcon")
