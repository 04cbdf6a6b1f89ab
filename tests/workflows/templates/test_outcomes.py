"""What is left of a rejected adapter that was not sent, on the engine: the rendered template with
steps that only leave outputs. What each run of a schedule comes to is in test_month.py."""

from __future__ import annotations

from pathlib import Path

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.run import run
from tests.workflows.engine.running import options
from tests.workflows.templates.test_approval import document, phases
from tests.workflows.templates.test_end import fail


def say(made: JsonObject, step: str, **results: str) -> JsonObject:
    """The workflow, in which a step leaves other outputs."""
    (template,) = [each for each in made["spec"]["templates"] if each["name"] == step]
    lines = [f"printf '%s' '{text}' > /argotune/outputs/{name}" for name, text in results.items()]
    template["container"]["command"][-1] += f"; {'; '.join(lines)}"
    return made


def test_a_rejection_is_not_recorded_where_the_adapter_was_not_sent(tmp_path: Path) -> None:
    made = say(document(), "evaluate", verdict="rejected", outcome="kept v3")
    finished = run([fail(made, "push")], options(tmp_path))
    assert (finished["status"]["phase"], phases(finished)["reject"]) == ("Failed", "Omitted")
