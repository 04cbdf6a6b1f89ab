from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from argotune.steps.dataset.columns import ColumnMapping
from argotune.steps.dataset.messages import (
    REASONS,
    ROLES,
    Conversations,
    read_conversations,
    reject,
)
from argotune.steps.dataset.source import Batch, Values

MESSAGES = ColumnMapping(messages="messages")


def batch(**columns: Values) -> Batch:
    rows = len(next(iter(columns.values())))
    return Batch(
        numbers=np.arange(1, rows + 1),
        columns=columns,
        malformed=np.zeros(rows, dtype=np.bool_),
        too_long=np.zeros(rows, dtype=np.bool_),
    )


def plain(found: Conversations) -> list[list[tuple[str, str]]]:
    texts, roles = found.contents.to_pylist(), [*ROLES, *["?"] * 253]
    starts = found.starts().tolist()
    return [
        [(roles[found.roles[index]], texts[index]) for index in range(first, last)]
        for first, last in pairwise(starts)
    ]


def chat(*turns: tuple[str, str | None], role: str = "role", content: str = "content") -> Any:
    return [{role: who, content: text} for who, text in turns]


GOOD = chat(("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi"))


def both_ways(rows: Sequence[Any]) -> list[Conversations]:
    """From Arrow, from Python values, and from JSON text."""
    return [
        read_conversations(batch(messages=pa.array(rows)), MESSAGES),
        read_conversations(batch(messages=list(rows)), MESSAGES),
        read_conversations(batch(messages=[json.dumps(row) for row in rows]), MESSAGES),
        read_conversations(batch(messages=pa.array([json.dumps(row) for row in rows])), MESSAGES),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD, ""),
        (chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), ""),
        (chat(("assistant", "a text")), ""),
        (chat(("system", "s"), ("assistant", "a text")), ""),
        (chat(("system", ""), ("user", "a"), ("assistant", "b")), ""),
        ([], "empty"),
        (None, "empty"),
        (chat(("user", "a"), ("assistant", "")), "empty"),
        (chat(("user", "a"), ("assistant", None)), "empty"),
        (chat(("user", " \n\t "), ("assistant", "b")), "empty"),
        (chat(("user", "a"), ("tool", "b"), ("assistant", "c")), "unknown_role"),
        (chat(("human", "a"), ("gpt", "b")), "unknown_role"),
        (chat(("User", "a"), ("assistant", "b")), "unknown_role"),
        (chat(("user", "a")), "no_assistant"),
        (chat(("system", "a")), "no_assistant"),
        (chat(("assistant", "a"), ("user", "b")), "wrong_order"),
        (chat(("user", "a"), ("assistant", "b"), ("user", "c")), "wrong_order"),
        (chat(("user", "a"), ("user", "b"), ("assistant", "c")), "wrong_order"),
        (chat(("user", "a"), ("system", "b"), ("assistant", "c")), "wrong_order"),
        (chat(("assistant", "a"), ("assistant", "b")), "wrong_order"),
        (chat(("system", "a"), ("system", "b"), ("assistant", "c")), "wrong_order"),
    ],
)
def test_rows_are_judged_alike_from_every_kind_of_value(row: Any, reason: str) -> None:
    for found in both_ways([GOOD, row, GOOD]):
        assert [REASONS[code] for code in reject(found)] == ["", reason, ""]
        assert plain(found)[0] == [("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi")]
        assert plain(found)[2] == plain(found)[0]


def test_empty_system_message_is_left_out() -> None:
    row = chat(("system", " "), ("user", "a"), ("assistant", "b"))
    for found in both_ways([row]):
        assert plain(found) == [[("user", "a"), ("assistant", "b")]]


def test_sharegpt_names_are_understood() -> None:
    row = chat(("system", "s"), ("human", "a"), ("gpt", "b"), role="from", content="value")
    for found in both_ways([row]):
        assert plain(found) == [[("system", "s"), ("user", "a"), ("assistant", "b")]]
        assert not reject(found).any()


@pytest.mark.parametrize(
    "value",
    [
        "not JSON",
        '{"role": "user"}',
        ["text"],
        [{"role": "user", "content": ["parts"]}],
        [{"role": 1, "content": "x"}],
        [{"content": "x"}],
        12,
        {"role": "user"},
        [{"role": "assistant", "content": "half a pair \ud83d"}],
    ],
)
def test_values_that_are_no_messages_are_malformed(value: object) -> None:
    found = read_conversations(batch(messages=[GOOD, value, GOOD]), MESSAGES)
    assert [REASONS[code] for code in reject(found)] == ["", "malformed", ""]


