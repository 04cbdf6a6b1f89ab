"""What others can do with the adapter: traps 9, 10 and 11 of other trainers, and fused layers."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub
import msgspec
import pytest
import safetensors
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoTokenizer

from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import read_contract
from argotune.steps.contracts.vllm import LORA_RANKS
from argotune.steps.serve.load import load_model
from argotune.steps.tokens.tokenizer import load_tokenizer
from argotune.steps.tune.device import find_device
from argotune.steps.tune.load import load_model as load_for_training
from tests.steps.tune.float64 import FLOAT32
from tests.steps.tune.models import VOCABULARY, random_model, save_model, tiny_plan, write_dataset
from tests.steps.tune.traps.running import loss_by_row, tune

REVISION = "0" * 40

PRESETS = {
    "phi-3-mini-4k-instruct": "phi3 with a window",
    "phi-4-mini-instruct": "tied phi-4-mini",
    "mistral-7b-instruct": "mistral",
    "qwen2.5-coder-7b-instruct": "qwen2",
}
"""Presets of all four families, and their small random models."""

ATTENTION = ("qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj")


def tuned(directory: Path, preset: ModelPreset, family: str, **lora: Any) -> Path:
    """A model of the family, and the directory of an adapter for the preset's layers."""
    model_dir = save_model(directory / "model", family)
    write_dataset(directory)
    plan = tiny_plan(max_steps=2)
    model = msgspec.structs.replace(plan.model, family=preset.family)
    targets = msgspec.structs.replace(plan.lora, target_modules=preset.lora_target_modules, **lora)
    tune(directory, model_dir, msgspec.structs.replace(plan, model=model, lora=targets))
    return directory / "adapter"


def test_trap_09_added_tokens_are_refused(tmp_path: Path) -> None:
    """PEFT would save whole embeddings with the adapter, and vLLM would not load it."""
    model_dir = save_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokenizer.add_tokens([f"<|{number}|>" for number in range(VOCABULARY - len(tokenizer))])
    tokenizer.save_pretrained(model_dir)
    assert len(load_tokenizer(model_dir)) == VOCABULARY, (
        "reserved rows of the embedding may be used"
    )
    tokenizer.add_tokens(["<|tool|>", "<|call|>"], special_tokens=True)
    tokenizer.save_pretrained(model_dir)
    ids = tokenizer("<|tool|>", return_tensors="pt")["input_ids"]
    with pytest.raises(IndexError):
        random_model("phi3", "sdpa")(ids)
    with pytest.raises(PermanentError) as caught:
        load_tokenizer(model_dir)
    assert str(caught.value) == (
        "the tokenizer has tokens beyond the model's vocabulary of 300: <|tool|>, <|call|>; vLLM "
        "refuses adapters with new embeddings, so use a reserved token of the tokenizer, or write "
        "the markers as plain text"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_trap_09_the_adapter_is_one_that_vllm_accepts(tmp_path: Path, name: str) -> None:
    """vLLM 0.33, lora/peft_helper.py and lora/lora_model.py: what it refuses, and layer names."""
    preset = model_preset(name)
    adapter = tuned(tmp_path, preset, PRESETS[name], r=12)
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["bias"]) == (12, "none")
    refused = {
        "modules_to_save": None,
        "use_dora": False,
        "lora_bias": False,
        "alora_invocation_tokens": None,
        "layer_replication": None,
        "use_bdlora": None,
        "use_qalora": False,
        "rank_pattern": {},
        "init_lora_weights": True,
    }
    assert {key: config.get(key, value) for key, value in refused.items()} == refused
    assert read_contract(adapter).adapter.r <= max(LORA_RANKS)

    with safetensors.safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    expected = {
        f"base_model.model.model.layers.{layer}.{part}.{target}.lora_{matrix}.weight"
        for layer in (0, 1)
        for target in preset.lora_target_modules
        for part in ["self_attn" if target in ATTENTION else "mlp"]
        for matrix in "AB"
    }
    assert names == expected


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_trap_10_plain_peft_loads_the_base_from_the_hub_id_at_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a cache as the Hub's client keeps it; the newest revision there is another model."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    adapter = tuned(tmp_path, model_preset("phi-3-mini-4k-instruct"), "phi3")
    repository = tmp_path / "hub" / "models--acme--random"
    shutil.copytree(tmp_path / "model", repository / "snapshots" / REVISION)
    save_model(repository / "snapshots" / ("1" * 40), "mistral")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    moved = tmp_path / "elsewhere"
    adapter.rename(moved)
    shutil.rmtree(tmp_path / "model")

    model = AutoPeftModelForCausalLM.from_pretrained(
        moved, cache_dir=tmp_path / "hub", local_files_only=True
    )
    # As the adapter's own README.md says it.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(moved)
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.startswith("<|user|>Hello?<|end|><|assistant|>")

    assert model.get_base_model().config.model_type == "phi3"
    assert sum(isinstance(module, LoraLayer) for module in model.modules()) == 8
    assert len(list(moved.iterdir())) >= 8
    for path in moved.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit linear may get different")
def test_trap_11_the_adapter_is_served_unmerged_as_it_was_measured(
    tmp_path: Path, model_dir: Path
) -> None:
    """Merged into 4-bit weights it is rounded with them."""
    write_dataset(tmp_path)
    result = tune(tmp_path, model_dir, tiny_plan(method="qlora", epochs=4.0))
    adapter = tmp_path / "adapter"
    served = load_model(model_dir, adapter, read_contract(adapter), load_in_4bit=True)
    layers = [module for module in served.modules() if isinstance(module, LoraLayer)]
    assert len(layers) == 8
    assert not any(layer.merged for layer in layers)
    measured = pytest.approx(result.tuned_loss, rel=FLOAT32)
    assert loss_by_row(served, tmp_path, model_dir) == measured
    with served.disable_adapter():
        base = loss_by_row(served, tmp_path, model_dir)
    assert base == pytest.approx(result.base_loss, rel=FLOAT32)
    merged = served.merge_and_unload()
    # It is 5 % off, a thousand times what float32 leaves open.
    assert loss_by_row(merged, tmp_path, model_dir) != pytest.approx(result.tuned_loss, rel=1e-3)


def test_trap_fused_layers_have_other_names_and_a_missing_one_is_refused(model_dir: Path) -> None:
    """PEFT passes over names that match nothing as long as one matches: it trains half a model."""
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    base = AutoModelForCausalLM.from_pretrained(model_dir)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        naive = get_peft_model(base, LoraConfig(target_modules=names, task_type="CAUSAL_LM"))
    trained = {name.split(".")[-4] for name, p in naive.named_parameters() if p.requires_grad}
    assert trained == {"o_proj", "down_proj"}
    plan = tiny_plan()
    unfused = msgspec.structs.replace(plan.lora, target_modules=names)
    with pytest.raises(PermanentError) as caught:
        load_for_training(
            msgspec.structs.replace(plan, lora=unfused), model_dir, find_device(), "default"
        )
    assert str(caught.value) == (
        "lora.target_modules q_proj, k_proj, v_proj, gate_proj, up_proj: no such layer in this "
        "model; it has down_proj, gate_up_proj, lm_head, o_proj, qkv_proj"
    )
