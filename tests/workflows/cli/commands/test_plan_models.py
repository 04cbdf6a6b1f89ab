"""argotune plan of models that no preset has: those of the Hub, and presets of one's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.presets.loader import PRESETS_DIR
from argotune.steps.contracts.training_plan import parse_plan
from tests.fakes.hub import COMMIT, FakeHub, ask_by_default, fake_hub
from tests.fakes.hub_models import LLAMA_PARAMETERS, add_model
from tests.workflows.cli.command import PROJECT_DIR, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import TINY
from tests.workflows.workspace.helpers import changed

NAME = "Some/Model-Instruct"
MODELS = list(
    csv.DictReader(
        Path(__file__).with_name("kaito_models.tsv").read_text().splitlines(), delimiter="\t"
    )
)
"""Kaito's catalogue of 0.12: the columns of its model_catalog.yaml."""
PLANNED = {
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "ibm-granite/granite-4.1-8b",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "microsoft/Phi-3-medium-128k-instruct",
    "microsoft/Phi-3-medium-4k-instruct",
    "microsoft/Phi-3-mini-128k-instruct",
    "microsoft/Phi-3-mini-4k-instruct",
    "microsoft/Phi-3.5-mini-instruct",
    "microsoft/Phi-4-mini-instruct",
    "microsoft/phi-4",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "mistralai/Mistral-7B-v0.3",
    "Qwen/Qwen2.5-Coder-32B-Instruct",
    "Qwen/Qwen2.5-Coder-7B-Instruct",
}
_TYPES = {
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "GptOssForCausalLM": "gpt_oss",
    "GraniteForCausalLM": "granite",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Phi3ForCausalLM": "phi3",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
_QUANTISED = {"AWQ": "awq", "GPTQ": "gptq", "FP8": "fp8", "NVFP4": "modelopt", "gpt-oss": "mxfp4"}
_VOCABULARY = 128_256
_GIB = 2**30


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as running:
        ask_by_default(running, monkeypatch)
        yield running


def workspace(preset: str) -> str:
    return TINY.replace("name: tiny", f"name: {preset}").replace("method: lora", "method: qlora")


def config_of(row: dict[str, str]) -> dict[str, Any]:
    """A config.json with the row's numbers, and an MLP that makes up the size of its files."""
    hidden, layers = int(row["hiddenSize"]), int(row["numHiddenLayers"])
    heads, keys = int(row["numAttentionHeads"]), int(row["numKeyValueHeads"])
    weights = float(row["modelFileSize"].removesuffix("Gi")) * _GIB / 2
    attention = 2 * hidden * hidden * (1 + keys / heads)
    of_mlps = weights - 2 * _VOCABULARY * hidden - layers * attention
    named = row["architectures"]
    config: dict[str, Any] = {
        "architectures": [named],
        "model_type": _TYPES.get(named, named.lower()),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "max_position_embeddings": int(row["modelTokenLimit"]),
        "intermediate_size": max(128, round(of_mlps / (3 * hidden * layers))),
        "vocab_size": _VOCABULARY,
    }
    for part, method in _QUANTISED.items():
        if part in row["name"]:
            config["quantization_config"] = {"quant_method": method}
    return config


@pytest.mark.parametrize("row", MODELS, ids=[row["name"] for row in MODELS])
def test_every_model_of_kaitos_catalogue_fits_or_is_refused_with_a_reason(
    row: dict[str, str], hub: FakeHub, argotune: Argotune, write: Write
) -> None:
    add_model(hub, row["name"], config=config_of(row), license=row["license"])
    file = write("workspace.yaml", workspace(row["name"]))
    answer = argotune("plan", file, "--output", "yaml")
    if row["name"] in PLANNED:
        assert answer.code == 0, answer.err
        assert parse_plan(answer.out).model.repository == row["name"]
        return
    assert answer.code == 2
    assert all(each.startswith("tuning.preset.name: ") for each in answer.errors)
    reasons = ("no causal language model", "this version cannot tune", "quantised already")
    assert any(reason in each for reason in reasons for each in answer.errors)


def test_the_plan_names_commit_license_and_gate(
    hub: FakeHub, argotune: Argotune, write: Write
) -> None:
    add_model(hub, NAME, parameters=LLAMA_PARAMETERS, license="llama3.1", gated="manual")
    answer = argotune("plan", write("workspace.yaml", workspace(NAME.lower())))
    assert answer.code == 0, answer.err
    row = next(line for line in answer.out.splitlines() if line.startswith("  model "))
    assert row.split() == ["model", NAME, f"{COMMIT[:12]},", "llama3.1,", "gated"]


def test_a_service_of_any_model(hub: FakeHub, argotune: Argotune, write: Write) -> None:
    add_model(hub, NAME)
    text = (PROJECT_DIR / "workflows/demo/serve.yaml").read_text()
    name = "phi-3-mini-4k-instruct"
    file = write("serve.yaml", text.replace(f"name: {name}", f"name: {NAME}"))
    answer = argotune("plan", file)
    assert answer.code == 0, answer.err
    assert NAME in answer.out
    refused = write("wrong.yaml", text.replace(f"name: {name}", "name: no/such"))
    wrong = argotune("plan", refused)
    assert wrong.code == 2
    assert wrong.errors[0].startswith("inference.preset.name: ")
    assert "no/such does not exist, or is private" in wrong.errors[0]


def test_a_license_that_nobody_states_is_warned_of(
    hub: FakeHub, argotune: Argotune, write: Write
) -> None:
    add_model(hub, NAME, license=None)
    answer = argotune("plan", write("workspace.yaml", workspace(NAME)))
    assert f"{NAME} states no license" in answer.err


@pytest.mark.parametrize("flags", [(), ("--schedule", "0 3 * * *")])
def test_a_run_and_a_schedule_keep_the_commit_that_was_planned(
    flags: tuple[str, ...], hub: FakeHub, argotune: Argotune, write: Write
) -> None:
    add_model(hub, NAME)
    hub.commits[NAME] = ["a" * 40]
    file = write("workspace.yaml", changed({"tuning/preset": {"name": NAME}}))
    answer = argotune("render", file, *flags)
    assert answer.code == 0, answer.err
    spec = yaml.safe_load(answer.out)["spec"]
    parameters = spec.get("workflowSpec", spec)["arguments"]["parameters"]
    own = next(each["value"] for each in parameters if each["name"] == "own-preset")
    assert json.loads(own)["revision"] == "a" * 40


def test_a_preset_in_the_same_file(argotune: Argotune, write: Write) -> None:
    text = own_preset()
    file = write("workspace.yaml", workspace("mine") + config_map(text))
    answer = argotune("plan", file, "--output", "yaml")
    assert answer.code == 0, answer.err
    plan = parse_plan(answer.out)
    assert (plan.model.preset, plan.model.repository) == ("mine", "microsoft/phi-4")
    assert "not used" not in answer.err


def test_a_preset_in_the_same_file_that_is_wrong_or_unused(
    argotune: Argotune, write: Write
) -> None:
    wrong = own_preset().replace("parameters: 14_659_507_200", "parameters: 1")
    answer = argotune("plan", write("workspace.yaml", workspace("mine") + config_map(wrong)))
    assert answer.code == 2
    assert answer.errors == [
        "tuning.preset.name: preset mine: parameters: 1; the architecture's numbers give"
        " 14659507200"
    ]
    file = write("other.yaml", workspace("phi-4") + config_map(own_preset()))
    other = argotune("plan", file)
    assert "ConfigMap 'my-preset': not used; no preset.name is 'mine'" in other.err


def test_an_added_preset_is_a_file_that_every_command_knows(
    hub: FakeHub,
    argotune: Argotune,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARGOTUNE_HOME", str(tmp_path / "home"))
    add_model(hub, NAME, parameters=LLAMA_PARAMETERS)
    added = argotune("presets", "add", NAME)
    path = tmp_path / "home/presets/model-instruct.yaml"
    assert (added.code, added.out) == (0, f"{path}\n")
    text = path.read_text()
    assert text.startswith(f"# Architecture: config.json of {NAME} at {COMMIT}.\n# Not in it, so")
    assert f"counted from the architecture; the weights have {LLAMA_PARAMETERS}" in text
    assert argotune("presets", "show", "model-instruct").out == text
    table = argotune("presets").out.splitlines()
    row = next(line.split() for line in table if line.startswith("model-instruct"))
    assert row == ["model-instruct", "0.1M", "512", "Apache-2.0", NAME]
    plan = argotune("plan", write("w.yaml", workspace("model-instruct")), "--output", "yaml")
    assert parse_plan(plan.out).model.revision == COMMIT
    again = argotune("presets", "add", NAME)
    assert (again.code, again.errors) == (
        2,
        [f"{path}: is there already; give --name, or delete it"],
    )


def test_a_base_model_is_added_with_a_template(
    hub: FakeHub, argotune: Argotune, tmp_path: Path
) -> None:
    add_model(hub, NAME, tokenizer_config={"eos_token": "</s>"})
    refused = argotune("presets", "add", NAME, "-o", tmp_path)
    assert refused.code == 2
    assert f"`argotune presets add {NAME} --chat-template FILE`" in refused.errors[0]
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[0]['content'] }}{{ eos_token }}")
    directory = tmp_path / "presets"
    added = argotune("presets", "add", NAME, "--chat-template", template, "-o", directory)
    assert added.code == 0, added.err
    written = yaml.safe_load((directory / "model-instruct.yaml").read_text())
    assert written["chat"]["template"] == template.read_text()


def own_preset() -> str:
    text = (PRESETS_DIR / "models" / "phi-4.yaml").read_text()
    return text.replace("name: phi-4\n", "name: mine\n").replace("aliases:", "# aliases:")


def config_map(preset: str) -> str:
    indented = "".join(f"    {line}\n" for line in preset.splitlines())
    return (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: my-preset\ndata:\n"
        f"  model_preset.yaml: |\n{indented}"
    )
