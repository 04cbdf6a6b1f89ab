"""The plan step of a service: adapters are fetched, and what does not fit is refused before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.service_plan import (
    ADAPTERS,
    PLAN,
    directory_of,
    read_service_plan,
)
from argotune.steps.contracts.serving import FILE_NAME, read_contract, write_contract
from argotune.steps.plan.service.params import Params, Result
from argotune.steps.plan.service.run import run
from argotune.steps.push.layout import write_image
from tests.fakes.adapter import write_adapter
from tests.fakes.hub import COMMIT, fake_hub
from tests.fakes.hub_models import add_model
from tests.steps.plan.side_by_side.adapters import put_adapter


def planned(tmp_path: Path, *adapters: dict[str, Any], **values: Any) -> Result:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    params = Params(
        name="chat", preset="tiny", adapters=json.dumps(adapters), work_dir=work, **values
    )
    return run(params, progress=Progress())


def foreign(tmp_path: Path, **config: Any) -> Path:
    """An adapter as PEFT writes it, without our serving.json."""
    directory = write_adapter(tmp_path / "foreign")
    (directory / FILE_NAME).unlink()
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | config))
    return directory


def test_adapters_are_on_the_volume_by_digest_and_in_the_plan(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1")
    result = planned(tmp_path, {"name": "docs", "image": image, "strength": 0.5})
    plan = read_service_plan(tmp_path / "work" / PLAN)
    (adapter,) = plan.adapters
    assert adapter.image.partition("@")[2] == adapter.digest
    assert (adapter.name, adapter.strength) == ("docs", 0.5)
    assert result.adapters == f"docs={adapter.digest}"
    place = tmp_path / "work" / ADAPTERS / directory_of(adapter)
    assert (place / "adapter_model.safetensors").is_file()
    assert (result.gpus, result.max_length) == (0, 1024)
    # Another try of the step.
    assert planned(tmp_path, {"name": "docs", "image": image, "strength": 0.5}) == result


def test_the_base_may_be_any_model_of_the_hub(tmp_path: Path) -> None:
    with fake_hub() as hub:
        add_model(hub, "acme/own", license=None)
        params = Params(name="chat", preset="acme/own", work_dir=tmp_path)
        result = run(params, progress=Progress(), hub_endpoint=hub.endpoint)
    plan = read_service_plan(tmp_path / PLAN)
    assert (plan.model.repository, plan.model.revision) == ("acme/own", COMMIT)
    assert plan.model.shape["hidden_size"] == 64
    assert result.model == f"acme/own@{COMMIT}"
    assert "acme/own states no license" in result.warnings


def test_an_adapter_of_anybody_is_taken_with_warnings(tmp_path: Path) -> None:
    directory = foreign(tmp_path, base_model_name_or_path="/somewhere")
    layout = tmp_path / "dist"
    write_image(layout, list(directory.iterdir()), tag="a", created="2026", annotations={})
    result = planned(tmp_path, {"name": "docs", "image": f"oci:{layout}:a"})
    assert "its base is named '/somewhere', so whether it is argotune/tiny" in result.warnings
    assert "it has no serving.json, so it is served with the base model's chat" in result.warnings


def test_an_adapter_that_vllm_would_serve_otherwise_has_the_service_on_transformers(
    tmp_path: Path,
) -> None:
    directory = foreign(
        tmp_path, base_model_name_or_path="argotune/tiny", r=4, rank_pattern={"o_proj": 2}
    )
    asked: dict[str, Any] = {
        "volume_dir": directory,
        "provider": "existing",
        "service_gpus": 1,
    }
    result = planned(tmp_path, {"name": "docs"}, **asked)
    assert read_service_plan(tmp_path / "work" / PLAN).engine == "transformers"
    assert (
        "adapter docs: the adapter's adapter_config.json has rank_pattern, which vLLM does not"
        " follow, so the service runs on transformers" in result.warnings
    )
    with pytest.raises(ParamsError, match="has rank_pattern, which vLLM does not follow; take"):
        planned(tmp_path, {"name": "docs"}, engine="vllm", **asked)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 512}))
    on_vllm = planned(tmp_path, {"name": "docs"}, **asked)
    assert (result.server_memory, on_vllm.server_memory) == ("2Gi", "8Gi")
    plan = read_service_plan(tmp_path / "work" / PLAN)
    assert plan.engine == "vllm"
    assert plan.memory.adapters_gb > 0
    assert planned(tmp_path, service_memory="20Gi").server_memory == "20Gi"


def test_an_adapter_on_the_claim_is_copied_whatever_lies_beside_it(tmp_path: Path) -> None:
    directory = foreign(tmp_path, base_model_name_or_path="argotune/tiny")
    (directory / "optimizer.pt").write_bytes(b"no")
    result = planned(tmp_path, {"name": "docs"}, volume_dir=directory)
    (adapter,) = read_service_plan(tmp_path / "work" / PLAN).adapters
    assert result.adapters == f"docs={adapter.digest}"
    place = tmp_path / "work" / ADAPTERS / directory_of(adapter)
    assert sorted(path.name for path in place.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
    ]


def test_a_claim_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="docs: it has no image, and no claim is mounted"):
        planned(tmp_path, {"name": "docs"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(PermanentError, match=r"has no adapter_config.json and no adapter_model"):
        planned(tmp_path, {"name": "docs"}, volume_dir=tmp_path / "empty")


def test_an_adapter_of_another_base_is_refused_by_name(tmp_path: Path) -> None:
    one = put_adapter(tmp_path, "v1", revision=40 * "9")
    directory = foreign(tmp_path, base_model_name_or_path="microsoft/phi-4", use_dora=True)
    layout = tmp_path / "other"
    write_image(layout, list(directory.iterdir()), tag="a", created="2026", annotations={})
    two = f"oci:{layout}:a"
    with pytest.raises(ParamsError) as caught:
        planned(
            tmp_path,
            {"name": "docs", "image": one},
            {"name": "mail", "image": two, "strength": 0.5},
        )
    docs, dora, mail = caught.value.problems
    assert docs.startswith("adapters: docs: it was tuned on argotune/tiny@9999999999999999999, and")
    assert dora.startswith("adapters: mail: strength 0.5 of a DoRA adapter")
    assert mail == (
        "adapters: mail: it was tuned on microsoft/phi-4, and the service has argotune/tiny"
    )


def test_an_adapter_that_changes_the_base_is_refused_before_a_node_is_made(tmp_path: Path) -> None:
    directory = foreign(
        tmp_path,
        base_model_name_or_path="argotune/tiny",
        modules_to_save=["lm_head"],
        layer_replication=[],
        bias="lora_only",
    )
    with pytest.raises(ParamsError) as caught:
        planned(tmp_path, {"name": "docs"}, volume_dir=directory)
    assert caught.value.problems == [
        "adapters: docs: it changes the base model itself (modules_to_save, bias in"
        " adapter_config.json), so that it cannot be served beside others; tune one without"
    ]


def test_adapters_with_different_rotary_factors_are_refused(tmp_path: Path) -> None:
    images = []
    for rope in ("short", "long"):
        put_adapter(tmp_path, rope)
        directory = tmp_path / rope
        changed = msgspec.structs.replace(read_contract(directory), rope=rope)
        write_contract(directory, changed)
        layout = tmp_path / f"dist-{rope}"
        write_image(layout, list(directory.iterdir()), tag="a", created="2026", annotations={})
        images.append({"name": rope, "image": f"oci:{layout}:a"})
    with pytest.raises(ParamsError, match="short with the short ones, long with the long ones"):
        planned(tmp_path, *images)


def test_a_tag_that_is_not_there_is_told_by_the_adapters_name(tmp_path: Path) -> None:
    put_adapter(tmp_path, "v1")
    with pytest.raises(ParamsError, match="adapters: docs: there is no image with the tag v7"):
        planned(tmp_path, {"name": "docs", "image": f"oci:{tmp_path}/dist:v7"})


def test_settings_that_deploy_would_refuse_are_refused_here(tmp_path: Path) -> None:
    settings = json.dumps({"service-memory": "lots", "provider": "existing"})
    with pytest.raises(ParamsError) as caught:
        planned(tmp_path, settings=settings, config="vllm: {max-model-len: 0}")
    config, memory = caught.value.problems
    assert config.startswith("config: inference_config.yaml: vllm.max-model-len: 0")
    assert memory.startswith("service-memory: 'lots'")


def test_keys_of_clients_that_deploy_would_miss_are_asked_for(tmp_path: Path) -> None:
    settings = json.dumps({"api-keys-secret": "argotune-api-keys", "provider": "existing"})
    with pytest.raises(PermanentError, match="argotune-api-keys"):
        planned(tmp_path, settings=settings, api_keys_file=tmp_path / "none")
