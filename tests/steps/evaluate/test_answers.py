from __future__ import annotations

from collections.abc import Sequence

import pytest

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.evaluate.answers import Answer, Question, fault_of
from argotune.steps.evaluate.models import Name
from argotune.steps.evaluate.sheets import failures_of, make_sheets

ROW = Conversation(messages=[])
LOOP = [1, 2, *[7, 8, 9] * 10]


def text(ids: Sequence[int]) -> str:
    return "".join(chr(96 + token) for token in ids)


@pytest.mark.parametrize(
    ("ids", "finished", "fault"),
    [
        ([], True, "empty"),
        (LOOP, False, "looping"),
        # It stopped by itself, as a list of equal items does.
        (LOOP, True, ""),
        ([*range(1, 33), *[7, 8, 9] * 10], False, ""),
        ([5] * 20, False, "looping"),
        (list(range(1, 27)) * 2, False, ""),
        (list(range(1, 27)) * 3, False, "looping"),
        (list(range(1, 27)), False, ""),
    ],
)
def test_an_answer_that_repeats_itself_to_the_limit_loops(
    ids: list[int], finished: bool, fault: str
) -> None:
    assert fault_of(Answer(ids=ids, finished=finished), text) == fault


def test_white_space_is_an_empty_answer() -> None:
    assert fault_of(Answer(ids=[1], finished=True), lambda _: " \n") == "empty"


def sheet_of(answers: dict[Name, list[int]], reference: Sequence[int] = (1, 2)) -> str:
    question = Question(row=ROW, ids=[3], reference=reference)
    given = {name: [Answer(ids=ids, finished=not ids)] for name, ids in answers.items()}
    (sheet,) = make_sheets([question], given, text)
    return sheet.fault


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        ({"base": [1], "new": LOOP}, "looping"),
        ({"base": LOOP, "new": LOOP}, ""),
        ({"base": [1], "new": LOOP, "live": LOOP}, ""),
        ({"base": LOOP, "new": []}, "empty"),
    ],
)
def test_only_a_fault_that_is_new_counts(answers: dict[Name, list[int]], fault: str) -> None:
    assert sheet_of(answers) == fault


def test_an_empty_answer_is_right_where_the_row_has_one() -> None:
    assert sheet_of({"base": [1], "new": []}, reference=[]) == ""


def test_faults_are_counted_by_kind() -> None:
    question = Question(row=ROW, ids=[3], reference=[1])
    new = [Answer(ids=ids, finished=not ids) for ids in ([], LOOP, LOOP, [1])]
    base = [Answer(ids=[1], finished=True)] * 4
    sheets = make_sheets([question] * 4, {"base": base, "new": new}, text)
    assert failures_of(sheets) == [
        "1 of 4 of its answers to held-out prompts is empty",
        "2 of 4 of its answers to held-out prompts are looping",
    ]


def test_long_texts_are_cut() -> None:
    question = Question(row=ROW, ids=[1] * 9000, reference=[1])
    answer = [Answer(ids=[1], finished=True)]
    (sheet,) = make_sheets([question], {"base": answer, "new": answer}, text)
    assert len(sheet.prompt) == 4001
