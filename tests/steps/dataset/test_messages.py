from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from argotune.steps.contracts.dataset_rows import ROLES
from argotune.steps.dataset.columns import ColumnMapping
from argotune.steps.dataset.conversations import REASONS, Conversations, reject
from argotune.steps.dataset.message_fields import LEARN_FIELDS, REFUSED_FIELDS, UnreadFields
from argotune.steps.dataset.messages import read_conversations
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
        (chat(("user", "a"), ("assistant", "b"), ("tool", ""), ("assistant", "c")), ""),
        (chat(("user", "a"), ("tool", "b"), ("assistant", "c")), "wrong_order"),
        (chat(("user", "a"), ("assistant", "b"), ("tool", "c")), "wrong_order"),
        (chat(("tool", "a"), ("assistant", "b")), "wrong_order"),
        (chat(("assistant", "a"), ("tool", "b"), ("assistant", "c")), "wrong_order"),
        (chat(("system", "s"), ("user", "a")), "no_assistant"),
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
        '[{"role": "assistant", "content": "a", "content": "b"}]',
        ["text"],
        [{"role": "user", "content": ["parts"]}],
        [{"role": 1, "content": "x"}],
        [{"role": ["user"], "content": "x"}],
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
    assert reject(read_conversations(rows, MESSAGES)).tolist() == [0, REASONS.index("not_parsed")]


def test_a_missing_number_is_no_text() -> None:
    for values in (pa.array([1.5, math.nan]), [1.5, math.nan]):
        found = read_conversations(batch(a=["q", "q"], b=values), PAIRS)
        assert [REASONS[code] for code in reject(found)] == ["", "empty"]
        assert plain(found)[0][1] == ("assistant", "1.5")


def answer(**fields: Any) -> Any:
    return [
        {"role": "user", "content": "q", **dict.fromkeys(fields)},
        {"role": "assistant", "content": "a", **fields},
    ]


@pytest.mark.parametrize("name", LEARN_FIELDS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [(1, ""), (True, ""), (None, ""), (0, "nothing_is_learned"), (False, "nothing_is_learned")]
    + [(number, "weight_other_than_0_or_1") for number in (-1, 0.5, 2)],
)
def test_an_answer_is_learned_as_its_weight_says(name: str, value: Any, reason: str) -> None:
    for found in both_ways([answer(**{name: value})]):
        assert [REASONS[code] for code in reject(found)] == [reason]


def test_one_answer_of_a_row_may_be_learned_and_another_not() -> None:
    row = [*answer(weight=0), *answer(weight=1)]
    for found in both_ways([row]):
        assert found.learned.tolist() == [False, False, False, True]
        assert not reject(found).any()


def test_a_weight_of_another_role_is_refused_unless_it_is_0() -> None:
    for weight, reason in ((1, "weight_1_of_another_role"), (0, "")):
        row = answer(weight=1)
        row[0]["weight"] = weight
        for found in both_ways([row]):
            assert [REASONS[code] for code in reject(found)] == [reason]


@pytest.mark.parametrize("name", REFUSED_FIELDS)
def test_a_field_that_is_not_rendered_refuses_its_row_by_name(name: str) -> None:
    for found in both_ways([answer(), answer(**{name: "x"}), answer(**{name: ""})]):
        assert [REASONS[code] for code in reject(found)] == ["", f"has_{name}", ""]


CALL = {"type": "function", "function": {"name": "f", "arguments": {"city": "Zürich", "n": 1}}}


def field_of(found: Conversations, name: str) -> list[Any]:
    return [text and json.loads(text) for text in found.fields[name].to_pylist()]


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": [CALL]},
        {"tool_calls": [{"function": CALL["function"]}]},
        {"tool_calls": [CALL["function"]]},
        {"tool_calls": [{"function": {"name": "f", "arguments": '{"city": "Zürich", "n": 1}'}}]},
        {"tool_calls": json.dumps([CALL])},
        {"function_call": {"name": "f", "arguments": '{"city": "Z\\u00fcrich", "n": 1}'}},
    ],
)
def test_calls_of_tools_are_read_in_every_form(fields: Any) -> None:
    row = answer(**fields)
    row[1]["content"] = None
    for found in both_ways([row, answer()]):
        assert not reject(found).any()
        assert plain(found)[0] == [("user", "q"), ("assistant", "")]
        assert field_of(found, "tool_calls") == [None, [CALL], None, None]


