"""A service without training on the engine: the rendered template with steps that leave outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from argotune.steps.common.fields import fields_of, parse_fields
from argotune.steps.deploy.params import Params as DeployParams
from argotune.steps.plan.service.params import Params
from argotune.steps.settings.step_params import PARAMS, SERVICE_STEPS, settings_problems
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.run import run
from argotune.workflows.templates.serve import NAME
from argotune.workflows.workspace.manifests import fill_in, parameters_of, read_rendered
from tests.workflows.engine.running import options
from tests.workflows.templates.references import undefined_references
from tests.workflows.templates.test_approval import outputs, phases, step
from tests.workflows.templates.test_end import fail
from tests.workflows.templates.test_outcomes import say


def template() -> JsonObject:
    return fill_in(read_rendered(NAME)[0], {})


def document() -> JsonObject:
    """A Workflow of the template's own spec, whose steps only leave their outputs."""
    spec = template()["spec"]
    spec["volumes"] = []
    spec["templates"] = [step(each) if "container" in each else each for each in spec["templates"]]
    api = "argoproj.io/v1alpha1"
    return {"apiVersion": api, "kind": "Workflow", "metadata": {"name": "wf"}, "spec": spec}


def containers() -> dict[str, JsonObject]:
    return {each["name"]: each for each in template()["spec"]["templates"] if "container" in each}


def flags(name: str) -> dict[str, str]:
    parts = [
        arg.removeprefix("--").partition("=") for arg in containers()[name]["container"]["args"]
    ]
    return {flag: text for flag, _, text in parts}


def test_a_service_that_answers_keeps_the_node_that_was_made(tmp_path: Path) -> None:
    made = say(document(), "deploy", endpoint="http://chat.team.svc", answer="I am.")
    finished = run([say(made, "plan", adapters="docs=sha256:1")], options(tmp_path))
    assert finished["status"]["phase"] == "Succeeded"
    found = phases(finished)
    assert {found[each] for each in ("plan", "model", "provision", "deploy")} == {"Succeeded"}
    assert found["release"] == "Skipped"
    assert outputs(finished) == {
        "adapters": "docs=sha256:1",
        "endpoint": "http://chat.team.svc",
        "answer": "I am.",
    }


def test_the_node_of_a_service_that_does_not_answer_is_given_back(tmp_path: Path) -> None:
    finished = run([fail(document(), "deploy")], options(tmp_path))
    assert finished["status"]["phase"] == "Failed"
    assert phases(finished)["release"] == "Succeeded"


def test_what_plan_refuses_asks_for_no_node(tmp_path: Path) -> None:
    finished = run([fail(document(), "plan")], options(tmp_path))
    found = phases(finished)
    assert {found[each] for each in ("model", "provision", "deploy")} == {"Omitted"}


def test_every_reference_is_defined() -> None:
    assert undefined_references(template()["spec"]) == []


def test_only_one_pod_at_a_time_mounts_the_volume() -> None:
    mounting = [
        name
        for name, each in containers().items()
        if any(mount["name"] == "work" for mount in each["container"].get("volumeMounts", []))
    ]
    assert mounting == ["plan", "model", "deploy"]
    dag = next(each["dag"] for each in template()["spec"]["templates"] if "dag" in each)
    after = {
        task["name"]: set(re.findall(r"(?<![\w.])[a-z]+", task.get("depends", "")))
        for task in dag["tasks"]
    }
    assert after["model"] == {"plan"}
    assert after["deploy"] == {"model", "provision"}


def test_plan_gets_what_its_params_have() -> None:
    assert containers()["plan"]["container"]["command"] == [
        "python",
        "-m",
        "argotune.steps.plan.service",
    ]
    assert {field.kebab for field in fields_of(Params)} <= flags("plan").keys()


def test_deploy_is_told_of_the_node_and_of_no_training() -> None:
    given = flags("deploy")
    assert given["own-node"] == "true"
    assert given["service-plan"] == "/argotune/work/service-plan.yaml"
    missing = {field.kebab for field in fields_of(DeployParams)} - given.keys()
    assert {"reference", "plan-file", "history-file", "layout-dir", "work-dir"} <= missing
    assert not {"machine", "node-since", "price-usd-per-hour"} & missing


def test_no_time_ends_the_node_of_a_service() -> None:
    century = 100 * 365 * 24 * 3600
    assert float(flags("provision")["lifetime-seconds"]) == century
    known = parameters_of(template())
    assert not {"node-lifetime-seconds", "max-cost-usd", "capacity-types"} & known.keys()


def test_the_forms_defaults_are_accepted() -> None:
    known = parameters_of(template())
    assert [name for name, each in known.items() if "value" not in each] == []
    settings: dict[str, Any] = {name: each["value"] for name, each in known.items()}
    assert not list(settings_problems(settings, None, SERVICE_STEPS))
    assert json.loads(settings["adapters"]) == []


def test_every_step_takes_the_parameters_that_a_user_leaves_out() -> None:
    given = {"name": "chat", "preset": "tiny"}
    of_others = {"name": "chat", "model-dir": "presets/tiny/0"}
    defaults = {
        name: str(each.get("value", "")) for name, each in parameters_of(template()).items()
    } | given
    for step_name in SERVICE_STEPS:
        known = {field.kebab: field for field in fields_of(PARAMS[step_name])}
        values = {}
        for flag, text in flags(step_name.partition(".")[0]).items():
            of_run = re.fullmatch(r"\{\{=replace\(workflow.parameters\['([\w-]+)'\].*\}\}", text)
            if of_run:
                values[flag] = defaults[of_run[1]]
            elif flag in of_others or (flag in known and known[flag].default is None):
                values[flag] = of_others.get(flag, "1")
            elif flag in known and "{{" not in text:
                values[flag] = text
        parse_fields(PARAMS[step_name], values)
