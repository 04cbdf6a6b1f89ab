"""Rows before the model's own tokenizer and chat template."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import mark_complete
from argotune.steps.contracts.steps_of_run import fit_batch
from argotune.steps.contracts.training_plan import read_plan, write_plan
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import run
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tokens.tokenizer import load_tokenizer
from argotune.steps.tune.prepare import prepare
from argotune.steps.tune.schedule import Schedule
from tests.fakes.plans import small_plan
from tests.steps.tune.models import CONFIGS, MARKED_TEMPLATE, conversation, make_tokenizer

NewParams = Callable[..., Params]
Row = Sequence[Mapping[str, str]]

REFUSES_SHOUTS = (
    "{% if messages[0]['content'] == 'SHOUT' %}{{ raise_exception('not so loud') }}{% endif %}"
)


def rows(count: int) -> list[Row]:
    return [conversation(f"Question {n}?", f"Answer {n}.") for n in range(count)]


@pytest.fixture
def new_params(tmp_path: Path) -> NewParams:
    """Parameters for a file of these rows, with a tokenizer that has this template."""

    def make(
        given: Sequence[Row], template: str = REFUSES_SHOUTS + MARKED_TEMPLATE, **settings: Any
    ) -> Params:
        (tmp_path / "data.jsonl").write_text(
            "".join(json.dumps({"messages": row}) + "\n" for row in given)
        )
        directory = tmp_path / "work" / "tokenizer"
        make_tokenizer(template).save_pretrained(directory)
        CONFIGS["phi3"].save_pretrained(directory)
        mark_complete(directory)
        plan = small_plan()
        sections = {}
        for name in ("data", "training"):
            section = getattr(plan, name)
            changes = {key: value for key, value in settings.items() if hasattr(section, key)}
            sections[name] = msgspec.structs.replace(section, **changes)
        write_plan(tmp_path / "plan.yaml", msgspec.structs.replace(plan, **sections))
        return Params(
            urls=((tmp_path / "data.jsonl").as_uri(),),
            plan_file=tmp_path / "plan.yaml",
            work_dir=tmp_path / "work",
            tokenizer_dir=directory,
            allow_loopback=True,
        )

    return make


def make(params: Params) -> Result:
    return run(params, progress=Progress())


def rejected(params: Params) -> list[dict[str, Any]]:
    text = (params.work_dir / "dataset" / "rejected.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_tokens_are_those_that_tune_counts(new_params: NewParams) -> None:
    long = conversation("Tell me.", "a b c " * 30)
    params = new_params([*rows(60), long, long], max_length=100, validation_share=0.2)
    result = make(params)
    assert params.tokenizer_dir is not None
    tokenizer = load_tokenizer(params.tokenizer_dir)
    template = chat_template(tokenizer, params.tokenizer_dir)
    dataset = params.work_dir / "dataset"
    train, census = read_rows(dataset / "train.parquet", template, tokenizer, 100)
    held_out, _ = read_rows(dataset / "validation.parquet", template, tokenizer, 100)
    assert (result.tokens, result.validation_tokens) == (len(train.ids), len(held_out.ids))
    assert result.learned_tokens == train.labelled.sum()
    assert (result.cut_rows, result.cut_tokens) == (census.truncated, census.cut_tokens)
    assert result.cut_rows == 1
    assert result.longest_row_tokens == 100 + census.cut_tokens
    assert len(train) == result.train_rows
    assert not census.dropped
    assert result.summary.endswith(
        f", 1 duplicate, 0 refused; {result.tokens:,} tokens an epoch, {result.steps} steps"
    )


@pytest.mark.parametrize(
    "settings",
    [{"min_steps": 30}, {"accumulation_steps": 3, "epochs": 2.5}, {"max_steps": 7}],
    ids=str,
)
def test_steps_are_those_that_tune_makes(new_params: NewParams, settings: dict[str, Any]) -> None:
    params = new_params(rows(60), max_length=100, micro_batch_tokens=200, **settings)
    result = make(params)
    assert params.tokenizer_dir is not None
    tokenizer = load_tokenizer(params.tokenizer_dir)
    training = read_plan(params.plan_file).training
    packs, _ = prepare(
        params.work_dir / "dataset" / "train.parquet",
        params.work_dir / "train.arrow",
        chat_template(tokenizer, params.tokenizer_dir),
        tokenizer,
        training,
    )
    fitted = fit_batch(training, tokens=packs.tokens, longest=packs.longest)
    schedule = Schedule(fitted, len(packs), packs.tokens)
    assert result.steps == schedule.steps
    assert result.run_tokens == round(packs.tokens * schedule.run_steps.epochs)


def test_rows_that_only_tune_refuses_are_named_as_in_the_users_files(
    new_params: NewParams, tmp_path: Path
) -> None:
    """Without a tokenizer the dataset step knows no template."""
    loud, repeated = conversation("SHOUT", "Yes."), rows(1)
    params = new_params(
        [*rows(4), *repeated, loud, *rows(9)[4:]], validation_share=0.0, max_rejected_share=0.5
    )
    (tmp_path / "more.jsonl").write_text(
        "\n".join(
            json.dumps({"messages": row})
            for row in [conversation("More?", "No."), [], conversation("SHOUT", "No.")]
        )
    )
    tokenizer_dir = params.tokenizer_dir
    assert tokenizer_dir is not None
    urls = (*params.urls, (tmp_path / "more.jsonl").as_uri())
    make(dataclasses.replace(params, urls=urls, tokenizer_dir=None))
    tokenizer = load_tokenizer(tokenizer_dir)
    _, census = read_rows(
        params.work_dir / "dataset" / "train.parquet",
        chat_template(tokenizer, tokenizer_dir),
        tokenizer,
        100,
    )
    (reason,) = census.dropped
    assert census.places == {reason: ["data.jsonl row 6", "more.jsonl row 3"]}


def test_few_steps_are_a_warning(new_params: NewParams, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="argotune"):
        assert make(new_params(rows(9), max_steps=2)).steps == 2
    assert 'few-steps warning="the run has only 2 optimizer steps' in caplog.text


def test_rows_that_only_the_tokenizer_can_refuse_are_named_by_number(
    new_params: NewParams,
) -> None:
    shout = conversation("SHOUT", "What?")
    late = conversation("a b c " * 40, "Too late.")
    params = new_params([*rows(30), shout, late], max_length=100, max_rejected_share=0.1)
    result = make(params)
    assert (result.rows, result.rejected_rows) == (30, 2)
    assert result.train_rows + result.validation_rows == 30
    url = params.urls[0]
    assert rejected(params) == [
        {
            "file": url,
            "row": 31,
            "reason": "refused_by_chat_template",
            "detail": "the chat template rejects it: not so loud",
        },
        {"file": url, "row": 32, "reason": "no_token_is_learned_within_max_length"},
    ]


def test_end_of_turn_that_is_no_token_of_the_row_is_refused(new_params: NewParams) -> None:
    # It ends answers of one letter with nothing.
    endless = MARKED_TEMPLATE.replace(
        "{{ m['content'] }}<|end|>{% endgeneration %}",
        "{{ m['content'] }}{% if m['content'] | length > 1 %}<|end|>{% endif %}{% endgeneration %}",
    )
    params = new_params([*rows(30), conversation("Letter?", "x")], endless)
    assert make(params).rejected_rows == 1
    assert rejected(params)[0]["reason"] == "no_end_of_turn_is_learned"


def test_too_many_refused_rows_end_the_step_with_the_templates_words(
    new_params: NewParams,
) -> None:
    given = [conversation("SHOUT", f"What? {n}") for n in range(6)]
    params = new_params([*rows(4), *given])
    with pytest.raises(PermanentError) as caught:
        make(params)
    assert str(caught.value) == (
        "6 of 10 rows are unusable (60.0%), at most 5.0% are accepted (max_rejected_share): "
        "6 refused_by_chat_template (data.jsonl row 5, 6, 7; the first: the chat template rejects "
        "it: not so loud); dataset/rejected.jsonl lists all of them"
    )
    params = new_params(given, max_rejected_share=1.0)
    with pytest.raises(PermanentError, match=r"^no row is usable for training: 6 refused_by_chat"):
        make(params)


def test_too_many_rows_that_are_cut_end_the_step_with_tunes_words(new_params: NewParams) -> None:
    given = [conversation(f"Tell {n}.", "a b c " * 30) for n in range(8)]
    params = new_params([*rows(2), *given], max_length=100, validation_share=0.0)
    with pytest.raises(PermanentError) as caught:
        make(params)
    assert str(caught.value).startswith("8 of 10 rows are longer than max_length and lose ")
    params = new_params(
        [*rows(2), *given], max_length=100, validation_share=0.0, max_truncated_share=0.8
    )
    assert make(params).cut_rows == 8


def test_refused_rows_do_not_leave_a_side_of_the_split_empty(new_params: NewParams) -> None:
    for count in range(2, 8):
        shouts = [conversation("SHOUT", f"What? {n}") for n in range(count)]
        params = new_params([*rows(2), *shouts], max_rejected_share=0.9)
        result = make(params)
        assert (result.train_rows, result.validation_rows) == (1, 1)


def test_another_tokenizer_or_length_counts_anew_and_the_same_does_not(
    new_params: NewParams,
) -> None:
    params = new_params(rows(30))
    first = make(params)
    written = (params.work_dir / "dataset" / "train.parquet").stat().st_mtime_ns
    assert make(params) == first
    assert (params.work_dir / "dataset" / "train.parquet").stat().st_mtime_ns == written
    longer = MARKED_TEMPLATE.replace("{% endgeneration %}", "{% endgeneration %}~")
    other = make(new_params(rows(30), longer))
    assert other.digest == first.digest
    assert other.tokens is not None
    assert first.tokens is not None
    assert other.tokens > first.tokens
    shorter = make(new_params(rows(30), max_length=20, max_truncated_share=1.0))
    assert shorter.digest == first.digest
    assert shorter.cut_rows
    assert first.cut_rows == 0


def test_tokenizer_that_cannot_be_tuned_is_refused_before_data_are_fetched(
    new_params: NewParams, tmp_path: Path
) -> None:
    params = new_params(rows(3), "{{ messages | length }}")
    (tmp_path / "data.jsonl").write_text("no data")
    with pytest.raises(PermanentError, match="ends an assistant turn without a special token"):
        make(params)
    assert not (params.work_dir / "downloads").exists()


def test_without_a_tokenizer_tokens_stay_uncounted_and_the_log_says_so(
    new_params: NewParams, caplog: pytest.LogCaptureFixture
) -> None:
    params = new_params([*rows(30), conversation("SHOUT", "What?")])
    assert params.tokenizer_dir is not None
    (params.tokenizer_dir / "tokenizer.json").unlink()
    with caplog.at_level(logging.WARNING, logger="argotune"):
        result = make(params)
    assert (result.tokens, result.cut_rows, result.rejected_rows) == (None, None, 0)
    assert result.summary.endswith(" duplicates, 0 refused")
    assert "tokens-not-counted" in caplog.text


def test_the_tokenizer_needs_no_torch() -> None:
    code = (
        "from argotune.steps.tokens import leave_torch_out; leave_torch_out()\n"
        "import argotune.steps.dataset.judge, sys\n"
        "sys.exit('transformers' not in sys.modules or sys.modules['torch'] is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