def test_sharegpts_calls_and_observations_are_read() -> None:
    turns = [("human", "q"), ("function_call", json.dumps(CALL["function"]))]
    row = chat(*turns, ("observation", "[]"), ("gpt", "a"), role="from", content="value")
    for found in both_ways([row]):
        assert not reject(found).any()
        assert [name for name, _ in plain(found)[0]] == ["user", "assistant", "tool", "assistant"]
        assert field_of(found, "tool_calls") == [None, [CALL], None, None]


@pytest.mark.parametrize(
    "calls",
    [
        *("no JSON", '{"name": 1}', "[1]", [["f"]], [{"function": "f"}], [{"arguments": {}}]),
        [{"name": "f", "arguments": "[1]"}],
        [{"name": "f", "arguments": '{"x": NaN}'}],
        [{"name": "f \ud83d", "arguments": {}}],
    ],
)
def test_calls_that_cannot_be_read_refuse_their_row(calls: Any) -> None:
    rows = [GOOD, answer(tool_calls=calls), GOOD]
    found = read_conversations(batch(messages=rows), MESSAGES)
    assert [REASONS[code] for code in reject(found)] == ["", "malformed_tool_calls", ""]


def test_calls_and_reasoning_are_the_assistants() -> None:
    for name, value, reason in (
        ("tool_calls", [CALL], "tool_calls_of_another_role"),
        ("thinking", "Hm.", "reasoning_content_of_another_role"),
    ):
        row = answer(**{name: value})
        row[0][name] = value
        for found in both_ways([row]):
            assert [REASONS[code] for code in reject(found)] == [reason]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_read_under_each_of_its_names(name: str) -> None:
    for found in both_ways([answer(**{name: "Hm."})]):
        assert not reject(found).any()
        assert found.fields["reasoning_content"].to_pylist() == [None, "Hm."]


def test_names_belong_to_their_messages() -> None:
    row = [*answer(name="Ada"), {"role": "tool", "content": "x", "tool_call_id": "1"}, *answer()]
    del row[3]
    for found in both_ways([row]):
        assert not reject(found).any()
        assert found.fields["name"].to_pylist() == [None, "Ada", None, None]
        assert found.fields["tool_call_id"].to_pylist() == [None, None, "1", None]


def test_arguments_have_no_fields_of_other_calls() -> None:
    others = [{"name": "g", "arguments": {"day": {"from": "Monday"}}}]
    rows = [answer(tool_calls=[CALL["function"]]), answer(tool_calls=others)]
    for found in both_ways(rows):
        assert field_of(found, "tool_calls")[1] == [CALL]


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
WITH_TOOLS = ColumnMapping(messages="messages", tools="tools")


@pytest.mark.parametrize(
    "value",
    [
        *([TOOL], [TOOL["function"]], json.dumps([TOOL]), [json.dumps(TOOL["function"])]),
        json.dumps(TOOL),
    ],
)
def test_tools_are_read_in_every_form(value: Any) -> None:
    for wrap in (list, pa.array):
        found = read_conversations(
            batch(messages=wrap([GOOD, GOOD]), tools=wrap([value, None])), WITH_TOOLS
        )
        assert not reject(found).any()
        assert found.tools is not None
        text, none = found.tools.to_pylist()
        assert (json.loads(text), none) == ([TOOL], None)


def test_tools_that_cannot_be_read_refuse_their_row() -> None:
    values = ["no JSON", [1], [{"type": "web_search"}], [], ""]
    found = read_conversations(batch(messages=[GOOD] * 5, tools=values), WITH_TOOLS)
    assert [REASONS[code] for code in reject(found)] == [*["malformed_tools"] * 3, "", ""]
    assert found.tools is None


def test_fields_of_no_use_are_told_by_name() -> None:
    for rows in ([answer(id="7", mood=None)], [answer(id="7", mood=""), GOOD]):
        for wrap in (list, pa.array):
            unread = UnreadFields()
            read_conversations(batch(messages=wrap(rows)), MESSAGES, unread)
            assert list(unread) == ["id"]
    for number in range(200):
        unread.add([str(number)])
    assert len(list(unread)) == 100


