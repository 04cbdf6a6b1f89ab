"""Answers held to a grammar, and grammars that must not hold up the server."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import pytest

from argotune.steps.serve.constraint import Constraints, GrammarConstraint, problem_of_grammar
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.grammar import (
    Calls,
    Function,
    calls_grammar,
    json_grammar,
    text_with_calls_grammar,
)
from argotune.steps.tokens.call_syntax import find_call_syntax
from tests.fakes.tokenizer import make_tokenizer
from tests.steps.tokens.test_call_syntax import MISTRAL_TEMPLATE, render_with

TOKENIZER = make_tokenizer()
STOP = 4
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"town": {"type": "string"}},
    "required": ["town"],
    "additionalProperties": False,
}
# Its calls begin with a special token, which stands for Mistral's here.
SYNTAX = find_call_syntax(
    render_with(MISTRAL_TEMPLATE.replace("[TOOL_CALLS]", "<|system|>")), "</s>"
)
CALL = '{"name": "weather", "arguments": {"town": "Bern"}, "id": "abc4EF789"}'


@pytest.fixture(autouse=True)
def no_check(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process for each grammar, except where that is what is tested."""
    if "hostile" not in request.node.name:
        target = "argotune.steps.serve.constraint.problem_of_grammar"
        monkeypatch.setattr(target, lambda grammar: "")


def constraint(grammar: str) -> GrammarConstraint:
    return asyncio.run(Constraints(TOKENIZER).constraint(grammar, [STOP], param="tools"))


def is_whole(grammar: str, text: str) -> bool:
    """Whether the text may be an answer, by the mask before each of its tokens."""
    held = constraint(grammar)
    ids: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    for token in ids:
        if not _allows(held, token):
            return False
        held.advance(token)
    return _allows(held, STOP)


def _allows(held: GrammarConstraint, token: int) -> bool:
    return bool(held.allowed()[token // 32] >> (token % 32) & 1)


def calls(*, several: bool = True) -> Calls:
    assert SYNTAX is not None
    return Calls(
        functions=[Function(name="weather", parameters=PARAMETERS)],
        syntax=SYNTAX,
        special_tokens={"<|system|>": 1},
        several=several,
    )


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('{"town": "Bern"}', True),
        ('{\n  "town": "Zürich \\n"\n}', True),
        ('{"town": "Bern"', False),
        ('{"town": 1}', False),
        ('{"town" :\n\t"Bern" }', True),
        ('{  "town": "Bern"}', False),
        ('{\n\n"town": "Bern"}', False),
    ],
)
def test_json_of_a_schema(text: str, whole: bool) -> None:
    assert is_whole(json_grammar(PARAMETERS), text) == whole


def test_a_schema_cannot_set_the_librarys_own_options() -> None:
    lenient = {**PARAMETERS, "not": {}, "x-guidance": {"lenient": True}}
    with pytest.raises(ApiError, match="Unimplemented keys"):
        constraint(json_grammar(lenient))


def test_calls_are_written_as_the_template_writes_them() -> None:
    grammar = calls_grammar(calls())
    assert is_whole(grammar, f"<|system|> [{CALL}]")
    assert is_whole(grammar, f"<|system|> [{CALL}, {CALL}]")
    assert not is_whole(grammar, f" [{CALL}]")
    assert not is_whole(grammar, f"<|system|> [{CALL.replace(': {', ':{')}]")
    assert not is_whole(calls_grammar(calls(several=False)), f"<|system|> [{CALL}, {CALL}]")


def test_a_call_beside_text_is_held_to_its_schema() -> None:
    grammar = text_with_calls_grammar(calls())
    assert grammar is not None
    assert is_whole(grammar, "It rains.")
    assert is_whole(grammar, f"I look. <|system|> [{CALL}, {CALL}]")
    assert not is_whole(grammar, f"I look. <|system|> [{CALL.replace('town', 'city')}]")


def test_a_hostile_schema_is_refused_when_it_has_had_its_time() -> None:
    patterns = [{"type": "string", "pattern": f"a.{{{number}}}b"} for number in range(1, 30)]
    with pytest.raises(subprocess.CalledProcessError):
        problem_of_grammar(json_grammar({"allOf": patterns}), cpu_seconds=1)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (subprocess.TimeoutExpired("check", 10), 503),
        (subprocess.CalledProcessError(-9, "check"), 400),
    ],
)
def test_a_passing_failure_of_a_hostile_check_is_not_kept(
    failure: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammar = json_grammar({"const": f"asked again after {status}"})
    outcomes: list[Any] = [failure, subprocess.CompletedProcess([], 0, stdout="")]

    def run(*command: Any, **settings: Any) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ApiError) as caught:
        constraint(grammar)
    assert caught.value.status == status
    constraint(grammar)


def test_a_large_schema_is_refused_by_its_size() -> None:
    with pytest.raises(ApiError, match="it is larger than 65536 bytes"):
        constraint(json_grammar({"enum": [json.dumps(["x"] * 20_000)]}))
