"""Behaviour that no case on Argo shows, or that Argo answers otherwise (it waits for ever)."""

import json
import threading
from pathlib import Path

import pytest

from argotune.workflows.engine.controller.locks import LockName, LockTable
from argotune.workflows.engine.controller.suspend import Resumption
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.record import request_resume, request_stop
from argotune.workflows.engine.run import run
from tests.workflows.engine.running import (
    documents,
    node,
    options,
    output,
    run_spec,
    wait_until,
)

OK = '  - {name: ok, container: {image: busybox, command: ["true"]}}\n'


def test_a_timeout_counts_from_the_nodes_start(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: slow
  templates:
  - {name: slow, timeout: 1s, container: {image: busybox, command: [sleep, "60"]}}
""",
        tmp_path,
    )
    slow = node(finished, "")
    assert slow["phase"] == "Failed"
    assert slow["message"] == "Pod was active on the node longer than the specified deadline"


def test_a_pod_spec_patch_that_a_value_breaks_is_an_error_of_its_node(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: ok
  arguments: {parameters: [{name: memory, value: "]"}]}
  templates:
  - name: ok
    podSpecPatch: >-
      {containers: [{name: main, resources: {limits: {memory: {{workflow.parameters.memory}}}}}]}
    container: {image: busybox, command: ["true"]}
""",
        tmp_path,
    )
    broken = node(finished, "")
    assert broken["phase"] == "Error"
    assert broken["message"].startswith("podSpecPatch: not valid YAML: ")


def test_a_pod_spec_patch_adds_a_volume(tmp_path: Path) -> None:
    patch = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "rows"}}],
        "containers": [
            {"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/patched/data"}]}
        ],
    }
    finished = run_spec(
        f"""
  entrypoint: ok
  templates:
  - name: ok
    podSpecPatch: '{{{{="" == "" ? toJson({json.dumps(patch).replace("}}", "} }")}) : ""}}}}'
    container: {{image: busybox, command: [touch, /patched/data/found]}}
""",
        tmp_path,
    )
    assert node(finished, "")["phase"] == "Succeeded"
    assert [path.parent.name for path in tmp_path.rglob("found")] == ["rows"]


def test_a_workflow_may_begin_suspended(tmp_path: Path) -> None:
    results: list[JsonObject] = []
    spec = "  entrypoint: ok\n  suspend: true\n  templates:\n" + OK
    thread = threading.Thread(target=lambda: results.append(run_spec(spec, tmp_path)))
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    request_resume(tmp_path / "run")
    thread.join(60)
    assert results[0]["status"]["phase"] == "Succeeded"


ASKING = """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {{name: ask, template: ask}}
      - name: go
        depends: ask.Succeeded
        when: "{{{{tasks.ask.outputs.parameters.answer}}}} == yes"
        template: nothing
  - name: ask
    suspend: {suspend}
    inputs:
      parameters:
      - {{name: answer, enum: ["yes", "no"], default: "{default}"}}
      - {{name: why, default: ""}}
    outputs:
      parameters:
      - {{name: answer, valueFrom: {{supplied: {{}}, {own}}}}}
      - {{name: why, valueFrom: {{supplied: {{}}}}}}
  - {{name: nothing, suspend: {{duration: "0"}}}}
"""


@pytest.mark.parametrize(
    ("own", "answer", "goes"),
    [("default: 'yes'", "yes", "Succeeded"), ("", "no", "Skipped")],
    ids=["its own default", "its input's"],
)
def test_a_wait_that_is_over_takes_the_defaults_of_its_outputs(
    tmp_path: Path, own: str, answer: str, goes: str
) -> None:
    spec = ASKING.format(suspend='{duration: "0"}', default="no", own=own)
    finished = run_spec(spec, tmp_path)
    assert (output(finished, ".ask", "answer"), output(finished, ".ask", "why")) == (answer, "")
    assert node(finished, ".go")["phase"] == goes


def test_a_wait_that_is_over_without_a_value_is_an_error(tmp_path: Path) -> None:
    spec = """
  entrypoint: ask
  templates:
  - name: ask
    suspend: {duration: "0"}
    outputs: {parameters: [{name: answer, valueFrom: {supplied: {}}}]}
"""
    finished = run_spec(spec, tmp_path)
    assert finished["status"]["phase"] == "Error"
    message = "raw output parameter 'answer' has not been set and does not have a default value"
    assert node(finished, "")["message"] == message


