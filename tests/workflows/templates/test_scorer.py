"""The scorers of a run: which runs have some, and what their pods get."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.run import run
from argotune.workflows.workspace import manifests
from tests.workflows.engine.running import options
from tests.workflows.templates.test_approval import GIVEN, document, phases
from tests.workflows.templates.test_outcomes import say

IMAGE = f"registry.example.com/tone@sha256:{64 * 'a'}"


def scored(**settings: str) -> JsonObject:
    found = {"has-scorers": "true", "scored-checks": '["tone", "length"]', "scorers": "{}"}
    return say(document(**settings), "plan", **found)


def test_run_without_a_scorer_goes_from_tune_to_evaluate(tmp_path: Path) -> None:
    finished = run([document()], options(tmp_path))
    found = phases(finished)
    assert (found["answer"], found["score"]) == ("Skipped", "Omitted")
    assert (found["evaluate"], finished["status"]["phase"]) == ("Succeeded", "Succeeded")


def test_scorers_run_one_by_one_between_the_answers_and_the_verdict(tmp_path: Path) -> None:
    finished = run([scored()], options(tmp_path))
    nodes = {node["displayName"]: node for node in finished["status"]["nodes"].values()}
    order = [nodes[step] for step in ("answer", "score(0:tone)", "score(1:length)", "evaluate")]
    assert [node["phase"] for node in order] == ["Succeeded"] * 4
    assert all(
        before["finishedAt"] <= after["startedAt"] for before, after in itertools.pairwise(order)
    )


def test_gate_that_is_off_asks_no_scorer(tmp_path: Path) -> None:
    found = phases(run([scored(gate="off")], options(tmp_path)))
    assert (found["answer"], found["evaluate"]) == ("Skipped", "Succeeded")


@pytest.mark.parametrize("failing", ["tone", "length"])
def test_scorer_that_fails_fails_the_run_and_nothing_is_pushed(
    tmp_path: Path, failing: str
) -> None:
    made = scored()
    (pod,) = [each for each in made["spec"]["templates"] if each["name"] == "scorer"]
    pod["container"]["command"] = ["test", "{{inputs.parameters.check}}", "!=", failing]
    finished = run([made], options(tmp_path))
    found = phases(finished)
    assert (finished["status"]["phase"], found["score"]) == ("Failed", "Failed")
    states = {step.partition(":")[2][:-1]: found[step] for step in found if step[:6] == "score("}
    assert states == {"tone": "Succeeded", "length": "Succeeded", failing: "Failed"}
    assert {found["evaluate"], found["push"], found["deploy"]} == {"Omitted"}


def template(scorers: dict[str, str]) -> JsonObject:
    given = {**GIVEN, "scorer-images": json.dumps(scorers)}
    spec = manifests.workflow(given)["spec"]
    (found,) = [each for each in spec["templates"] if each["name"] == "scorer"]
    return dict(found)


def play(
    tmp_path: Path,
    scorers: dict[str, str],
    *,
    scorer: str,
    args: Sequence[str] = (),
    env: Sequence[dict[str, str]] = (),
) -> JsonObject:
    """The template alone, as the engine runs it, for a check `polite`."""
    own = {"scorer": scorer, "args": args, "env": env}
    given = {"check": "polite", "scorers": json.dumps({"other": {}, "polite": own})}
    inputs = [{"name": name, "value": text} for name, text in given.items()]
    call = {"name": "score", "template": "scorer", "arguments": {"parameters": inputs}}
    spec = {
        "entrypoint": "main",
        "volumeClaimTemplates": [{"metadata": {"name": "work"}}],
        "arguments": {"parameters": [{"name": "name", "value": "mine"}]},
        "templates": [{"name": "main", "dag": {"tasks": [call]}}, template(scorers)],
    }
    return run([{"kind": "Workflow", "metadata": {"name": "wf"}, "spec": spec}], options(tmp_path))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A scorer that writes down what it was given."""
    path = tmp_path / "tone.sh"
    path.write_text('#!/bin/sh\nprintf "%s|" "$@" "$TONE" > "$SCORES_FILE"\n')
    path.chmod(0o755)
    return path


def test_program_gets_its_arguments_and_variables_unchanged(tmp_path: Path, program: Path) -> None:
    args, env = ["a b", "$HOME $(TONE) 'x\"", ""], [{"name": "TONE", "value": "$$ dry"}]
    finished = play(tmp_path, {"tone": str(program)}, scorer="tone", args=args, env=env)
    assert finished["status"]["phase"] == "Succeeded"
    (scores,) = tmp_path.rglob("scoring/polite/scores/scores.jsonl")
    assert scores.read_text() == "a b|$HOME $(TONE) 'x\"||$$ dry|"


def test_scorer_that_is_not_allowed_does_not_run(tmp_path: Path, program: Path) -> None:
    finished = play(tmp_path, {"tone": str(program)}, scorer="other")
    assert finished["status"]["phase"] != "Succeeded"


def test_pod_sees_the_two_files_and_nothing_else() -> None:
    found = template({"tone": IMAGE})
    container: dict[str, Any] = found["container"]
    assert found["automountServiceAccountToken"] is False
    assert found["serviceAccountName"] == "argotune-step"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"].keys() == {"memory"}
    assert [
        (mount["name"], mount.get("subPath"), mount.get("readOnly", False))
        for mount in container["volumeMounts"]
    ] == [
        ("work", "scoring/{{inputs.parameters.check}}/rows", True),
        ("work", "scoring/{{inputs.parameters.check}}/scores", False),
        ("scratch", None, False),
    ]
    assert all("valueFrom" not in variable for variable in container["env"])
    assert IMAGE in container["image"]


def test_pod_reaches_no_network_but_what_install_adds() -> None:
    runs, scorers = manifests.read_rendered("network")
    assert "egress" not in scorers["spec"]
    assert scorers["spec"]["policyTypes"] == ["Ingress", "Egress"]
    label = scorers["spec"]["podSelector"]["matchLabels"]["argotune.dev/step"]
    # Policies add up, so that of the other steps must not hold.
    without = {"key": "argotune.dev/step", "operator": "NotIn", "values": [label]}
    assert without in runs["spec"]["podSelector"]["matchExpressions"]
    assert label == template({})["metadata"]["labels"]["argotune.dev/step"]