@pytest.mark.parametrize(
    "arrow_type",
    [
        pa.list_(pa.struct([("content", pa.large_string()), ("role", pa.string())])),
        pa.large_list(pa.struct([("role", pa.string()), ("content", pa.string())])),
        pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]), 3),
        pa.list_(
            pa.struct(
                [
                    ("role", pa.dictionary(pa.int8(), pa.string())),
                    ("content", pa.string_view()),
                    ("name", pa.string()),
                ]
            )
        ),
    ],
)
def test_all_list_and_text_types_of_arrow_are_read(arrow_type: pa.DataType) -> None:
    rows = pa.array([GOOD, GOOD, GOOD], pa.list_(arrow_type.value_type)).cast(arrow_type)
    found = read_conversations(batch(messages=rows.slice(1)), MESSAGES)
    assert plain(found) == [[("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi")]] * 2
    assert not reject(found).any()


def test_null_rows_and_null_messages_of_arrow_do_not_shift_the_others() -> None:
    rows = pa.array([GOOD, None, [None, GOOD[1]], GOOD], pa.array([GOOD]).type)
    found = read_conversations(batch(messages=rows), MESSAGES)
    reasons = [REASONS[code] for code in reject(found)]
    assert [reason == "" for reason in reasons] == [True, False, False, True]
    assert plain(found)[3] == plain(found)[0]


PAIRS = ColumnMapping(prompt=("a",), response="b")


@pytest.mark.parametrize("make", [list, pa.array], ids=["python", "arrow"])
def test_texts_become_messages(make: Any) -> None:
    found = read_conversations(
        batch(a=make(["q1", None, "q3", "q4"]), b=make(["r1", "r2", " ", "r4"])), PAIRS
    )
    assert [REASONS[code] for code in reject(found)] == ["", "empty", "empty", ""]
    assert plain(found)[0] == [("user", "q1"), ("assistant", "r1")]
    assert plain(found)[3] == [("user", "q4"), ("assistant", "r4")]


def test_input_is_joined_to_its_instruction() -> None:
    mapped = ColumnMapping(prompt=("instruction", "input"), response="output")
    columns = {"instruction": ["Add", "Sing"], "input": ["1 2", ""], "output": ["3", "La"]}
    for values in (columns, {name: pa.array(texts) for name, texts in columns.items()}):
        found = read_conversations(batch(**values), mapped)
        assert plain(found) == [
            [("user", "Add\n\n1 2"), ("assistant", "3")],
            [("user", "Sing"), ("assistant", "La")],
        ]


def test_plain_text_is_one_assistant_message() -> None:
    found = read_conversations(batch(text=["once upon a time", ""]), ColumnMapping(response="text"))
    assert plain(found)[0] == [("assistant", "once upon a time")]
    assert [REASONS[code] for code in reject(found)] == ["", "empty"]


def test_numbers_are_text_and_other_values_are_malformed() -> None:
    answers = [42, 1.5, True, {"x": 1}, ["x"], "half \udc00"]
    found = read_conversations(batch(a=["q"] * 6, b=answers), PAIRS)
    assert [REASONS[code] for code in reject(found)] == ["", "", *["malformed"] * 4]
    assert plain(found)[:2] == [
        [("user", "q"), ("assistant", "42")],
        [("user", "q"), ("assistant", "1.5")],
    ]
    arrow = read_conversations(batch(a=pa.array(["q"]), b=pa.array([42])), PAIRS)
    assert plain(arrow) == [[("user", "q"), ("assistant", "42")]]


def test_malformed_rows_of_the_format_stay_malformed() -> None:
    rows = Batch(
        numbers=np.array([1, 2]),
        columns={"messages": [GOOD, None]},
        malformed=np.array([False, True]),
        too_long=np.array([False, False]),
    )
    assert reject(read_conversations(rows, MESSAGES)).tolist() == [0, REASONS.index("malformed")]


def test_selection_keeps_the_rows_and_their_order() -> None:
    rows = [chat(("user", str(n)), ("assistant", str(n))) for n in range(3)] + [GOOD]
    found = read_conversations(batch(messages=pa.array(rows)), MESSAGES)
    kept = found.select(np.array([True, False, True, True]))
    assert plain(kept) == [plain(found)[0], plain(found)[2], plain(found)[3]]
    assert plain(found.select(np.zeros(4, dtype=np.bool_))) == []
