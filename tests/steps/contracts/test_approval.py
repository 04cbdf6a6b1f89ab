"""Who answered a run's question, by what Argo keeps of it."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.contracts.approval import Answer, answer_of

ENDED = "2026-02-03T04:05:06Z"


def question(phase: str = "Succeeded", message: str = "", **outputs: str) -> dict[str, Any]:
    node = {
        "displayName": "approve",
        "type": "Suspend",
        "phase": phase,
        "message": message,
        "finishedAt": ENDED,
        "outputs": {"parameters": [{"name": k, "value": v} for k, v in outputs.items()]},
    }
    other = {"displayName": "approve", "type": "Pod", "phase": "Succeeded"}
    return {"status": {"nodes": {"a": other, "b": node}}}


@pytest.mark.parametrize(
    ("message", "by"),
    [
        ("rejected by ann@example.com", "ann@example.com"),
        ("rejected by system:serviceaccount:team:bot", "system:serviceaccount:team:bot"),
        ("Resumed by: map[Email:ann@example.com User:42]", "ann@example.com in Argo"),
        ("Resumed by: map[Email:a@b PreferredUsername:Ann Bee User:42]", "Ann Bee in Argo"),
        ("looked at it; Resumed by: map[User:42]", "42 in Argo"),
        ("Resumed by: map[]", ""),
        ("rejected", ""),
        ("", ""),
    ],
)
def test_the_name_is_what_argotune_or_argos_server_noted(message: str, by: str) -> None:
    run = question(message=message, decision="reject", reason="worse on dates")
    assert answer_of(run) == Answer(decision="reject", reason="worse on dates", by=by, time=ENDED)


@pytest.mark.parametrize(
    "run",
    [
        {},
        question("Running"),
        question("Failed", decision="reject"),
        question(decision="perhaps"),
    ],
    ids=["no run", "awaited", "failed", "another word"],
)
def test_without_an_answer_there_is_none(run: dict[str, Any]) -> None:
    assert answer_of(run) is None
