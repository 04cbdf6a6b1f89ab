"""A service without training: the base alone, and adapters of anybody beside it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.service_plan import ADAPTERS, read_service_plan
from argotune.steps.contracts.serving import FILE_NAME, ServingContract, read_contract
from argotune.steps.deploy.service_files import write_service_files
from argotune.steps.serve.base_contract import contract_of_adapter, contract_of_base
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.engine.interface import Question
from argotune.steps.serve.engine.transformers_engine import TransformersEngine
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.load import load_model
from argotune.steps.serve.served_files import load_tokenizer
from tests.fakes.services import write_service
from tests.steps.serve.conftest import ANSWER, QUESTION, Tuned
from tests.steps.serve.engine.test_transformers_engine import LIKELIEST, text_of
from tests.steps.tune.models import tiny_plan


@pytest.fixture(scope="module")
def files(tuned: Tuned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a service as deploy leaves them."""
    folder = tmp_path_factory.mktemp("service")
    foreign = folder / "foreign"
    shutil.copytree(tuned.adapter_dir, foreign)
    (foreign / FILE_NAME).unlink()
    adapters = {"whole": tuned.adapter_dir, "none": tuned.adapter_dir, "foreign": foreign}
    plan_file = write_service(
        folder / "work",
        adapters,
        strengths={"none": 0.0},
        model=tiny_plan().model,
        max_length=64,
    )
    return write_service_files(plan_file, folder / "files")


@pytest.fixture(scope="module")
def contract(files: Path, tuned: Tuned) -> ServingContract:
    return contract_of_base(read_service_plan(files / "service-plan.yaml"), tuned.model_dir)


@pytest.fixture(scope="module")
def engine(contract: ServingContract, tuned: Tuned) -> Iterator[TransformersEngine]:
    model = load_model(tuned.model_dir, None, contract, load_in_4bit=False)
    tokenizer = load_tokenizer(tuned.model_dir, contract)
    engine = TransformersEngine(model, tokenizer, contract, name=None)
    yield engine
    engine.close()


def test_the_base_is_served_as_training_would_have_had_it(
    contract: ServingContract, tuned: Tuned
) -> None:
    assert contract.base == tuned.contract.base
    assert contract.chat_template == tuned.contract.chat_template
    assert contract.stop_token_ids == tuned.contract.stop_token_ids
    assert (contract.max_length, contract.adapter.r) == (64, 0)


def test_the_longest_context_of_adapters_is_the_services(files: Path, tuned: Tuned) -> None:
    assert tuned.contract.max_length > 64
    assert read_contract(files / ADAPTERS / "whole").max_length == 64


def test_the_base_answers_and_adapters_by_their_strength(
    engine: TransformersEngine, files: Path, tuned: Tuned
) -> None:
    conversations = Conversations(
        engine, load_tokenizer(tuned.model_dir, tuned.contract), name="it"
    )

    def ask(model: str) -> Question:
        return conversations.question(
            [{"role": "user", "content": QUESTION}],
            model=model,
            max_new_tokens=20,
            sampling=LIKELIEST,
        )

    async def answers() -> dict[str, str]:
        before = await text_of(engine, ask("it"))
        with pytest.raises(ApiError, match="'whole' is not served here; available are 'it' and"):
            ask("whole")
        for name in ("whole", "none", "foreign"):
            await engine.add_adapter(name, files / ADAPTERS / name)
        texts = {name: await text_of(engine, ask(name)) for name in conversations.names()}
        return {"before": before, **texts}

    found = asyncio.run(answers())
    assert list(found) == ["before", "it", "whole", "none", "foreign", "acme/random"]
    assert found["whole"] == found["foreign"] == ANSWER
    # At strength 0 an adapter adds nothing, and beside others the base is what it was.
    base = {found[name] for name in ("before", "it", "none", "acme/random")}
    assert len(base) == 1
    assert base != {ANSWER}


def test_the_first_adapter_that_cannot_be_loaded_leaves_the_base_whole(
    contract: ServingContract, tuned: Tuned, tmp_path: Path
) -> None:
    shutil.copytree(tuned.adapter_dir, tmp_path / "bad")
    (tmp_path / "bad" / "adapter_model.safetensors").write_bytes(b"no")
    model = load_model(tuned.model_dir, None, contract, load_in_4bit=False)
    tokenizer = load_tokenizer(tuned.model_dir, contract)
    engine = TransformersEngine(model, tokenizer, contract, name=None)

    async def answers() -> str:
        with pytest.raises(PermanentError, match="cannot be loaded"):
            await engine.add_adapter("bad", tmp_path / "bad")
        assert not engine.adapters()
        await engine.add_adapter("docs", tuned.adapter_dir)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": QUESTION}], add_generation_prompt=True
        )["input_ids"]
        asked: dict[str, Any] = {"max_new_tokens": 20, "sampling": LIKELIEST}
        return await text_of(engine, Question(prompt=tuple(prompt), adapter="docs", **asked))

    try:
        assert asyncio.run(answers()) == ANSWER
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["v_proj", "q_proj"], ["q_proj", "v_proj"]),
        ("all-linear", ["all-linear"]),
        (r".*\.(q|v)_proj", [r".*\.(q|v)_proj"]),
    ],
)
def test_the_layers_of_an_adapter_of_others_are_named_as_it_names_them(
    contract: ServingContract, tmp_path: Path, given: str | list[str], told: list[str]
) -> None:
    config = {"r": 8, "lora_alpha": 16, "target_modules": given}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert contract_of_adapter(tmp_path, contract).adapter.target_modules == told


def test_what_is_no_adapter_is_refused(contract: ServingContract, tmp_path: Path) -> None:
    for text in ("", "[]", '{"r": 8}', '{"r": "x", "lora_alpha": 8, "target_modules": []}'):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(PermanentError, match="not the configuration of a LoRA adapter"):
            contract_of_adapter(tmp_path, contract)
