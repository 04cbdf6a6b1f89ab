from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.presets.loader import PRESETS_DIR, model_preset
from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.plan.base_model.find import complete, find_base_model, text_of_own
from argotune.steps.plan.base_model.own import WrongPreset, dump_preset, load_preset
from argotune.steps.push.layout import write_image
from tests.fakes.hub import COMMIT, FakeHub, fake_hub, private_hub
from tests.fakes.hub_models import (
    LLAMA,
    LLAMA_PARAMETERS,
    TOKENIZER_CONFIG,
    add_model,
    model_files,
)

NAME = "Some/Model-Instruct"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as running:
        yield running


def find(name: str, hub: FakeHub) -> Any:
    return find_base_model(name, hub_endpoint=hub.endpoint)


def own_text(**changes: str) -> str:
    text = (PRESETS_DIR / "models" / "phi-4.yaml").read_text()
    text = text.replace("name: phi-4\n", "name: mine\n").replace("aliases:", "# aliases:")
    for key, value in changes.items():
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{key}:")]
        text = text.replace(lines[0], f"{lines[0].partition(key)[0]}{key}: {value}")
    return text


@pytest.mark.parametrize(
    "name",
    [
        "phi-4-mini-instruct",
        "PHI-4-Mini-Instruct",
        "microsoft/Phi-4-mini-instruct",
        "Microsoft/phi-4-mini-instruct",
        f"microsoft/Phi-4-mini-instruct@{model_preset('phi-4-mini-instruct').revision}",
    ],
)
def test_a_preset_has_a_name_and_a_hub_id_in_any_case(name: str) -> None:
    preset = find_base_model(name, hub_endpoint="http://127.0.0.1:9")
    assert preset == model_preset("phi-4-mini-instruct")
    assert text_of_own(preset) == ""


def test_any_hub_id_becomes_a_preset_of_its_own_files_at_one_commit(hub: FakeHub) -> None:
    add_model(hub, NAME, parameters=LLAMA_PARAMETERS, gated="manual")
    hub.commits[NAME] = ["a" * 40, "b" * 40]
    preset = find("some/model-instruct", hub)
    assert (preset.name, preset.repository, preset.revision) == (NAME, NAME, "b" * 40)
    assert (preset.license, preset.gated, preset.source) == ("Apache-2.0", True, "hub")
    assert (preset.family, preset.parameters) == ("llama", LLAMA_PARAMETERS)
    assert preset.architecture.head_dim == 16
    assert preset.lora_target_modules[:4] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (preset.chat.eos_token, preset.chat.end_of_turn) == ("<|endoftext|>", "<|im_end|>")
    assert preset.chat.pad_token == "<|pad|>"
    assert preset.defaults.max_length == 512


def test_no_weights_and_no_vocabulary_are_fetched(hub: FakeHub) -> None:
    add_model(hub, NAME)
    find(NAME, hub)
    fetched = {path.rpartition("/")[2] for path in hub.downloads()}
    assert fetched == {"config.json", "generation_config.json", "tokenizer_config.json"}


def test_a_revision_is_asked_for_and_pinned(hub: FakeHub) -> None:
    add_model(hub, NAME)
    hub.commits[NAME] = ["a" * 40, "b" * 40]
    assert find(f"{NAME}@{'a' * 40}", hub).revision == "a" * 40
    assert find(f"{NAME}@main", hub).revision == "b" * 40
    with pytest.raises(PermanentError, match="has no revision v9"):
        find(f"{NAME}@v9", hub)


def test_another_revision_of_a_presets_model_is_read_from_the_hub(hub: FakeHub) -> None:
    add_model(hub, "microsoft/phi-4")
    preset = find("microsoft/phi-4@main", hub)
    assert (preset.name, preset.revision) == ("microsoft/phi-4", COMMIT)


def test_what_was_found_is_the_same_after_its_way_to_the_plan_step(hub: FakeHub) -> None:
    add_model(hub, NAME)
    preset = find(NAME, hub)
    text = text_of_own(preset)
    hub.commits[NAME] = ["b" * 40]
    # No question to the Hub, whose branch has moved.
    hub.requests.clear()
    assert complete(NAME, text, None, hub_endpoint=hub.endpoint) == (NAME, text)
    assert (load_preset(text), hub.requests) == (preset, [])
    assert complete(NAME, "", None, hub_endpoint=hub.endpoint)[1] != text


def test_text_of_a_preset_has_no_tag_of_argo() -> None:
    preset = model_preset("mistral-7b")
    assert "{{" in (preset.chat.template or "")
    text = dump_preset(preset)
    assert "{{" not in text
    assert load_preset(text) == preset


