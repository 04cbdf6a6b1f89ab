"""Answers of a random model: what is asked, and that the pack gives what each row alone gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.steps_of_run import best_fit
from argotune.steps.contracts.training_plan import Watch
from argotune.steps.tokens.template import ChatTemplate, chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tune.distributed import World
from argotune.steps.tune.pack import Packs, pack
from argotune.steps.tune.samples import Question, Samples, make_samples
from tests.steps.tune.models import (
    MARKED_TEMPLATE,
    Wrapped,
    conversation,
    make_tokenizer,
    random_model,
    write_rows,
)

CPU = Device(torch.device("cpu"), torch.float32, None)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(MARKED_TEMPLATE)


@pytest.fixture(scope="module")
def template(tokenizer: Any) -> ChatTemplate:
    return chat_template(tokenizer, Path("model"))


def rows_of(tmp_path: Path, rows: Any, template: ChatTemplate, tokenizer: Any) -> Packs:
    write_rows(tmp_path / "rows.parquet", rows)
    rows, _ = read_rows(tmp_path / "rows.parquet", template, tokenizer, 2000)
    return Packs(pack(rows, best_fit(rows.lengths.tolist(), 2000)))


def test_held_out_rows_are_asked_up_to_their_first_answer(
    tmp_path: Path, template: ChatTemplate, tokenizer: Any
) -> None:
    long = conversation("why? " * 400, "It is long.")
    two = [*conversation("One?", "First."), *conversation("Two?", "Second.")]
    rows = rows_of(tmp_path, [long, two, conversation("A?", "B.")], template, tokenizer)
    samples = make_samples(Watch(samples=2), rows, template, tokenizer)
    texts = [tokenizer.decode(question.ids) for question in samples.questions]
    assert texts == ["<|user|>One?<|end|><|assistant|>", "<|user|>A?<|end|><|assistant|>"]
    assert [question.expected for question in samples.questions] == ["First.", "B."]
    assert make_samples(Watch(samples=0), rows, template, tokenizer).questions == []


def test_the_plans_own_prompts_are_asked_as_a_server_would(
    tmp_path: Path, template: ChatTemplate, tokenizer: Any
) -> None:
    rows = rows_of(tmp_path, [conversation("A?", "B.")], template, tokenizer)
    (question,) = make_samples(
        Watch(sample_prompts=["Who are you?"]), rows, template, tokenizer
    ).questions
    served = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who are you?"}], add_generation_prompt=True, tokenize=False
    )
    assert tokenizer.decode(question.ids) == served
    assert question.expected is None


def test_a_prompt_that_would_cost_more_than_training_is_refused(
    tmp_path: Path, template: ChatTemplate, tokenizer: Any
) -> None:
    rows = rows_of(tmp_path, [conversation("A?", "B.")], template, tokenizer)
    with pytest.raises(PermanentError, match="at most 512 are accepted"):
        make_samples(Watch(sample_prompts=["why? " * 600]), rows, template, tokenizer)


@pytest.mark.usefixtures("in_float64")
def test_packed_answers_are_those_that_each_question_gets_alone(tokenizer: Any) -> None:
    model = Wrapped()
    generator = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(5, 290, (length,), generator=generator).tolist() for length in (3, 11, 6)
    ]
    samples = Samples([Question(ids, None) for ids in prompts], 8, tokenizer, [])
    together = [answer.answer for answer in samples.answers(model, CPU, World())]
    plain = random_model("phi3", "eager")
    for ids, found in zip(prompts, together, strict=True):
        written = plain.generate(
            torch.tensor([ids]), max_new_tokens=8, min_new_tokens=8, do_sample=False
        )[0, len(ids) :]
        assert found == tokenizer.decode(written, skip_special_tokens=True).strip()
    assert model.training


def test_an_answer_ends_at_its_stop_token(tokenizer: Any) -> None:
    question = Question([7, 8, 9], "x")
    (whole,) = Samples([question], 6, tokenizer, []).answers(Wrapped(), CPU, World())
    (cut,) = Samples([question], 6, tokenizer, range(300)).answers(Wrapped(), CPU, World())
    assert (whole.finished, cut.finished) == (False, True)
    assert whole.answer.startswith(cut.answer)
    assert len(cut.answer) < len(whole.answer)
