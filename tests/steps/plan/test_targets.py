"""Layer names: real ones, fused ones, unknown ones."""

from __future__ import annotations

import pytest

from argotune.presets.loader import model_preset
from argotune.steps.plan.targets import resolve_targets
from tests.steps.plan.helpers import mixture_of_experts

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PHI = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]


def resolve(wanted: str | list[str], preset: str) -> tuple[list[str], list[str], list[str]]:
    problems: list[str] = []
    warnings: list[str] = []
    found = resolve_targets(wanted, model_preset(preset), problems=problems, warnings=warnings)
    return found, problems, warnings


@pytest.mark.parametrize(
    ("preset", "layers"), [("phi-4", PHI), ("tiny", PHI), ("mistral-7b", SEVEN)]
)
def test_all_linear_is_every_layer_of_the_model(preset: str, layers: list[str]) -> None:
    assert resolve("all-linear", preset) == (layers, [], [])


def test_real_names_stay_in_the_models_order() -> None:
    assert resolve(["v_proj", "q_proj"], "mistral-7b") == (["q_proj", "v_proj"], [], [])


def test_unfused_names_on_a_fused_model_are_mapped_with_a_warning() -> None:
    found, problems, warnings = resolve(["q_proj", "v_proj", "o_proj", "up_proj"], "phi-4")
    assert found == ["qkv_proj", "o_proj", "gate_up_proj"]
    assert problems == []
    assert warnings == [
        "training_config.LoraConfig.target_modules: phi-4 has fused layers, so these are adapted: "
        "q_proj, v_proj -> qkv_proj, up_proj -> gate_up_proj"
    ]


def test_unknown_name_is_refused_with_the_nearest() -> None:
    found, problems, _ = resolve(["q_proj", "query_key_value", "dwn_proj"], "mistral-7b")
    assert found == ["q_proj"]
    assert problems == [
        "training_config.LoraConfig.target_modules: mistral-7b has no linear layer "
        "'query_key_value'; accepted are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj, attention, mlp, or all-linear",
        "training_config.LoraConfig.target_modules: mistral-7b has no linear layer 'dwn_proj'; "
        "did you mean down_proj? accepted are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj, attention, mlp, or all-linear",
    ]


def test_fused_name_on_an_unfused_model_is_refused() -> None:
    _, problems, _ = resolve(["qkv_proj"], "mistral-7b")
    assert len(problems) == 1
    assert problems[0].startswith(
        "training_config.LoraConfig.target_modules: mistral-7b has no linear layer 'qkv_proj'; "
    )


@pytest.mark.parametrize(
    ("preset", "attention", "mlp"),
    [
        ("phi-4", ["qkv_proj", "o_proj"], ["gate_up_proj", "down_proj"]),
        ("qwen3-8b", SEVEN[:4], SEVEN[4:]),
        ("gemma-3-1b-it", SEVEN[:4], SEVEN[4:]),
    ],
)
def test_a_role_is_the_models_layers_for_it(
    preset: str, attention: list[str], mlp: list[str]
) -> None:
    assert resolve("attention", preset) == (attention, [], [])
    assert resolve("mlp", preset) == (mlp, [], [])


def test_layers_of_experts_are_refused_with_the_reason() -> None:
    problems: list[str] = []
    preset = mixture_of_experts()
    assert resolve_targets("all-linear", preset, problems=problems, warnings=[]) == SEVEN[:4]
    assert problems == []
    assert resolve_targets("mlp", preset, problems=problems, warnings=[]) == []
    resolve_targets(["q_proj", "up_proj"], preset, problems=problems, warnings=[])
    assert problems == [
        "training_config.LoraConfig.target_modules: qwen3-30b-a3b has no layers for 'mlp', because "
        "its experts are no linear layers of their own, which PEFT could adapt",
        "training_config.LoraConfig.target_modules: qwen3-30b-a3b has no linear layer 'up_proj', "
        "because its experts are no linear layers of their own, which PEFT could adapt; accepted "
        "are q_proj, k_proj, v_proj, o_proj, attention, or all-linear",
    ]
