"""Check of an answer that calls tools: well-formed, of offered tools, with valid arguments."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from argotune.steps.contracts.json_schema import Validator, compile_schema, problem_of
from argotune.steps.evaluate.checks.rows import RIGHT, AnsweredRow, Score, wrong
from argotune.steps.tokens.tool_calls import Call, NoCall, read_calls


def score_call(row: AnsweredRow) -> Score | None:
    """Score 1 for well-formed calls of offered tools with valid arguments.

    None for a row that offers no tools, or whose reference is no call.
    """
    if not row.tools or not _is_call(row.reference):
        return None
    try:
        calls = read_calls(row.answer)
    except NoCall as error:
        return wrong(str(error))
    tools = _schemas(json.dumps(row.tools))
    problems = [problem for call in calls if (problem := _problem(call, tools))]
    return wrong("; ".join(problems)) if problems else RIGHT


def _is_call(text: str) -> bool:
    try:
        return bool(read_calls(text))
    except NoCall:
        return False


def _problem(call: Call, tools: Mapping[str, Validator | str]) -> str:
    tool = tools.get(call.name)
    if tool is None:
        return f"{call.name!r} is not among the offered tools"
    problem = tool if isinstance(tool, str) else problem_of(tool, call.arguments)
    return f"arguments of {call.name!r}: {problem}" if problem else ""


@functools.lru_cache(maxsize=256)
def _schemas(tools: str) -> Mapping[str, Validator | str]:
    """For each tool its compiled schema, or what is wrong with that; most rows repeat a few."""
    functions: Sequence[Mapping[str, Any]] = [tool["function"] for tool in json.loads(tools)]
    return {each["name"]: _schema(each.get("parameters") or {}) for each in functions}


def _schema(parameters: object) -> Validator | str:
    try:
        return compile_schema(parameters)
    except ValueError as error:
        return f"the tool's own parameters are no JSON schema: {error}"
