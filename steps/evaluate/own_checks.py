"""The plan's checks of answers, on one model: its greedy answers to many held-out prompts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from argotune.steps.causal_lm.device import Device
from argotune.steps.contracts.checks import AnswerCheck, CheckResult
from argotune.steps.evaluate.answers import Answer, Question, answer_greedily
from argotune.steps.evaluate.checks.judge import read_key
from argotune.steps.evaluate.checks.rows import AnsweredRow, prompt_of
from argotune.steps.evaluate.checks.run import OpenJudge, judge_opener, run_checks
from argotune.steps.web.guard import GuardedTransport, UrlPolicy, tls_context

_MOST_ROWS = 32


def answer_in_batches(
    model: Any,
    questions: Sequence[Question],
    device: Device,
    *,
    most_tokens: int,
    batch_tokens: int,
    stop_token_ids: Sequence[int],
    on_rows: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Answer many prompts greedily, those of like length together; `on_rows` gets those so far.

    A batch has at most `batch_tokens` tokens of prompts and answers, unless one alone has more.
    """
    answers: dict[int, Answer] = {}
    lengths = [len(question.ids) + most_tokens for question in questions]
    for batch in _batches(lengths, batch_tokens):
        found = answer_greedily(
            model,
            [questions[place] for place in batch],
            device,
            most_tokens=most_tokens,
            stop_token_ids=stop_token_ids,
        )
        answers.update(zip(batch, found, strict=True))
        on_rows(len(answers))
    return [answers[place] for place in range(len(questions))]


def check_answers(
    checks: Sequence[AnswerCheck],
    questions: Sequence[Question],
    answers: Sequence[Answer],
    text: Callable[[Sequence[int]], str],
    *,
    open_judge: OpenJudge,
) -> list[CheckResult]:
    """The results of the checks on answers to these questions; `text` decodes tokens.

    Raises TransientError and PermanentError as `run_checks` does.
    """
    rows = [
        AnsweredRow(
            prompt=prompt_of(prompt_messages(question)),
            reference=text(question.reference),
            answer=text(answer.ids),
            tools=question.row.tools,
        )
        for question, answer in zip(questions, answers, strict=True)
    ]
    return run_checks(checks, rows, open_judge=open_judge)


def open_judges(
    allowed_hosts: Sequence[str], *, allow_loopback: bool, ca_file: Path | None = None
) -> OpenJudge:
    """Judges at addresses that the installation permits, with the key of this environment.

    Raises PermanentError for a key that no header can carry and a file that is no certificate.
    """
    hosts = frozenset(host.lower() for host in allowed_hosts)
    policy = UrlPolicy(allow_loopback=allow_loopback, allowed_hosts=hosts)
    tls = tls_context(ca_file)
    return judge_opener(lambda: GuardedTransport(policy, tls=tls), read_key(os.environ))


def prompt_messages(question: Question) -> Sequence[Mapping[str, Any]]:
    """The messages before the first answer that is learned, which is the reference."""
    row = question.row
    learned = row.learned or [each["role"] == "assistant" for each in row.messages]
    return row.messages[: list(learned).index(True)]


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Places of each batch, the longest first, so that a batch has little padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        is_full = len(batch) == _MOST_ROWS
        if batch and (is_full or (len(batch) + 1) * lengths[batch[0]] > batch_tokens):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
