"""vLLM's arguments by contract and flags."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.params import Params
from argotune.steps.vllm.engine_args import engine_args, write_tokenizer
from tests.fakes.engine import CONTRACT
from tests.fakes.tokenizer import make_tokenizer
from tests.steps.vllm.test_engine import with_rank

CONFIG = SimpleNamespace(num_attention_heads=32, max_position_embeddings=128)


def args(
    contract: ServingContract = CONTRACT,
    *,
    further: tuple[ServingContract, ...] = (),
    capability: tuple[int, int] | None = (8, 6),
    config: Any = CONFIG,
    **flags: Any,
) -> dict[str, Any]:
    params = Params(model_dir=Path("/models/base"), adapter_dir=Path("/adapter"), name="x", **flags)
    return engine_args(
        params,
        contract,
        config,
        further=further,
        tokenizer_dir=Path("/tokenizer"),
        capability=capability,
    )


def test_nothing_comes_from_the_hub_or_from_the_base_models_own_settings() -> None:
    found = args()
    assert (found["model"], found["tokenizer"]) == ("/models/base", "/tokenizer")
    assert found["generation_config"] == "vllm"
    assert found["trust_remote_code"] is False


@pytest.mark.parametrize(
    ("capability", "dtype", "eager"),
    [((8, 6), "bfloat16", False), ((7, 5), "float32", False), (None, "float32", True)],
)
def test_it_computes_in_the_type_of_training(
    capability: tuple[int, int] | None, dtype: str, eager: bool
) -> None:
    found = args(capability=capability)
    assert (found["dtype"], found["enforce_eager"]) == (dtype, eager)


def test_the_length_is_the_models_or_what_fits_unless_training_was_shorter() -> None:
    assert args()["max_model_len"] == -1
    longer = SimpleNamespace(num_attention_heads=32, max_position_embeddings=131072)
    assert args(config=longer)["max_model_len"] == 128


def test_there_is_room_for_the_largest_rank() -> None:
    assert args()["max_lora_rank"] == 8
    # Those that vLLM does not serve are refused later, each with its reason.
    others = (with_rank(17), with_rank(600), with_rank(200, use_dora=True))
    assert args(further=others)["max_lora_rank"] == 32


def test_further_adapters_have_room_where_there_may_be_some() -> None:
    alone, several = args(), args(adapters_dir=Path("/adapters"))
    assert (alone["max_loras"], alone["max_cpu_loras"]) == (1, 2)
    assert several["max_cpu_loras"] > several["max_loras"] > 1


def test_a_service_has_room_for_its_own_adapters_and_no_more() -> None:
    base = with_rank(0)
    assert "enable_lora" not in args(base)
    three, ten = (args(base, further=(CONTRACT,) * number) for number in (3, 10))
    assert (three["max_lora_rank"], three["max_loras"], three["max_cpu_loras"]) == (8, 3, 4)
    assert (ten["max_loras"], ten["max_cpu_loras"]) == (8, 11)


def test_a_gpu_has_the_shares_that_services_are_planned_with() -> None:
    found = args(slots=4000)
    assert (found["gpu_memory_utilization"], found["max_num_batched_tokens"]) == (0.9, 4000)
    assert "gpu_memory_utilization" not in args(capability=None)


def test_a_short_context_has_the_long_factors_that_its_adapters_were_trained_with() -> None:
    config = SimpleNamespace(
        num_attention_heads=32,
        max_position_embeddings=131072,
        rope_parameters={"original_max_position_embeddings": 4096},
    )
    long = msgspec.structs.replace(CONTRACT, rope="long")
    assert args(long, config=config)["max_model_len"] == 4097
    assert (
        args(msgspec.structs.replace(long, max_length=9000), config=config)["max_model_len"] == 9000
    )


def test_several_gpus_share_the_model() -> None:
    assert args(gpus=4)["tensor_parallel_size"] == 4
    assert args(gpus=0)["tensor_parallel_size"] == 1


def test_the_slots_are_vllms_unless_they_are_given() -> None:
    assert args()["max_num_seqs"] == 256
    assert args(slots=3)["max_num_seqs"] == 3


def test_all_that_vllm_does_not_serve_is_said_at_once() -> None:
    with pytest.raises(PermanentError) as caught:
        args(with_rank(8, use_dora=True), load_in_4bit=True, gpus=3)
    assert str(caught.value) == (
        "the adapter is a DoRA adapter, which vLLM does not serve; serve it on transformers; "
        "--load-in-4bit: vLLM has no 4 bits of bitsandbytes; serve on transformers; "
        "--gpus: 3, but the model's 32 attention heads cannot be shared by so many; give a number "
        "that divides 32"
    )


def test_the_tokenizer_ends_texts_as_training_did(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = make_tokenizer()
    write_tokenizer(tokenizer, CONTRACT, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token == "<|end|>"
    assert tokenizer.eos_token == "<|endoftext|>"
