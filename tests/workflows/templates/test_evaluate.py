"""An evaluation on the engine: the rendered template with steps that only leave outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from argotune.steps.common.fields import fields_of
from argotune.steps.plan.side_by_side.params import Params
from argotune.steps.settings.step_params import EVALUATION_STEPS, settings_problems
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.run import run
from argotune.workflows.templates.evaluate import NAME
from argotune.workflows.workspace.manifests import fill_in, parameters_of, read_rendered
from tests.workflows.engine.running import options
from tests.workflows.templates.references import undefined_references
from tests.workflows.templates.test_approval import outputs, phases, step
from tests.workflows.templates.test_end import fail
from tests.workflows.templates.test_outcomes import say

GIVEN = {"models": '["tiny"]', "urls": '["https://example.com/a.jsonl"]'}


def template() -> JsonObject:
    return fill_in(read_rendered(NAME)[0], {})


def document() -> JsonObject:
    """A Workflow of the template's own spec, whose steps only leave their outputs."""
    spec = template()["spec"]
    spec["volumes"] = []
    spec["templates"] = [step(each) if "container" in each else each for each in spec["templates"]]
    for each in spec["arguments"]["parameters"]:
        each.setdefault("value", GIVEN.get(each["name"]))
    api = "argoproj.io/v1alpha1"
    return {"apiVersion": api, "kind": "Workflow", "metadata": {"name": "wf"}, "spec": spec}


def test_the_models_are_measured_and_the_report_kept(tmp_path: Path) -> None:
    made = say(document(), "evaluate", summary="tiny 4.5")
    finished = run([say(made, "push", report="r/x@sha256:1")], options(tmp_path))
    assert finished["status"]["phase"] == "Succeeded"
    found = phases(finished)
    steps = ("plan", "dataset", "model", "provision", "evaluate", "push")
    assert {found[each] for each in steps} == {"Succeeded"}
    # The node was there before, and nothing has to watch it.
    assert (found["watch"], found["release"]) == ("Skipped", "Succeeded")
    assert outputs(finished) == {"summary": "tiny 4.5", "report": "r/x@sha256:1"}


def test_what_plan_refuses_asks_for_no_node_and_the_end_is_reached(tmp_path: Path) -> None:
    finished = run([fail(document(), "plan")], options(tmp_path))
    found = phases(finished)
    assert finished["status"]["phase"] == "Failed"
    assert {found[each] for each in ("dataset", "provision", "evaluate", "push")} == {"Omitted"}
    assert found["release"] == "Succeeded"


def test_a_node_that_is_made_is_watched(tmp_path: Path) -> None:
    finished = run([say(document(), "provision", watched="true")], options(tmp_path))
    assert phases(finished)["watch"] == "Succeeded"


def test_every_reference_is_defined() -> None:
    assert undefined_references(template()["spec"]) == []


def test_only_one_pod_at_a_time_mounts_the_volume() -> None:
    """Those that do run one after the other; what runs beside them mounts nothing of it."""
    spec = template()["spec"]
    (dag,) = [each["dag"] for each in spec["templates"] if each["name"] == spec["entrypoint"]]
    mounting = {
        each["name"]
        for each in spec["templates"]
        if any(
            mount["name"] == "work" for mount in each.get("container", {}).get("volumeMounts", [])
        )
    }
    before: dict[str, set[str]] = {}
    for task in dag["tasks"]:
        named = set(re.findall(r"(?<![\w.])[a-z]+", task.get("depends", "")))
        before[task["name"]] = named.union(*(before[name] for name in named))
    ordered = [task["name"] for task in dag["tasks"] if task["name"] in mounting]
    assert ordered == ["plan", "dataset", "model", "evaluate", "push"]
    for place, name in enumerate(ordered):
        assert before[name] >= set(ordered[:place])


def test_plan_gets_what_its_params_have_and_no_secret_is_mounted_elsewhere() -> None:
    containers = {each["name"]: each for each in template()["spec"]["templates"]}
    plan = containers["plan"]
    assert plan["container"]["command"] == ["python", "-m", "argotune.steps.plan.side_by_side"]
    given = {arg.removeprefix("--").partition("=")[0] for arg in plan["container"]["args"]}
    missing = {field.kebab for field in fields_of(Params)} - given
    assert missing == {"timeout-seconds"}
    logins = {
        name
        for name, each in containers.items()
        for mount in each.get("container", {}).get("volumeMounts", [])
        if mount["name"] == "push-secret"
    }
    assert logins == {"plan", "push"}


def test_the_forms_defaults_are_accepted() -> None:
    known = parameters_of(template())
    required = [name for name, each in known.items() if "value" not in each]
    assert required == ["models", "urls"]
    settings: dict[str, Any] = {name: each.get("value", "") for name, each in known.items()}
    assert not list(settings_problems({**settings, **GIVEN}, None, EVALUATION_STEPS))
    assert json.loads(settings["zones"]) == []