def test_who_resumes_a_node_supplies_its_outputs(tmp_path: Path) -> None:
    states: list[JsonObject] = []
    spec = ASKING.format(suspend="{}", default="no", own="")
    thread = threading.Thread(target=lambda: states.append(run_spec(spec, tmp_path)))
    thread.start()
    record = tmp_path / "run" / "workflow.json"
    wait_until(lambda: record.exists() and '"Suspend"' in record.read_text())
    request_resume(tmp_path / "run", Resumption(node="another"))
    control = tmp_path / "run" / "control" / "resume"
    wait_until(lambda: not control.exists())
    given = Resumption(node="ask", outputs={"answer": "yes", "why": "good"}, message="by ann")
    request_resume(tmp_path / "run", given)
    thread.join(60)
    asked = node(states[0], ".ask")
    assert (asked["phase"], asked["message"]) == ("Succeeded", "by ann")
    assert (output(states[0], ".ask", "answer"), output(states[0], ".ask", "why")) == (
        "yes",
        "good",
    )
    assert node(states[0], ".go")["phase"] == "Succeeded"


def test_an_output_of_a_skipped_task_is_an_error_where_it_is_used(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {name: skipped, template: say, when: "1 == 2"}
      - name: user
        template: echo
        dependencies: [skipped]
        arguments:
          parameters: [{name: text, value: "{{tasks.skipped.outputs.parameters.out}}"}]
  - name: say
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/out}}]}
    container: {image: busybox, command: ["true"]}
  - name: echo
    inputs: {parameters: [{name: text}]}
    container: {image: busybox, command: [echo, "{{inputs.parameters.text}}"]}
""",
        tmp_path,
    )
    assert finished["status"]["phase"] == "Error"
    assert node(finished, ".user")["message"] == (
        "failed to resolve {{tasks.skipped.outputs.parameters.out}}"
    )


def test_results_that_are_no_json_are_not_made_a_list(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {name: loop, template: say, withItems: [a]}
      - name: user
        template: say
        dependencies: [loop]
        arguments: {parameters: [{name: text, value: "{{tasks.loop.outputs.result}}"}]}
  - name: say
    container: {image: busybox, command: [echo, hello]}
""",
        tmp_path,
    )
    assert node(finished, ".user")["message"] == (
        "tasks.loop.outputs.result cannot be made a list: 'hello' is not JSON"
    )


def test_a_command_that_is_known_only_later_and_not_there_fails_its_step(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  arguments: {parameters: [{name: program, value: no-such-program}]}
  templates:
  - {name: main, container: {image: busybox, command: ["{{workflow.parameters.program}}"]}}
""",
        tmp_path,
    )
    failed = node(finished, "")
    assert (failed["phase"], failed["outputs"]) == ("Failed", {"exitCode": "64"})
    assert 'exec: "no-such-program": executable file not found in $PATH' in failed["message"]


def test_an_exit_handler_may_retry(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: ok
  onExit: handler
  templates:
  - name: handler
    retryStrategy: {limit: 1}
    container: {image: busybox, command: [sh, -c, "test {{retries}} = 1"]}
"""
        + OK,
        tmp_path,
    )
    assert finished["status"]["phase"] == "Succeeded"
    assert node(finished, "wf.onExit")["type"] == "Retry"
    phases = [node(finished, f"wf.onExit({number})")["phase"] for number in (0, 1)]
    assert phases == ["Failed", "Succeeded"]


def test_an_exit_handler_that_fails_fails_a_workflow_that_succeeded(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: ok
  onExit: bad
  templates:
  - {name: bad, container: {image: busybox, command: [sh, -c, "exit 5"]}}
"""
        + OK,
        tmp_path,
    )
    assert finished["status"]["phase"] == "Failed"
    assert finished["status"]["message"] == "main: Error (exit code 5)"


def test_a_semaphore_limits_what_runs_at_once(tmp_path: Path) -> None:
    spec = """
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: each, template: one, withItems: [1, 2, 3, 4]}]]
  - name: one
    synchronization: {semaphores: [{configMapKeyRef: {name: limits, key: builds}}]}
    container:
      image: busybox
      command: [sh, -c, "touch in.{{pod.name}}; ls in.* | wc -l >> seen; sleep 0.1; rm in.{{pod.name}}"]
