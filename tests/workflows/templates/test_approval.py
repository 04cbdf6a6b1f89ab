"""The approval of a run on the engine: the rendered template with steps that only leave outputs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.contracts.approval import APPROVE
from argotune.workflows.engine.controller.suspend import Resumption
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.record import load_record, request_resume, request_stop
from argotune.workflows.engine.run import run
from argotune.workflows.workspace.manifests import workflow
from tests.workflows.engine.running import options, wait_until

_OUTPUTS = {
    "dataset": {"changed": "true", "digest": "sha256:0"},
    "provision": {"node-selector": "{}", "watched": "false"},
    "evaluate": {"verdict": "passed"},
    "push": {"reference": "oci:dist@sha256:0", "report": "oci:dist@sha256:1"},
    "deploy": {"endpoint": "http://127.0.0.1:1"},
}
_KEPT = ("name", "inputs", "outputs", "volumes")
GIVEN = {"name": "mine", "preset": "tiny", "urls": "[]", "output-image": "oci:dist"}


def step(template: JsonObject) -> JsonObject:
    """A template whose container writes the step's outputs and does nothing else."""
    outputs = _OUTPUTS.get(template["name"], {})
    lines = [f"printf '%s' '{text}' > /argotune/outputs/{name}" for name, text in outputs.items()]
    container = {"image": "busybox", "command": ["sh", "-c", "; ".join(lines or [":"])]}
    volumes = [each["name"] for each in template.get("volumes", []) if each["name"] == "outputs"]
    mounts = [{"name": name, "mountPath": "/argotune/outputs"} for name in volumes]
    kept = {key: each for key, each in template.items() if key in _KEPT}
    return {**kept, "container": {**container, "volumeMounts": mounts}}


def document(**settings: str) -> JsonObject:
    given = {**GIVEN, **{name.replace("_", "-"): value for name, value in settings.items()}}
    made = workflow(given)
    spec = made["spec"]
    spec["volumes"] = []
    spec["templates"] = [step(each) if "container" in each else each for each in spec["templates"]]
    made["metadata"] = {"name": "wf"}
    return made


def play(tmp_path: Path, **settings: str) -> JsonObject:
    return run([document(**settings)], options(tmp_path))


class Waiting:
    """A run in a thread, which waits for its approval."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "run"
        self._ended: list[JsonObject] = []
        self._thread = threading.Thread(
            target=lambda: self._ended.append(play(tmp_path, approval="required"))
        )
        self._thread.start()
        wait_until(lambda: (self.directory / "workflow.json").exists() and self._is_asking())

    def _is_asking(self) -> bool:
        return phases(load_record(self.directory)).get(APPROVE) == "Running"

    def end(self) -> JsonObject:
        self._thread.join(60)
        return self._ended[0]


def phases(finished: JsonObject) -> dict[str, str]:
    nodes = sorted(finished["status"]["nodes"].values(), key=lambda node: str(node["name"]))
    return {node["displayName"]: node["phase"] for node in nodes}


def outputs(finished: JsonObject) -> dict[str, Any]:
    (root,) = [node for node in finished["status"]["nodes"].values() if node["name"] == "wf"]
    return {each["name"]: each["value"] for each in root["outputs"]["parameters"] if each["value"]}


def test_without_approval_nobody_is_asked(tmp_path: Path) -> None:
    finished = play(tmp_path)
    found = phases(finished)
    assert (finished["status"]["phase"], found["deploy"]) == ("Succeeded", "Succeeded")
    assert (found["approval"], found["approved"]) == ("Skipped", "Omitted")
    assert found["reject"] == "Omitted"
    assert "release-node" not in found
    assert outputs(finished).keys() == {"verdict", "reference", "report", "endpoint"}


@pytest.mark.parametrize(("answer", "deployed"), [("approve", True), ("reject", False)])
def test_the_answer_decides_about_the_service_and_not_about_the_run(
    tmp_path: Path, answer: str, deployed: bool
) -> None:
    waiting = Waiting(tmp_path)
    # Nothing that costs money while it waits.
    found = phases(load_record(waiting.directory))
    assert (found["release-node"], found.get("deploy")) == ("Succeeded", None)
    given = {"decision": answer, "reason": "as agreed"}
    request_resume(waiting.directory, Resumption(node=APPROVE, outputs=given, message="by ann"))
    finished = waiting.end()
    assert finished["status"]["phase"] == "Succeeded"
    assert phases(finished)["deploy"] == ("Succeeded" if deployed else "Omitted")
    # A schedule is not to ask the same again.
    assert phases(finished)["reject"] == ("Omitted" if deployed else "Succeeded")
    said = outputs(finished)
    assert (said["approval"], said["approval-reason"]) == (answer, "as agreed")
    assert ("endpoint" in said) is deployed


@pytest.mark.parametrize(("on_timeout", "phase"), [("reject", "Omitted"), ("approve", "Succeeded")])
def test_the_time_decides_as_set_where_nobody_does(
    tmp_path: Path, on_timeout: str, phase: str
) -> None:
    settings = {"approval": "required", "approval_timeout_seconds": "1ms"}
    finished = play(tmp_path, **settings, on_approval_timeout=on_timeout)
    assert (finished["status"]["phase"], phases(finished)["deploy"]) == ("Succeeded", phase)
    said = outputs(finished)
    assert (said["approval"], said["approval-reason"]) == (on_timeout, "nobody decided in time")


def test_a_run_that_is_stopped_while_it_waits_deploys_nothing(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)
    request_stop(waiting.directory)
    finished = waiting.end()
    assert finished["status"]["phase"] == "Failed"
    assert phases(finished)["wf.onExit"] == "Succeeded"
    assert (phases(finished)["deploy"], phases(finished)["reject"]) == ("Omitted", "Omitted")


def test_a_node_that_is_not_given_back_keeps_the_run_from_waiting(tmp_path: Path) -> None:
    made = document(approval="required")
    (release,) = [each for each in made["spec"]["templates"] if each["name"] == "release-node"]
    release["container"]["command"] = ["sh", "-c", "exit 3"]
    finished = run([made], options(tmp_path))
    assert finished["status"]["phase"] == "Failed"
    found = phases(finished)
    assert {found[name] for name in (APPROVE, "deploy", "reject")} == {"Omitted"}
