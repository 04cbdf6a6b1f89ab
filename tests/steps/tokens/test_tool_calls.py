from __future__ import annotations

import pytest

from argotune.steps.tokens.tool_calls import Call, CallReader

WEATHER = Call(name="weather", arguments={"town": "Bern"})
JSON = '{"name": "weather", "arguments": {"town": "Bern"}}'
TAGGED = f"<tool_call>\n{JSON}\n</tool_call>"


def read(text: str, size: int) -> list[str | Call]:
    """What a reader yields for a text that comes in pieces of that size, its texts joined."""
    reader = CallReader({"weather"})
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    items = [item for piece in pieces for item in reader.push(piece)]
    found: list[str | Call] = []
    for item in [*items, *reader.finish()]:
        if found and isinstance(item, str) and isinstance(found[-1], str):
            found[-1] += item
        else:
            found.append(item)
    return found


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("It rains.", ["It rains."]),
        (TAGGED, [WEATHER]),
        (f"{TAGGED}\n{TAGGED}\n", [WEATHER, WEATHER]),
        (f"I look.\n{TAGGED}", ["I look.", WEATHER]),
        (f"[TOOL_CALLS] [{JSON}, {JSON}]", [WEATHER, WEATHER]),
        (f"<|tool_call|>[{JSON}]<|/tool_call|>", [WEATHER]),
        (f" {JSON}", [WEATHER]),
        (JSON.replace("arguments", "parameters"), [WEATHER]),
        # JSON that is an answer, and calls that are none.
        ('{"name": "Bern", "arguments": {}}', ['{"name": "Bern", "arguments": {}}']),
        ("[1] says so", ["[1] says so"]),
        ("{", ["{"]),
        ("a <tool> tag, 1 < 2", ["a <tool> tag, 1 < 2"]),
        (f"<tool_call>\n{JSON[:-1]}", [f"<tool_call>\n{JSON[:-1]}"]),
        ("<tool_call>no</tool_call>", ["<tool_call>no</tool_call>"]),
        ("", []),
        ("  ", ["  "]),
    ],
)
def test_an_answer_is_divided_into_text_and_calls(
    text: str, items: list[str | Call], size: int
) -> None:
    assert read(text, size) == items


def test_text_is_given_as_it_comes_and_a_call_when_its_tag_closes() -> None:
    reader = CallReader({"weather"})
    assert list(reader.push("I look ")) == ["I look"]
    assert list(reader.push("it up.\n<tool_")) == [" it up."]
    assert list(reader.push(f"call>{JSON}")) == []
    assert list(reader.push("</tool_call>")) == [WEATHER]


def test_a_tagged_call_of_an_unknown_tool_is_a_call() -> None:
    reader = CallReader(())
    assert list(reader.push(TAGGED)) == [WEATHER]
