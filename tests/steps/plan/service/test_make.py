"""The plan of a service: its context, its memory, and the machines that hold it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argotune.presets.loader import model_preset
from argotune.presets.sizes import kept_numbers
from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.service_plan import (
    ServedAdapter,
    ServicePlan,
    read_planned_model,
    read_service_plan,
    write_service_plan,
)
from argotune.steps.plan.service.make import (
    FoundAdapters,
    find_service_substitution,
    make_service_plan,
    service_alternatives,
)
from argotune.steps.plan.service.params import Params

A10, A100 = "g5.4xlarge", "Standard_NC24ads_A100_v4"


def params(**values: Any) -> Params:
    given = {"name": "chat", "preset": "phi-3-mini-4k-instruct", "instance_type": A10}
    return Params(**given | {"provider": "karpenter"} | values)


def test_keys_and_values_are_counted_as_published() -> None:
    # Mistral 7B: 128 KiB a token in 16 bits (8 heads of 128 in 32 blocks, keys and values).
    assert 2 * kept_numbers(model_preset("mistral-7b").architecture) == 128 * 1024


def test_the_longest_context_is_planned_that_one_gpu_holds() -> None:
    asked = params(preset="phi-3-mini-128k-instruct", engine="transformers")
    plan = make_service_plan(asked)
    # 7.6 GB of weights leave 15.8 of 24.2 GB, of which 80 % hold 32,000 tokens of 393 KB.
    assert (plan.max_length, plan.answers, plan.rope) == (32000, 1, "long")
    assert plan.memory.weights_gb == pytest.approx(7.64, abs=0.01)
    larger = make_service_plan(
        params(preset="phi-3-mini-128k-instruct", engine="transformers", instance_type=A100)
    )
    assert larger.max_length == 131072


def test_an_asked_length_gives_more_answers_at_once_and_the_short_factors() -> None:
    config = "vllm:\n  max-model-len: 4096\n"
    plan = make_service_plan(params(preset="phi-3-mini-128k-instruct", config=config))
    assert (plan.max_length, plan.answers, plan.rope) == (4096, 6, "short")


def test_a_length_beyond_the_model_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"max-model-len: 8192 tokens; .* at most 4096"):
        make_service_plan(params(config="vllm: {max_model_len: 8192}"))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("vllm: [1]", r"vllm: \[1\]; accepted is a mapping"),
        ("[1]", r"\[1\]; accepted is a mapping with vllm"),
        ("vllm: {max-model-len: many}", "'many'; accepted is a number of tokens"),
        ("vllm: {max-model-len: true}", "True; accepted is a number of tokens"),
        ("vllm: {", "inference_config.yaml: "),
    ],
)
def test_a_wrong_config_is_refused(config: str, problem: str) -> None:
    with pytest.raises(ParamsError, match=problem):
        make_service_plan(params(config=config))


def test_4_bits_need_a_quarter() -> None:
    with pytest.raises(ParamsError, match="service-load-in-4bit true"):
        make_service_plan(params(preset="phi-4"))
    plan = make_service_plan(params(preset="phi-4", load_in_4bit="true"))
    assert plan.memory.weights_gb < 0.35 * 2 * 14.66


def test_adapters_take_memory_and_bound_the_context() -> None:
    found = FoundAdapters(
        adapters=[ServedAdapter(name="docs", digest=f"sha256:{64 * '1'}")],
        file_bytes=500_000_000,
        largest_rank=16,
        rope="short",
    )
    asked = params(
        preset="phi-3-mini-128k-instruct", adapters='[{"name": "docs"}]', engine="transformers"
    )
    plan = make_service_plan(asked, found)
    assert (plan.max_length, plan.rope, plan.memory.adapters_gb) == (4096, "short", 1.0)
    assert [each.digest for each in plan.adapters] == [f"sha256:{64 * '1'}"]
    # Before they are fetched.
    assert [each.digest for each in make_service_plan(asked).adapters] == [""]


def test_on_vllm_a_step_and_places_for_adapters_take_memory() -> None:
    ten = [ServedAdapter(name=f"a{n}", digest=f"sha256:{64 * '1'}") for n in range(10)]
    found = FoundAdapters(adapters=ten, file_bytes=1_000_000, largest_rank=17)
    adapters = json.dumps([{"name": each.name, "image": "acme/a:v1"} for each in ten])
    plan = make_service_plan(params(preset="phi-3-mini-128k-instruct", adapters=adapters), found)
    assert (plan.engine, plan.answers) == ("vllm", 1)
    # 2048 tokens with 143 KB of a block, and 256 answers with 24 bytes for each of 32,064 words.
    assert plan.memory.step_gb == pytest.approx(0.2936 + 0.1970, abs=0.001)
    # Eight places of rank 32: on the layers of 32 blocks and at both ends.
    assert plan.memory.adapters_gb == pytest.approx(
        8 * 2 * 32 * (32 * 49152 + 70272) / 1e9, abs=0.001
    )
    assert plan.max_length < make_service_plan(params(preset="phi-3-mini-128k-instruct")).max_length
    short = "vllm: {max-model-len: 256}"
    assert make_service_plan(params(config=short, instance_type=A100)).answers == 256


@pytest.mark.parametrize(
    ("values", "engine"),
    [
        ({}, "vllm"),
        ({"engine": "transformers"}, "transformers"),
        ({"load_in_4bit": "true"}, "transformers"),
        ({"allow_cpu": True}, "transformers"),
        ({"service_gpus": 0}, "transformers"),
        ({"provider": "local", "engine": "vllm"}, "transformers"),
        ({"provider": "existing", "instance_type": None, "preset": "tiny"}, "transformers"),
    ],
)
def test_the_engine_is_vllm_on_gpus(values: dict[str, Any], engine: str) -> None:
    assert make_service_plan(params(**values)).engine == engine


def test_vllm_without_a_gpu_is_refused() -> None:
    with pytest.raises(ParamsError, match="engine: 'vllm', but tiny is planned for a CPU; give"):
        make_service_plan(
            params(provider="existing", instance_type=None, preset="tiny", engine="vllm")
        )


def test_an_adapter_that_vllm_does_not_serve_has_transformers_or_is_refused() -> None:
    found = FoundAdapters(reasons_against_vllm=["docs: the adapter is a DoRA adapter"])
    plan = make_service_plan(params(), found)
    assert plan.engine == "transformers"
    assert plan.warnings == [
        "adapter docs: the adapter is a DoRA adapter, so the service runs on transformers"
    ]
    with pytest.raises(ParamsError, match="adapters: docs: the adapter is a DoRA adapter; take"):
        make_service_plan(params(engine="vllm"), found)


def test_what_fits_on_transformers_alone_is_refused_with_that_way() -> None:
    config = "vllm: {max-model-len: 30000}"
    asked = params(preset="phi-3-mini-128k-instruct", config=config)
    with pytest.raises(ParamsError, match=r" on vLLM .*, or engine transformers, or service-load"):
        make_service_plan(asked)


def test_all_problems_of_adapters_are_told_at_once() -> None:
    adapters = [{"name": "A", "strength": 2}, {"name": "b"}, {"name": "b", "image": "x y/z"}]
    with pytest.raises(ParamsError) as caught:
        make_service_plan(params(adapters=json.dumps(adapters), name="Chat"))
    told = [problem.split("; ")[0] for problem in caught.value.problems]
    assert told[:4] == [
        told[0],
        "adapters: b is there twice",
        "adapters: A, b: one adapter can come from the claim, whose files are at its top",
        "adapters: 'A'",
    ]
    assert told[4] == "adapters: A: strength 2"
    assert told[5].startswith("adapters: b: 'x y/z'")
    assert told[0].startswith("name: 'Chat'")


@pytest.mark.parametrize("text", ["{", "[1]", '[{"name": "a", "weight": 1}]', '[{"image": "a/b"}]'])
def test_what_is_no_list_of_adapters_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="accepted is a JSON list such as"):
        make_service_plan(params(adapters=text))


def test_other_machines_hold_the_same_context_at_twice_the_price_at_most() -> None:
    asked = params(instance_type=A100)
    found = service_alternatives(asked, make_service_plan(asked))
    assert found
    assert "Standard_NC40ads_H100_v5" in found
    assert A100 not in found


def test_a_retired_machine_has_a_substitute() -> None:
    found = find_service_substitution(params(instance_type="Standard_NC6s_v3"))
    assert found is not None
    assert (found.new, found.retired) == (A100, True)
    assert find_service_substitution(params()) is None


def test_without_a_machine_the_smallest_gpu_is_assumed_on_a_cluster() -> None:
    plan = make_service_plan(params(instance_type=None, provider="existing", preset="phi-4"))
    assert (plan.hardware.gpus, plan.hardware.gpu_memory_gib) == (1, 48)
    assert plan.warnings[0].startswith("no instance type is named, so the plan is for a GPU")
    here = make_service_plan(params(instance_type=None, provider="local"))
    assert (here.hardware.gpus, here.answers, here.max_length) == (0, None, 4096)


def test_no_gpu_is_planned_where_the_server_is_to_use_none() -> None:
    plan = make_service_plan(params(service_gpus=0))
    assert (plan.hardware.gpus, plan.answers) == (0, None)
    with pytest.raises(ParamsError, match="2; accepted are 0 and 1"):
        params(service_gpus=2)


def test_one_gpu_of_several_is_used_and_that_is_told() -> None:
    plan = make_service_plan(params(instance_type="Standard_NC96ads_A100_v4"))
    assert plan.hardware.gpus == 1
    assert "has 4 GPUs, of which a server uses one; service-replicas 4 uses all" in plan.warnings[0]


def test_the_plan_is_read_back_and_the_model_step_finds_its_model(tmp_path: Any) -> None:
    plan: ServicePlan = make_service_plan(params())
    write_service_plan(tmp_path / "plan.yaml", plan)
    assert read_service_plan(tmp_path / "plan.yaml") == plan
    assert read_planned_model(tmp_path / "plan.yaml") == plan.model
