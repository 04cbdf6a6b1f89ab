"""The service of a training: what serves it, on which GPU, and that it loads there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from argotune.presets.loader import model_presets, skus
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.served import KEYS_AND_VALUES_SHARE
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.contracts.vllm import GPU_MEMORY_SHARE
from argotune.steps.plan.params import Params
from argotune.steps.plan.planning import (
    RunService,
    ServiceParams,
    make_plan,
    read_request,
    read_service_request,
    service_fits,
    service_of_run,
)
from argotune.steps.plan.planning import fits as sku_fits
from argotune.steps.plan.service.size import LEAST_LENGTH

A10, TWO_A10 = "g5.4xlarge", "g2-standard-24"
A100, TWO_A100 = "Standard_NC24ads_A100_v4", "Standard_NC48ads_A100_v4"
PHI_4 = {"preset": "phi-4", "instance_type": A10}
GB_OF_A10 = 24.2


def params(**values: Any) -> Params:
    given = {"name": "demo", "preset": "phi-3-mini-4k-instruct", "instance_type": A10}
    return Params(**given | {"provider": "existing"} | values)


def served(**values: Any) -> RunService:
    wanted = params(**values)
    service = service_of_run(wanted, make_plan(wanted))
    assert service is not None
    return service


def problems(**values: Any) -> list[str]:
    wanted = params(**values)
    with pytest.raises(ParamsError) as caught:
        service_of_run(wanted, make_plan(wanted))
    return caught.value.problems


def test_a_service_has_16_bits_on_vllm_where_they_fit() -> None:
    service = served()
    assert (service.engine, service.load_in_4bit, service.gpus) == ("vllm", False, 1)
    assert service.size.max_length == 4096
    assert service.warnings == ()


def test_phi_4_on_an_a10_is_served_in_4_bits_as_it_was_tuned_and_the_plan_says_so() -> None:
    service = served(**PHI_4)
    assert (service.engine, service.load_in_4bit) == ("transformers", True)
    assert service.size.memory.total_gb < GB_OF_A10
    (warning,) = service.warnings
    assert warning.startswith(
        "the service runs with the base in 4 bits, as tuning has it, on transformers: phi-4 in 16"
        " bits on vLLM with one answer of 2048 tokens needs "
    )


def test_16_bits_that_fit_without_what_vllm_takes_beside_them_stay_16_bits() -> None:
    config = "training_config: {Argotune: {gpu_memory_gib: 11}}"
    service = served(instance_type=None, config=config)
    assert (service.engine, service.load_in_4bit) == ("transformers", False)
    (warning,) = service.warnings
    assert warning.startswith("the service runs on transformers: phi-3-mini-4k-instruct in 16 bits")


def test_4_bits_that_were_forbidden_are_refused_with_what_fits() -> None:
    (problem,) = problems(**PHI_4, load_in_4bit="false")
    assert problem.startswith(
        f"service-gpus: the service does not fit {A10}: phi-4 in 16 bits with one answer of 2048"
        " tokens needs "
    )
    for way in ("g6e.xlarge", "service-load-in-4bit true", "service-gpus 0", "deploy-to none"):
        assert way in problem


def test_more_gpus_of_tuning_do_not_make_more_of_the_service() -> None:
    assert make_plan(params(preset="phi-4", instance_type=TWO_A100)).hardware.gpus == 2
    assert served(preset="phi-4", instance_type=TWO_A100).gpus == 1


def test_a_service_on_several_gpus_shares_the_weights() -> None:
    service = served(preset="phi-4", instance_type=TWO_A10, service_gpus=2)
    assert (service.engine, service.load_in_4bit, service.gpus) == ("vllm", False, 2)
    assert problems(preset="phi-4", instance_type=TWO_A10, service_gpus=4) == [
        f"service-gpus: 4, but {TWO_A10} has 2"
    ]


def test_heads_that_several_gpus_cannot_share_are_refused() -> None:
    wanted = {"instance_type": None, "service_gpus": 3}
    assert problems(**wanted) == [
        "service-gpus: 3, but the model's 32 attention heads cannot be shared by so many; accepted"
        " is a number that divides 32"
    ]


def test_a_machine_of_its_own_is_planned_for() -> None:
    service = served(**PHI_4, service_instance_type="g6e.4xlarge")
    assert (service.engine, service.load_in_4bit) == ("vllm", False)
    assert service.card.instance_type == "g6e.4xlarge"
    (problem,) = problems(
        preset="phi-4", instance_type="g6e.4xlarge", method="lora", service_instance_type=A10
    )
    assert problem.startswith(f"service-instance-type: the service does not fit {A10}: phi-4 in 16")
    (mixed,) = problems(service_instance_type=A100)
    assert mixed.startswith(
        f"service-instance-type: {A100} is a machine of azure; the run is in aws"
    )
    (unknown,) = problems(service_instance_type="Standard_None")
    assert unknown.startswith("service-instance-type: ")


def test_a_service_on_a_cpu_has_no_gpu_and_says_its_memory() -> None:
    service = served(**PHI_4, service_gpus=0)
    assert (service.engine, service.gpus, service.size.answers) == ("transformers", 0, None)
    assert service.warnings == (
        "service-memory: 2Gi, but a server that answers on a CPU takes about 62Gi for phi-4, and"
        " seconds for each word",
    )
    assert served(**PHI_4, service_gpus=0, service_memory="64Gi").warnings == ()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"service_gpus": 0}, "the service has no GPU; give service-gpus 1"),
        ({"allow_cpu": True}, "allow-cpu lets it answer on the CPU"),
        ({"load_in_4bit": "true"}, "service-load-in-4bit is true, and it has no 4 bits of bits"),
    ],
)
def test_vllm_is_refused_by_name_where_it_cannot_serve(values: dict[str, Any], reason: str) -> None:
    (problem,) = problems(engine="vllm", **values)
    assert problem.startswith(f"engine: 'vllm', but {reason}")
    assert problem.endswith("; take transformers, or auto")


def test_a_dora_adapter_is_served_on_transformers() -> None:
    config = "training_config: {LoraConfig: {use_dora: true}}"
    service = served(config=config, instance_type=A100)
    assert (service.engine, service.warnings) == ("transformers", ())


def test_a_server_of_this_machine_is_on_transformers_whatever_is_said_of_clusters() -> None:
    service = served(
        preset="tiny", provider="local", instance_type=None, deploy_to="process", engine="vllm"
    )
    assert (service.engine, service.gpus) == ("transformers", 0)


def test_a_run_without_a_service_of_its_own_plans_none() -> None:
    for values in ({"deploy_to": "none"}, {"serve_with": "other"}):
        wanted = params(**PHI_4, load_in_4bit="false", **values)
        assert service_of_run(wanted, make_plan(wanted)) is None


def test_a_context_that_the_gpu_cannot_hold_is_shortened() -> None:
    assert served(preset="phi-4", load_in_4bit="true").shortened_length is None
    long = served(
        preset="phi-3-medium-128k-instruct",
        load_in_4bit="true",
        config="training_config: {Argotune: {max_length: 8192}}",
    )
    assert long.shortened_length == long.size.max_length < 131_072


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_every_preset_fits_every_machine_or_is_refused_for_tuning_and_service(method: str) -> None:
    outcomes = Counter[str]()
    for preset in model_presets():
        anywhere = params(preset=preset.name, method=method, instance_type=None)
        for tuning in sku_fits(read_request(anywhere).job):
            outcome = "no tuning"
            if tuning.choice is None:
                assert tuning.reason
            else:
                wanted = replace(anywhere, instance_type=tuning.sku.name)
                plan = make_plan(wanted)
                # The longest prompt that evaluate takes, and its longest answer.
                assert plan.evaluation.batch_tokens >= 2048 + 256
                outcome = outcome_of_service(wanted, plan, preset)
            outcomes[outcome] += 1
    assert outcomes.total() == len(model_presets()) * len(skus())
    assert min(outcomes["serves"], outcomes["no tuning"]) > 50, outcomes


def outcome_of_service(wanted: Params, plan: TrainingPlan, preset: ModelPreset) -> str:
    try:
        service = service_of_run(wanted, plan)
    except ParamsError as error:
        (problem,) = error.problems
        assert problem.startswith(
            f"service-gpus: the service does not fit {wanted.instance_type}: "
        )
        assert "; what fits is " in problem
        return "no service"
    assert service is not None
    assert service.gpus == 1
    least = min(LEAST_LENGTH, preset.architecture.max_position_embeddings)
    assert service.size.max_length >= least
    assert is_within(service), (preset.name, service)
    return "serves"


def is_within(service: RunService) -> bool:
    """Whether what was planned is within the GPU, by its own terms."""
    memory, usable_gb = service.size.memory, service.card.usable_gb
    terms = memory.weights_gb + memory.adapters_gb + memory.step_gb + memory.context_gb
    assert usable_gb is not None
    share = GPU_MEMORY_SHARE if service.engine == "vllm" else 1.0
    answers_gb = memory.answer_gb * (service.size.answers or 1) / KEYS_AND_VALUES_SHARE
    return terms + answers_gb <= usable_gb * share + 0.01


def test_every_preset_fits_every_machine_or_is_refused_for_a_service_without_training() -> None:
    outcomes = Counter[bool]()
    for preset in model_presets():
        wanted = ServiceParams(name="demo", preset=preset.name, provider="existing", service_gpus=1)
        for found in service_fits(read_service_request(wanted).job):
            assert (found.size is None) == bool(found.reason)
            outcomes[found.size is not None] += 1
    assert outcomes.total() == len(model_presets()) * len(skus())
    assert min(outcomes.values()) > 50, outcomes
