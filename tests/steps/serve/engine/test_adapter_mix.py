from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import IA3Config, LoraConfig, get_peft_model

from argotune.steps.common.errors import PermanentError
from argotune.steps.serve.engine.adapter_mix import LEAST_ROWS, AdapterMix
from tests.steps.tune.models import random_model

# PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def adapted(**settings: Any) -> Any:
    config = LoraConfig(r=4, init_lora_weights=False, **{"target_modules": ["o_proj"], **settings})
    return get_peft_model(random_model("phi3", "sdpa"), config).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("adapter")
    adapted().save_pretrained(directory)
    return directory


@pytest.fixture
def model() -> Any:
    return adapted()


def changed(saved: Path, tmp_path: Path, **settings: Any) -> Path:
    """The saved adapter with other settings."""
    directory = shutil.copytree(saved, tmp_path / "changed")
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return directory


def adapters(model: Any) -> set[str]:
    """Adapters of which something is in the model."""
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    return set(model.peft_config).union(*(layer.lora_A for layer in layers))


def test_an_added_dora_adapter_answers_as_the_one_that_was_saved(
    model: Any, tmp_path: Path
) -> None:
    saved = adapted(use_dora=True)
    saved.save_pretrained(tmp_path)
    mix = AdapterMix(model)
    mix.add("dora", tmp_path)
    mix.assign(["dora"] * LEAST_ROWS, torch.device("cpu"))
    path = "base_model.model.model.layers.0.self_attn.o_proj"
    states = torch.randn(1, LEAST_ROWS, 32)
    with torch.no_grad():
        expected = saved.get_submodule(path)(states)
        torch.testing.assert_close(model.get_submodule(path)(states), expected)


def test_an_added_adapter_is_the_one_that_was_saved(model: Any, saved: Path) -> None:
    mix = AdapterMix(model)
    mix.add("later", saved)
    kept = safetensors.torch.load_file(saved / "adapter_model.safetensors")
    loaded = model.get_parameter(
        "base_model.model.model.layers.1.self_attn.o_proj.lora_A.later.weight"
    )
    key = "base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight"
    assert torch.equal(loaded, kept[key])
    mix.remove("later")
    assert adapters(model) == {"default"}


def test_an_adapter_may_be_on_other_layers_than_those_before(model: Any, tmp_path: Path) -> None:
    adapted(target_modules=["down_proj"]).save_pretrained(tmp_path)
    mix = AdapterMix(model)
    mix.add("down", tmp_path)
    layer = model.get_base_model().model.layers[0].mlp.down_proj
    states = torch.randn(1, LEAST_ROWS, layer.in_features)
    mix.assign([None, "down"], torch.device("cpu"))
    with torch.no_grad():
        added = layer(states) - layer.base_layer(states)
    assert added[0, 1].abs().max() > 0
    assert added[0, [0, 2]].abs().max() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 5}, "size mismatch"),
        ({"target_modules": ["nothing"]}, "nothing"),
        ({"target_modules": ["embed_tokens"]}, "embed_tokens, which is no linear layer"),
        ({"modules_to_save": ["lm_head"], "bias": "all"}, r"itself \(modules_to_save, bias in"),
    ],
)
def test_what_cannot_be_mixed_is_refused_and_leaves_nothing(
    model: Any, saved: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    mix = AdapterMix(model)
    with pytest.raises(PermanentError, match=message):
        mix.add("bad", changed(saved, tmp_path, **settings))
    assert adapters(model) == {"default"}
    mix.add("good", saved)


def test_weights_that_are_missing_are_refused(model: Any, saved: Path, tmp_path: Path) -> None:
    directory = changed(saved, tmp_path)
    weights = directory / "adapter_model.safetensors"
    kept = safetensors.torch.load_file(weights)
    left_out = kept.popitem()[0]
    safetensors.torch.save_file(kept, weights)
    mix = AdapterMix(model)
    with pytest.raises(PermanentError, match=r"do not fit its adapter_config\.json") as caught:
        mix.add("bad", directory)
    assert left_out.removesuffix(".weight") in str(caught.value)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(PermanentError, match=r"it has no adapter_model\.safetensors"):
        mix.add("bad", directory)
    assert adapters(model) == {"default"}


def test_weights_that_are_cut_off_are_refused_and_leave_nothing(
    model: Any, saved: Path, tmp_path: Path
) -> None:
    directory = changed(saved, tmp_path)
    weights = directory / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(PermanentError, match=r"changed cannot be loaded: .*incomplete"):
        AdapterMix(model).add("bad", directory)
    assert adapters(model) == {"default"}


def test_other_kinds_of_adapters_are_refused_by_name(model: Any, tmp_path: Path) -> None:
    IA3Config(target_modules=["o_proj"], feedforward_modules=[]).save_pretrained(str(tmp_path))
    with pytest.raises(PermanentError, match=r"it is a \S*IA3 adapter; only LoRA is served"):
        AdapterMix(model).add("bad", tmp_path)
