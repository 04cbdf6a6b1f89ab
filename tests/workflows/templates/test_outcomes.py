"""What a scheduled run comes to, on the engine: the rendered template with steps that only leave
outputs, each run on a day of its own."""

from __future__ import annotations

from pathlib import Path

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.run import run
from tests.workflows.engine.running import options
from tests.workflows.templates.test_approval import document, outputs, phases
from tests.workflows.templates.test_end import fail

_NOT_REACHED = {"Omitted", "Skipped"}


def say(made: JsonObject, step: str, **results: str) -> JsonObject:
    """The workflow, in which a step leaves other outputs."""
    (template,) = [each for each in made["spec"]["templates"] if each["name"] == step]
    lines = [f"printf '%s' '{text}' > /argotune/outputs/{name}" for name, text in results.items()]
    template["container"]["command"][-1] += f"; {'; '.join(lines)}"
    return made


def test_a_day_without_new_data_costs_no_node(tmp_path: Path) -> None:
    finished = run([say(document(), "dataset", changed="false")], options(tmp_path))
    found = phases(finished)
    assert finished["status"]["phase"] == "Succeeded"
    unreached = ("model", "provision", "tune", "evaluate", "push", "approval", "deploy")
    assert {found[step] for step in unreached} <= _NOT_REACHED
    assert found["release"] == "Succeeded"


def test_a_host_that_is_down_fails_the_run_before_it_costs(tmp_path: Path) -> None:
    finished = run([fail(document(), "dataset")], options(tmp_path))
    found = phases(finished)
    assert finished["status"]["phase"] == "Failed"
    assert {found[step] for step in ("provision", "tune", "push", "deploy")} <= _NOT_REACHED
    assert found["release"] == "Succeeded"


def test_a_worse_model_is_pushed_and_nobody_is_asked_to_approve_it(tmp_path: Path) -> None:
    made = say(document(approval="required"), "evaluate", verdict="rejected", outcome="kept v3")
    finished = run([made], options(tmp_path))
    found = phases(finished)
    assert (finished["status"]["phase"], found["push"]) == ("Succeeded", "Succeeded")
    assert {found[step] for step in ("approval", "deploy")} <= _NOT_REACHED
    said = outputs(finished)
    assert (said["verdict"], said["outcome"]) == ("rejected", "kept v3")
    assert "endpoint" not in said


def test_a_worse_model_fails_the_run_where_that_is_set(tmp_path: Path) -> None:
    made = say(document(on_rejected="fail"), "evaluate", verdict="rejected", outcome="kept v3")
    # reject does so, when it has written its record.
    finished = run([fail(made, "reject")], options(tmp_path))
    found = phases(finished)
    assert finished["status"]["phase"] == "Failed"
    assert (found["push"], found["deploy"], found["release"]) == (
        "Succeeded",
        "Skipped",
        "Succeeded",
    )


def test_a_rejection_is_recorded_when_the_adapter_was_sent(tmp_path: Path) -> None:
    made = say(document(), "evaluate", verdict="rejected", outcome="kept v3")
    finished = run([made], options(tmp_path))
    assert (finished["status"]["phase"], phases(finished)["reject"]) == ("Succeeded", "Succeeded")
    again = tmp_path / "again"
    again.mkdir()
    finished = run([fail(made, "push")], options(again))
    assert (finished["status"]["phase"], phases(finished)["reject"]) == ("Failed", "Omitted")