---
kind: ConfigMap
metadata: {name: limits}
data: {builds: "2"}
"""  # noqa: E501
    finished = run_spec(spec, tmp_path)
    assert finished["status"]["phase"] == "Succeeded"
    seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
    assert len(seen) == 4
    assert max(seen) <= 2


def test_a_stop_ends_what_waits_for_a_lock_of_another_run(tmp_path: Path) -> None:
    other = LockTable(tmp_path / "claims" / ".locks")
    other.acquire("other", [LockName("Mutex", "default", "m", 1)])
    results: list[JsonObject] = []
    spec = """
  entrypoint: main
  templates:
  - name: main
    retryStrategy: {limit: 1}
    synchronization: {mutexes: [{name: m}]}
    container: {image: busybox, command: ["true"]}
"""
    thread = threading.Thread(target=lambda: results.append(run_spec(spec, tmp_path)))
    thread.start()
    record = tmp_path / "run" / "workflow.json"
    wait_until(lambda: record.exists() and "Waiting for default/Mutex/m" in record.read_text())
    request_stop(tmp_path / "run")
    thread.join(60)
    other.release_all()
    assert results[0]["status"]["phase"] == "Failed"
    assert node(results[0], "")["message"] == "Stopped with strategy 'Stop'"


def test_a_cluster_workflow_template_is_found_by_its_scope(tmp_path: Path) -> None:
    library = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ClusterWorkflowTemplate",
        "metadata": {"name": "library"},
        "spec": {"templates": [{"name": "t", "container": {"image": "b", "command": ["true"]}}]},
    }
    spec = """
  entrypoint: main
  templates:
  - name: main
    dag: {tasks: [{name: far, templateRef: {name: library, template: t, clusterScope: true}}]}
"""
    finished = run([*documents(spec), library], options(tmp_path))
    far = node(finished, ".far")
    assert far["phase"] == "Succeeded"
    assert far["templateRef"] == {"name": "library", "template": "t", "clusterScope": True}


def test_a_failed_workflow_tells_its_handler_what_failed(tmp_path: Path) -> None:
    run_spec(
        """
  entrypoint: bad
  onExit: handler
  templates:
  - {name: bad, container: {image: busybox, command: ["false"]}}
  - name: handler
    container:
      image: busybox
      command: [sh, -c, "(echo {{workflow.failures}}; echo {{workflow.duration}}) > failures"]
""",
        tmp_path,
    )
    failures, duration = (tmp_path / "failures").read_text().splitlines()
    assert '"displayName":"wf"' in failures
    assert '"templateName":"bad"' in failures
    assert float(duration) >= 0


def test_a_display_name_whose_tags_give_no_name_is_an_error_of_the_node(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  arguments: {parameters: [{name: who, value: "no name"}]}
  templates:
  - name: main
    annotations: {workflows.argoproj.io/display-name: "{{workflow.parameters.who}}"}
    container: {image: busybox, command: ["true"]}
""",
        tmp_path,
    )
    assert finished["status"]["phase"] == "Error"
    assert "'no name'; accepted are" in node(finished, "wf")["message"]


@pytest.mark.parametrize(
    "calls",
    ["steps: [[{name: a, template: main}]]", "dag: {tasks: [{name: a, template: main}]}"],
)
def test_templates_that_call_each_other_without_end_stop_at_argos_depth(
    tmp_path: Path, calls: str
) -> None:
    """Argo's nodes of it are 199, too many for a case."""
    workflow = run_spec(f"  entrypoint: main\n  templates: [{{name: main, {calls}}}]\n", tmp_path)
    nodes = workflow["status"]["nodes"].values()
    assert workflow["status"]["phase"] in ("Failed", "Error")
    assert sum(each["type"] in ("Steps", "DAG") for each in nodes) == 99
    deepest = max(nodes, key=lambda each: len(each["name"]))
    assert (deepest["type"], deepest["phase"]) == ("Skipped", "Error")
    assert "Maximum recursion depth exceeded" in deepest["message"]
