"""Answers held to a grammar, and grammars that must not hold up the server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.serve.authentication import set_client
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


async def pass_all(grammar: str) -> str:
    """A check without a process for each grammar."""
    return ""


def constraint(grammar: str) -> GrammarConstraint:
    return asyncio.run(held(Constraints(TOKENIZER, check=pass_all), grammar))


def held(
    constraints: Constraints, grammar: str, *, seconds: float = 60.0
) -> Coroutine[Any, Any, GrammarConstraint]:
    deadline = time.monotonic() + seconds
    return constraints.constraint(grammar, [STOP], param="tools", deadline=deadline)


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


HOSTILE = json_grammar({
    "allOf": [{"type": "string", "pattern": f"a.{{{number}}}b"} for number in range(1, 30)]
})  # fmt: skip


def test_a_hostile_schema_is_refused_when_it_has_had_its_time() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        asyncio.run(problem_of_grammar(HOSTILE, cpu_seconds=1))


def test_a_check_that_nobody_waits_for_ends_its_process() -> None:
    async def check() -> list[str]:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
        before = children.read_text().split()
        task = asyncio.create_task(problem_of_grammar(HOSTILE, cpu_seconds=60))
        while children.read_text().split() == before:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [each for each in children.read_text().split() if each not in before]

    assert asyncio.run(check()) == []


class Checks:
    """Checks that wait for the test; each fails as the test says."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun: list[str] = []
        self.ended = 0
        self.failure = failure
        self.go = asyncio.Event()

    async def __call__(self, grammar: str) -> str:
        self.begun.append(json.loads(grammar.rpartition("%json ")[2])["const"])
        try:
            await self.go.wait()
        finally:
            self.ended += 1
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return ""


def asked_by(client: str, constraints: Constraints, number: int) -> asyncio.Task[Any]:
    set_client(client)
    return asyncio.create_task(held(constraints, json_grammar({"const": f"{client}-{number}"})))


def test_checks_are_made_in_the_turns_of_their_clients_and_few_at_once() -> None:
    async def test() -> None:
        checks = Checks()
        constraints = Constraints(TOKENIZER, check=checks)
        tasks = [asked_by("greedy", constraints, number) for number in range(40)]
        await asyncio.sleep(0)
        tasks.append(asked_by("polite", constraints, 1))
        await asyncio.sleep(0)
        assert checks.begun == ["greedy-0", "greedy-1"]
        checks.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert "polite-1" in checks.begun[:4]
        refused = [result for result in results if isinstance(result, ApiError)]
        assert {error.code for error in refused} == {"queue_full"}
        assert len(refused) == 40 - len(checks.begun) + 1
        assert not isinstance(results[-1], ApiError)

    asyncio.run(test())


def test_a_check_ends_at_the_requests_deadline_and_its_place_is_free() -> None:
    async def test() -> None:
        checks = Checks()
        constraints = Constraints(TOKENIZER, check=checks)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await held(constraints, json_grammar({"const": "late"}), seconds=0.01)
        assert checks.ended == 3
        checks.go.set()
        await held(constraints, json_grammar({"const": "late"}))

    asyncio.run(test())


@pytest.mark.parametrize(
    ("failure", "status"),
    [(TimeoutError(), 503), (subprocess.CalledProcessError(-9, "check"), 400)],
)
def test_a_passing_failure_of_a_check_is_not_kept(failure: Exception, status: int) -> None:
    async def test() -> None:
        checks = Checks(failure)
        checks.go.set()
        constraints = Constraints(TOKENIZER, check=checks)
        grammar = json_grammar({"const": "asked again"})
        with pytest.raises(ApiError) as caught:
            await held(constraints, grammar)
        assert caught.value.status == status
        for _ in range(2):
            await held(constraints, grammar)
        assert len(checks.begun) == 2

    asyncio.run(test())


def test_a_large_schema_is_refused_by_its_size() -> None:
    with pytest.raises(ApiError, match="it is larger than 65536 bytes"):
        constraint(json_grammar({"enum": [json.dumps(["x"] * 20_000)]}))
