"""Checks of the user's own on answers of a tuned, tiny model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.causal_lm.device import find_device
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import Check, ExactMatch, Judge, Regex
from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.contracts.evaluation import Evaluation, read_evaluation
from argotune.steps.contracts.training_plan import Evaluation as Plan
from argotune.steps.contracts.training_plan import read_plan, write_plan
from argotune.steps.evaluate.answers import Answer, Question, answer_greedily, find_questions
from argotune.steps.evaluate.models import load_models
from argotune.steps.evaluate.own_checks import answer_in_batches, check_answers
from argotune.steps.evaluate.params import Params, Result
from argotune.steps.evaluate.run import run
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenizer import load_tokenizer
from tests.fakes.judge import Refusal, fake_judge
from tests.steps.evaluate.checks.test_run import no_judge
from tests.steps.tune.models import write_rows

ANYTHING = Regex(pattern="(?s)^.*$")


def evaluate(
    work_dir: Path, model_dir: Path, checks: Sequence[Check], **changes: Any
) -> tuple[Result, Evaluation]:
    """The step with these checks of a plan; of the base and in service nothing is asked."""
    plan = read_plan(work_dir / "plan.yaml")
    own = Plan(checks=list(checks), check_rows=4, check_tokens=3)
    write_plan(work_dir / "plan.yaml", msgspec.structs.replace(plan, evaluation=own))
    settings = {"answers": 0, **changes}
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        **settings,
    )
    result = run(params, progress=Progress())
    return result, read_evaluation(work_dir) or pytest.fail("no evaluation.json")


def test_passed_checks_are_recorded_and_do_not_hold_an_adapter_back(
    work_dir: Path, model_dir: Path
) -> None:
    result, found = evaluate(work_dir, model_dir, [ANYTHING])
    assert result.verdict == "passed"
    assert [(each.name, each.score, each.rows) for each in found.checks] == [("regex", 1, 4)]


def test_an_adapter_that_is_better_by_loss_is_rejected_by_a_check(
    work_dir: Path, model_dir: Path
) -> None:
    never = Regex(pattern="(?s)^.*$", negate=True, name="says nothing")
    result, found = evaluate(work_dir, model_dir, [ANYTHING, never])
    assert result.verdict == "rejected"
    assert result.reason == "check says nothing scores 0 on 4 rows, which is below 1"
    assert [each.passed for each in found.checks] == [True, False]
    assert [each.reason for each in found.checks[1].examples] == ["it matches the pattern"] * 3


def test_judge_that_refuses_fails_the_step_and_nothing_is_recorded(
    work_dir: Path, model_dir: Path
) -> None:
    with fake_judge() as served:
        served.reply = lambda question: Refusal(status=401)
        judge = Judge(url=served.url, model="m", prompt="{answer}", min=0.5)
        with pytest.raises(PermanentError, match="answered 401"):
            evaluate(work_dir, model_dir, [judge], allow_loopback=True)
    assert read_evaluation(work_dir) is None


def test_judge_on_this_machine_needs_permission(work_dir: Path, model_dir: Path) -> None:
    with fake_judge() as served:
        judge = Judge(url=served.url, model="m", prompt="{answer}", min=0.5)
        with pytest.raises(PermanentError, match="internal or special address"):
            evaluate(work_dir, model_dir, [judge])
        assert served.bodies == []
        result, _ = evaluate(work_dir, model_dir, [judge], allow_loopback=True)
    assert (result.verdict, len(served.bodies)) == ("passed", 4)


def test_checks_without_held_out_rows_reject(work_dir: Path, model_dir: Path) -> None:
    write_rows(work_dir / "dataset" / "validation.parquet", [])
    result, _ = evaluate(work_dir, model_dir, [ANYTHING])
    assert result.verdict == "rejected"
    assert result.reason.endswith("and the checks of training_config need answers")


def test_gate_that_is_off_says_that_no_check_was_run(work_dir: Path, model_dir: Path) -> None:
    plan = read_plan(work_dir / "plan.yaml")
    own = msgspec.structs.replace(plan, evaluation=Plan(checks=[ANYTHING]))
    write_plan(work_dir / "plan.yaml", own)
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        gate="off",
    )
    assert run(params, progress=Progress()).reason == (
        "the gate is off, so nothing was measured, nor were the checks of training_config run"
    )


def test_answers_in_batches_are_those_of_one_batch(work_dir: Path, model_dir: Path) -> None:
    plan, tokenizer, device = (
        read_plan(work_dir / "plan.yaml"),
        load_tokenizer(model_dir),
        find_device(),
    )
    template = chat_template(tokenizer, model_dir, None)
    split = work_dir / "dataset" / "train.parquet"
    questions = find_questions(split, template, tokenizer, 120, wanted=40)
    models = load_models(plan, model_dir, work_dir / "adapter", None, device)
    options = {"most_tokens": 3, "stop_token_ids": template.stop_token_ids}
    done: list[int] = []
    with models.using("new") as model:
        batches = answer_in_batches(
            model, questions * 2, device, **options, batch_tokens=10_000, on_rows=done.append
        )
        assert batches[:24] == batches[24:] == answer_greedily(model, questions, device, **options)
        assert done == [32, 48]
        one_by_one = answer_in_batches(
            model, questions[:3], device, **options, batch_tokens=1, on_rows=done.append
        )
    assert one_by_one == batches[:3]
    assert done[2:] == [1, 2, 3]


def test_reference_is_checked_against_the_prompt_before_the_first_learned_answer() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A"},
    ]
    row = Conversation(messages=messages, learned=[False, False, False, True])
    [result] = check_answers(
        [ExactMatch()],
        [Question(row=row, ids=[1], reference=[65])],
        [Answer(ids=[66], finished=True)],
        lambda ids: "".join(map(chr, ids)),
        open_judge=no_judge,
    )
    [example] = result.examples
    assert example.prompt == "user: Hi\nassistant: Yes?\nuser: Q"
    assert (example.reference, example.answer) == ("A", "B")