def test_parts_of_text_are_joined_and_others_refused() -> None:
    text = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    image = [{"type": "text", "text": "a"}, {"type": "image", "text": None}]
    rows = [[{"role": "assistant", "content": parts}] for parts in (text, image)]
    for found in both_ways(rows):
        assert [REASONS[code] for code in reject(found)] == ["", "content_part_that_is_no_text"]
        assert plain(found)[0] == [("assistant", "ab")]


def test_a_developer_is_the_system() -> None:
    for found in both_ways([chat(("developer", "s"), ("user", "a"), ("assistant", "b"))]):
        assert plain(found) == [[("system", "s"), ("user", "a"), ("assistant", "b")]]


def test_rows_of_both_kinds_of_names_are_read() -> None:
    none = {"role": None, "content": None, "from": None, "value": None}
    openai = [none | {"role": "user", "content": "q"}, none | {"role": "assistant", "content": "a"}]
    sharegpt = [none | {"from": "human", "value": "q"}, none | {"from": "gpt", "value": "a"}]
    for found in both_ways([openai, sharegpt]):
        assert plain(found) == [[("user", "q"), ("assistant", "a")]] * 2


def test_system_and_history_stand_before_the_prompt() -> None:
    mapped = ColumnMapping(
        system="system", history="history", prompt=("instruction", "input"), response="output"
    )
    columns = {
        "system": ["s", "", "s"],
        "history": [[["q0", "a0"]], None, ["no pair"]],
        "instruction": ["q", "q", "q"],
        "input": ["i", None, ""],
        "output": ["a", "a", "a"],
    }
    found = read_conversations(batch(**columns), mapped)
    assert [REASONS[code] for code in reject(found)] == ["", "", "malformed"]
    assert plain(found)[:2] == [
        [
            ("system", "s"),
            ("user", "q0"),
            ("assistant", "a0"),
            ("user", "q\n\ni"),
            ("assistant", "a"),
        ],
        [("user", "q"), ("assistant", "a")],
    ]


def test_a_column_system_is_for_rows_without_a_system_message() -> None:
    mapped = ColumnMapping(messages="messages", system="system")
    rows = [GOOD, chat(("user", "q"), ("assistant", "a"))]
    for values in (rows, pa.array(rows)):
        found = read_conversations(batch(messages=values, system=["pirate", "pirate"]), mapped)
        assert [row[0] for row in plain(found)] == [("system", "Be kind."), ("system", "pirate")]


def test_prompt_and_completion_may_be_lists_of_messages() -> None:
    mapped = ColumnMapping(prompt=("prompt",), response="completion", are_lists=True)
    prompt, completion = chat(("system", "s"), ("user", "q")), chat(("assistant", "a"))
    for wrap in (list, pa.array):
        found = read_conversations(
            batch(prompt=wrap([prompt]), completion=wrap([completion])), mapped
        )
        assert plain(found) == [[("system", "s"), ("user", "q"), ("assistant", "a")]]


def test_selection_keeps_the_rows_and_their_order() -> None:
    rows = [chat(("user", str(n)), ("assistant", str(n))) for n in range(3)] + [GOOD]
    found = read_conversations(batch(messages=pa.array(rows)), MESSAGES)
    kept = found.select(np.array([True, False, True, True]))
    assert plain(kept) == [plain(found)[0], plain(found)[2], plain(found)[3]]
    assert plain(found.select(np.zeros(4, dtype=np.bool_))) == []


def test_selection_keeps_fields_and_tools_with_their_rows() -> None:
    rows = [GOOD, [{"role": "system", "content": ""}, *answer(name="Ada")], answer(name="Bob")]
    found = read_conversations(batch(messages=rows, tools=[None, [TOOL], None]), WITH_TOOLS)
    kept = found.select(np.array([False, True, True]))
    assert kept.fields["name"].to_pylist() == [None, "Ada", None, "Bob"]
    assert kept.tools is not None
    assert [text is None for text in kept.tools.to_pylist()] == [False, True]