@pytest.mark.parametrize(
    ("config", "tokenizer", "problem"),
    [
        (
            {"model_type": "falcon", "auto_map": {"AutoModel": "modeling.Falcon"}},
            {},
            "needs Python code of its own repository",
        ),
        (
            {"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"]},
            {},
            "DeepseekV3ForCausalLM (model_type deepseek_v3) is an architecture that this version",
        ),
        (
            {"model_type": "bert", "architectures": ["BertForSequenceClassification"]},
            {},
            "BertForSequenceClassification is no causal language model",
        ),
        ({"architectures": None}, {}, "no architecture is no causal language model"),
        (
            {"model_type": "qwen3_moe", "mlp_only_layers": [0], "num_experts": 8},
            {},
            "some of its blocks have experts and others none",
        ),
        (
            {"quantization_config": {"quant_method": "awq"}},
            {},
            "its weights are quantised already (awq)",
        ),
        ({"hidden_size": None}, {}, "config.json: Object missing required field `hidden_size`"),
        ({"hidden_size": "many"}, {}, "config.json: Expected `int`, got `str`"),
        ({}, {"chat_template": None}, "has no chat template, as that of a base model"),
        ({"eos_token_id": 99}, {"eos_token": None}, "so no answer would end"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_the_reason(
    config: dict[str, Any], tokenizer: dict[str, Any], problem: str, hub: FakeHub
) -> None:
    add_model(
        hub,
        NAME,
        config={**LLAMA, **config},
        tokenizer_config={**TOKENIZER_CONFIG, **tokenizer},
    )
    if config.get("eos_token_id"):
        hub.repositories[NAME].pop("generation_config.json")
    with pytest.raises(ParamsError) as caught:
        find(NAME, hub)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"preset: {NAME}@{COMMIT[:12]}: ")


def test_a_quantised_model_of_an_unknown_architecture_has_two_problems(hub: FakeHub) -> None:
    config = {
        **LLAMA,
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "quantization_config": {"quant_method": "mxfp4"},
    }
    add_model(hub, NAME, config=config, cardData={"base_model": ["openai/of-16-bit"]})
    with pytest.raises(ParamsError) as caught:
        find(NAME, hub)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[1].endswith("16-bit weights; name openai/of-16-bit")


def test_code_of_a_known_architecture_is_not_needed(hub: FakeHub) -> None:
    config = {**LLAMA, "auto_map": {"AutoModelForCausalLM": "modeling_llama.Llama"}}
    add_model(hub, NAME, config=config)
    assert find(NAME, hub).family == "llama"


def test_weights_other_than_the_numbers_say_are_refused(hub: FakeHub) -> None:
    add_model(hub, NAME, parameters=2 * LLAMA_PARAMETERS)
    with pytest.raises(ParamsError, match=r"give 106816 parameters, and the weights have 213632"):
        find(NAME, hub)


def test_an_lm_head_that_is_tied_may_be_stored(hub: FakeHub) -> None:
    add_model(hub, NAME, config={**LLAMA, "tie_word_embeddings": True}, parameters=LLAMA_PARAMETERS)
    assert find(NAME, hub).parameters == LLAMA_PARAMETERS - 256 * 64


@pytest.mark.parametrize("lacks", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_that_is_not_whole_is_refused(lacks: str, hub: FakeHub) -> None:
    add_model(hub, NAME)
    hub.repositories[NAME].pop(lacks)
    with pytest.raises(ParamsError, match=lacks.partition(".")[0]):
        find(NAME, hub)


def test_pickles_are_refused(hub: FakeHub) -> None:
    add_model(hub, NAME)
    hub.repositories[NAME].pop("model.safetensors")
    hub.repositories[NAME]["pytorch_model.bin"] = b"code"
    with pytest.raises(ParamsError, match="pickle files"):
        find(NAME, hub)


def test_a_gated_model_says_how_to_ask_for_access(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model(hub, NAME)
    hub.gated.add(NAME)
    with pytest.raises(PermanentError, match="is gated: accept its license on that page"):
        find(NAME, hub)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert find(NAME, hub).gated


def test_a_hub_of_a_private_authority_is_asked_with_its_certificate(tmp_path: Path) -> None:
    with private_hub(tmp_path) as (private, certificate):
        add_model(private, NAME)
        with pytest.raises(PermanentError, match=r"is not trusted \(.*--ca-file.*SSL_CERT_FILE"):
            find(NAME, private)
        no_certificate = tmp_path / "ca.crt"
        no_certificate.write_text("-----BEGIN CERTIFICATE-----")
        with pytest.raises(PermanentError, match="not a certificate in PEM"):
            find_base_model(NAME, hub_endpoint=private.endpoint, ca_file=no_certificate)
        found = find_base_model(NAME, hub_endpoint=private.endpoint, ca_file=certificate)
    assert found.repository == NAME


def test_a_model_that_is_not_there_and_a_hub_in_trouble(hub: FakeHub) -> None:
    with pytest.raises(PermanentError, match="does not exist, or is private"):
        find("no/such", hub)
    add_model(hub, NAME)
    hub.statuses = [404]
    with pytest.raises(PermanentError):
        find(NAME, hub)
    with pytest.raises(TransientError, match="cannot be reached"):
        find_base_model(NAME, hub_endpoint="http://127.0.0.1:9")


def test_a_license_of_the_models_own_and_none(hub: FakeHub) -> None:
    add_model(hub, NAME, cardData={"license": "other", "license_name": "llama3.1"})
    assert find(NAME, hub).license == "llama3.1"
    add_model(hub, NAME, license=None, tags=["license:gemma"])
    assert find(NAME, hub).license == "gemma"
    add_model(hub, NAME, license=None)
    assert find(NAME, hub).license == "unknown"


def test_a_directory_is_read_here(tmp_path: Path) -> None:
    directory = tmp_path / "my-model"
    directory.mkdir()
    for name, content in model_files().items():
        (directory / name).write_bytes(content)
    preset = find_base_model(f"dir:{directory}")
    assert (preset.name, preset.source) == (f"dir:{directory}", f"dir:{directory}")
    assert preset.repository == "local/my-model"
    before = preset.revision
    (directory / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": 512}))
    assert find_base_model(f"dir:{directory}").revision != before
    with pytest.raises(PermanentError, match="no such directory"):
        find_base_model(f"dir:{tmp_path / 'other'}")


def test_a_directory_of_any_name_has_one_for_adapters_and_the_cache(tmp_path: Path) -> None:
    directory = tmp_path / "-- my model (2)"
    directory.mkdir()
    for name, content in model_files().items():
        (directory / name).write_bytes(content)
    preset = find_base_model(f"dir:{directory}")
    assert preset.repository == "local/my-model-2"
    assert load_preset(text_of_own(preset)) == preset


def test_an_image_on_this_machine_is_read_without_its_weights(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name, content in model_files().items():
        (files / name).write_bytes(content)
    layout = tmp_path / "llama"
    write_image(layout, list(files.iterdir()), tag="1", created="2026", annotations={})
    preset = find_base_model(f"oci:{layout}:1")
    assert (preset.repository, preset.source) == ("local/llama", f"oci:{layout}:1")
    assert preset.parameters == LLAMA_PARAMETERS
    with pytest.raises(PermanentError, match="no such tag"):
        find_base_model(f"oci:{layout}:2")


def test_a_name_cannot_lead_to_another_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(own_text())
    (tmp_path / "presets").mkdir()
    with pytest.raises(ParamsError, match="is not a model preset"):
        complete("../mine", "", tmp_path / "presets")


def test_an_image_of_a_registry_needs_the_name_of_its_model() -> None:
    with pytest.raises(ParamsError, match=r"as argotune.dev/model-source"):
        find_base_model("oci:registry.example.com/models/llama:1")


def test_a_preset_of_ones_own_is_found_first(tmp_path: Path) -> None:
    texts = {"mine": own_text()}
    preset = find_base_model("mine", texts.get)
    assert (preset.name, preset.repository) == ("mine", "microsoft/phi-4")
    (tmp_path / "mine.yaml").write_text(own_text())
    assert complete("mine", "", tmp_path) == ("mine", dump_preset(preset))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "phi-4"}, "'phi-4' is a preset of argotune; give yours another name"),
        ({"name": "Mine.Too"}, "accepted are lower-case letters"),
        ({"revision": "main"}, "revision: 'main'; accepted is a commit"),
        ({"repository": "phi-4"}, "repository: 'phi-4'; accepted is OWNER/NAME"),
        ({"parameters": "7"}, "parameters: 7; the architecture's numbers give 14659507200"),
        ({"lora_target_modules": "[q_proj]"}, "lora_target_modules: q_proj; the linear layers"),
        ({"max_length": "99999"}, "defaults.max_length: 99999; accepted is 1 to 16384"),
        ({"source": "dir:/x"}, "source: 'dir:/x'; accepted are hub and cache"),
        ({"family": "falcon"}, "'falcon' is not an architecture"),
    ],
)
def test_a_preset_of_ones_own_is_held_to_the_rules_of_argotunes(
    change: dict[str, str], problem: str
) -> None:
    name = change.get("name", "mine")
    with pytest.raises(ParamsError) as caught:
        find_base_model(name, lambda _: own_text(**change))
    assert problem in str(caught.value)


def test_an_unknown_name_says_what_is_accepted() -> None:
    with pytest.raises(ParamsError, match=r"a model of the Hub is OWNER/NAME"):
        find_base_model("falcon")


def test_a_text_that_is_no_preset_is_refused() -> None:
    with pytest.raises(WrongPreset, match="not a preset as JSON"):
        load_preset("[")
