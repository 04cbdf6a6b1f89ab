import json
import os
import threading
from pathlib import Path

import pytest

from argotune.steps.contracts.services import process_started
from argotune.workflows.engine import record as recording
from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.process import inherited_environment
from argotune.workflows.engine.record import (
    is_running,
    load_outline,
    load_record,
    request_resume,
    request_stop,
)
from argotune.workflows.engine.run import run
from tests.workflows.engine.running import (
    documents,
    node,
    options,
    output,
    run_spec,
    wait_until,
)

ECHO = """
  - name: echo
    inputs: {parameters: [{name: text}]}
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/out}}]}
    container:
      image: busybox
      command: [sh, -c, 'printf %s "$0" > /tmp/out', "{{inputs.parameters.text}}"]
"""


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.progress: list[str] = []
        self.workflows: list[str] = []
        self.shutdowns: list[str] = []

    def on_workflow(self, workflow: JsonObject) -> None:
        self.workflows.append(workflow["status"]["phase"])

    def on_node(self, node: JsonObject) -> None:
        self.phases.append((node["displayName"], node["phase"]))
        self.progress.append(node.get("progress", ""))

    def on_line(self, node_id: str, text: str) -> None:
        self.lines.append(text)

    def on_shutdown(self, strategy: str) -> None:
        self.shutdowns.append(strategy)


def test_the_record_is_the_workflow_object(tmp_path: Path) -> None:
    finished = run_spec("  entrypoint: echo\n  arguments: {parameters: [{name: text, value: hi}]}\n"
                        "  templates:" + ECHO, tmp_path)  # fmt: skip
    assert load_record(tmp_path / "run") == finished
    assert finished["metadata"]["labels"] == {
        "workflows.argoproj.io/phase": "Succeeded",
        "workflows.argoproj.io/completed": "true",
    }
    status = finished["status"]
    assert (status["phase"], status["progress"]) == ("Succeeded", "1/1")
    assert status["startedAt"] <= status["finishedAt"]
    only = status["nodes"]["wf"]
    assert only["inputs"] == {"parameters": [{"name": "text", "value": "hi"}]}
    assert only["outputs"] == {
        "exitCode": "0",
        "parameters": [{"name": "out", "valueFrom": {"path": "/tmp/out"}, "value": "hi"}],
    }
    assert (only["type"], only["templateScope"]) == ("Pod", "local/wf")
    assert not (tmp_path / "run" / "pods" / "wf").exists()


def test_labels_and_annotations_of_a_run_may_name_its_parameters(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: echo
  workflowMetadata:
    labels: {asked: "{{workflow.parameters.text}}"}
    annotations: {title: "{{workflow.name}} says {{workflow.parameters.text}}"}
  arguments: {parameters: [{name: text, value: hi}]}
  templates:"""
        + ECHO,
        tmp_path,
    )
    assert finished["metadata"]["labels"]["asked"] == "hi"
    assert finished["metadata"]["annotations"]["title"] == "wf says hi"


def test_the_outline_is_the_record_without_specs_and_inputs(tmp_path: Path) -> None:
    run_spec(
        "  entrypoint: echo\n  arguments: {parameters: [{name: text, value: hi}]}\n  templates:"
        + ECHO,
        tmp_path,
    )
    whole, outline = load_record(tmp_path / "run"), load_outline(tmp_path / "run")
    assert "spec" in whole
    assert outline.keys() == {"metadata", "status"}
    assert outline["metadata"] == whole["metadata"]
    assert all(outline["status"][key] == whole["status"][key] for key in ("phase", "finishedAt"))
    node = whole["status"]["nodes"]["wf"]
    kept = {key: node[key] for key in ("type", "displayName", "phase", "outputs")}
    assert outline["status"]["nodes"] == {"wf": kept}
    (tmp_path / "run" / "workflow.json").write_text("{")
    with pytest.raises(EngineError, match=r"workflow\.json cannot be read: "):
        load_outline(tmp_path / "run")


def test_given_parameters_are_never_read_as_tags(tmp_path: Path) -> None:
    finished = run_spec(
        "  entrypoint: echo\n  arguments: {parameters: [{name: text, value: x}]}\n  templates:"
        + ECHO,
        tmp_path,
        parameters={"text": 'a "b" {{workflow.name}} $(ls) \x01 é'},
    )
    assert output(finished, "", "out") == 'a "b" {{workflow.name}} $(ls) \x01 é'


def test_an_output_that_looks_like_a_tag_stays_data(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: make, template: make}
    - - name: use
        template: echo
        arguments: {parameters: [{name: text, value: "{{steps.make.outputs.result}}"}]}
  - name: make
    script: {image: python:3.11, command: [python], source: "print('{{' + 'workflow.uid}' + '}')"}
"""
        + ECHO,
        tmp_path,
    )
    assert output(finished, "[1].use", "out") == "{{workflow.uid}}"


def test_two_pods_may_write_the_same_path(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {name: a, template: echo, arguments: {parameters: [{name: text, value: a}]}}
      - {name: b, template: echo, arguments: {parameters: [{name: text, value: b}]}}
"""
        + ECHO,
        tmp_path,
    )
    assert [output(finished, name, "out") for name in (".a", ".b")] == ["a", "b"]


def test_the_environment_is_the_given_one_and_the_containers(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    outputs: {parameters: [{name: env, valueFrom: {path: /tmp/env}}]}
    container:
      image: busybox
      command: [sh, -c, "env | cut -d= -f1 | sort > /tmp/env; echo $(A) $$(A) $(date) >> /tmp/env"]
      env: [{name: A, value: x}, {name: B, value: "$(A)y"}]
""",
        tmp_path,
        environ={"PATH": os.environ["PATH"], "GIVEN": "1"},
    )
    lines = output(finished, "", "env").splitlines()
    assert {"A", "B", "GIVEN", "PATH", "ARGO_PROGRESS_FILE", "ARGO_NODE_ID"} <= set(lines)
    assert not {"HOME", "PYTEST_CURRENT_TEST"} & set(lines)
    assert lines[-1].startswith("x $(A)") or lines[-1].startswith("x ")


def test_kubernetes_expands_plain_values_and_nothing_from_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("$(A)$$")
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    outputs: {parameters: [{name: env, valueFrom: {path: /tmp/env}}]}
    container:
      image: busybox
      command: [sh, -c, 'printf "%s\\n" "$0" "$S" "$B" > /tmp/env', "$(S) $$(A)"]
      env:
      - {name: A, value: x}
      - {name: S, valueFrom: {secretKeyRef: {name: given, key: token}}}
      - {name: B, value: "$(S) $$ $(LATER)"}
      - {name: LATER, value: y}
""",
        tmp_path,
        secrets={"given": tmp_path / "token"},
    )
    assert output(finished, "", "env").splitlines() == [
        "$(A)$$ $(A)",
        "$(A)$$",
        "$(A)$$ $ $(LATER)",
    ]


def test_secrets_of_the_caller_do_not_reach_steps() -> None:
    environ = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "HF_TOKEN": "t", "LC_ALL": "C"}
    assert inherited_environment(environ) == {"PATH": "/bin", "LC_ALL": "C"}


def test_secrets_come_from_a_directory_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "token").write_text("s3cret")
    finished = run_spec(
        """
  entrypoint: main
  volumes: [{name: s, secret: {secretName: given}}]
  templates:
  - name: main
    outputs: {parameters: [{name: seen, valueFrom: {path: /tmp/seen}}]}
    container:
      image: busybox
      command: [sh, -c, "cat /s/token > /tmp/seen; stat -c %a /s/token >> /tmp/seen"]
      volumeMounts: [{name: s, mountPath: /s}]
""",
        tmp_path,
        secrets={"given": tmp_path / "secret"},
    )
    assert output(finished, "", "seen") == "s3cret600"
    assert "s3cret" not in [str(p) for p in (tmp_path / "run").rglob("*")]
    assert not list((tmp_path / "run" / "pods").rglob("token"))


def test_a_secret_in_memory_reaches_the_step_that_names_it_and_no_file(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - {name: named, template: named}
      - {name: other, template: other}
  - name: named
    outputs: {parameters: [{name: seen, valueFrom: {path: /tmp/seen}}]}
    container:
      image: busybox
      command: [sh, -c, 'printf %s "$TOKEN" | wc -c | tr -d " " > /tmp/seen']
      env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: given, key: token}}}]
  - name: other
    outputs: {parameters: [{name: seen, valueFrom: {path: /tmp/seen}}]}
    container: {image: busybox, command: [sh, -c, 'env | grep -c s3cret > /tmp/seen || true']}
""",
        tmp_path,
        secret_values={"given": {"token": "s3cret"}},
    )
    assert [output(finished, name, "seen") for name in (".named", ".other")] == ["6", "0"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"s3cret" in path.read_bytes().replace(b"c s3cret", b"")]


def test_claims_are_kept_between_runs(tmp_path: Path) -> None:
    spec = """
  entrypoint: main
  volumes: [{name: c, persistentVolumeClaim: {claimName: cache}}]
  templates:
  - name: main
    outputs: {parameters: [{name: count, valueFrom: {path: /c/n}}]}
    container:
      image: busybox
      command: [sh, -c, "echo x >> /c/log; wc -l < /c/log | tr -d ' ' > /c/n"]
      volumeMounts: [{name: c, mountPath: /c}]
"""
    first = run_spec(spec, tmp_path)
    second = run_spec(spec, tmp_path, run_dir=tmp_path / "run2")
    assert [output(w, "", "count") for w in (first, second)] == ["1", "2"]
    assert (tmp_path / "claims" / "cache" / "log").read_text() == "x\nx\n"


def test_directories_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    finished = run_spec(
        "  entrypoint: echo\n  arguments: {parameters: [{name: text, value: hi}]}\n  templates:"
        + ECHO,
        tmp_path,
        run_dir=Path("run"),
        claims_dir=Path("claims"),
        working_dir=Path("elsewhere"),
    )
    assert output(finished, "", "out") == "hi"


def test_a_host_path_in_an_output_is_said_as_the_container_would(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  volumes: [{name: w, emptyDir: {}}]
  templates:
  - name: main
    outputs: {parameters: [{name: p, valueFrom: {path: /work/p}}]}
    container:
      image: busybox
      command: [sh, -c, "echo --dir=/work/adapter > /work/p"]
      volumeMounts: [{name: w, mountPath: /work}]
""",
        tmp_path,
    )
    assert output(finished, "", "p") == "--dir=/work/adapter"


def test_a_message_names_the_paths_of_this_machine(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  volumes: [{name: w, persistentVolumeClaim: {claimName: data}}]
  templates:
  - name: main
    container:
      image: busybox
      command: [sh, -c, "echo /work/rows is empty > /dev/termination-log; exit 3"]
      volumeMounts: [{name: w, mountPath: /work}]
""",
        tmp_path,
    )
    said = f"{tmp_path}/claims/data/rows is empty"
    assert finished["status"]["message"] == f"main: Error (exit code 3): {said}"


def test_logs_hold_both_streams_and_the_listener_hears_lines(tmp_path: Path) -> None:
    recorder = Recorder()
    run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    container: {image: busybox, command: [sh, -c, "echo out; echo err >&2; sleep 0.1; printf last"]}
""",
        tmp_path,
        listener=recorder,
    )
    log = (tmp_path / "run" / "logs" / "wf.log").read_text()
    assert sorted(log.split()) == ["err", "last", "out"] == sorted(recorder.lines)
    assert [phase for name, phase in recorder.phases if name == "wf"] == [
        "Pending", "Running", "Succeeded",
    ]  # fmt: skip
    assert recorder.workflows[-1] == "Succeeded"


def test_progress_is_read_from_the_file_and_summed(tmp_path: Path) -> None:
    recorder = Recorder()
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: a, template: count, continueOn: {failed: true}}
      - {name: b, template: ok}
  - name: count
    container:
      image: busybox
      command: [sh, -c, "F=$ARGO_PROGRESS_FILE; printf 'x\\n7/5\\n' > $F; echo 30/100 > $F; exit 1"]
  - name: ok
    container: {image: busybox, command: ["true"]}
""",
        tmp_path,
        listener=recorder,
    )
    assert node(finished, "[0].a")["progress"] == "30/100"
    assert node(finished, "[0].b")["progress"] == "1/1"
    assert finished["status"]["progress"] == "31/101" == node(finished, "")["progress"]
    assert "7/5" not in recorder.progress


def test_a_listener_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    class Broken(Recorder):
        def on_node(self, node: JsonObject) -> None:
            raise RuntimeError("no terminal")

    finished = run_spec(
        "  entrypoint: m\n  templates: [{name: m, container: {image: b, command: ['true']}}]\n",
        tmp_path,
        listener=Broken(),
    )
    assert finished["status"]["phase"] == "Succeeded"


SLEEP = """
  entrypoint: main
  onExit: handler
  templates:
  - name: main
    dag:
      tasks:
      - {name: slow, template: slow}
      - {name: after, dependencies: [slow], template: ok}
  - name: slow
    container: {image: busybox, command: [sh, -c, "%s"]}
  - name: handler
    container: {image: busybox, command: [sh, -c, "echo {{workflow.status}} >> handled"]}
  - name: ok
    container: {image: busybox, command: ["true"]}
"""


def run_in_thread(
    spec: str, tmp_path: Path, **more: object
) -> tuple[threading.Thread, list[JsonObject]]:
    results: list[JsonObject] = []
    thread = threading.Thread(
        target=lambda: results.append(run_spec(spec, tmp_path, **more)), daemon=True
    )
    thread.start()
    return thread, results


def log_has(tmp_path: Path, text: str) -> bool:
    return any(text in log.read_text() for log in (tmp_path / "run" / "logs").glob("*.log"))


def test_a_stop_ends_children_and_still_runs_the_exit_handler(tmp_path: Path) -> None:
    spec = SLEEP % "trap 'echo terminated; exit 9' TERM; echo ready; sleep 60 & wait"
    thread, results = run_in_thread(spec, tmp_path)
    wait_until(lambda: log_has(tmp_path, "ready"))
    assert is_running(tmp_path / "run")
    request_stop(tmp_path / "run")
    thread.join(60)
    [finished] = results
    assert not is_running(tmp_path / "run")
    assert log_has(tmp_path, "terminated")
    assert finished["status"]["phase"] == "Failed"
    assert finished["status"]["message"] == "Stopped with strategy 'Stop'"
    slow = node(finished, ".slow")
    assert (slow["phase"], slow["message"]) == ("Failed", "workflow shutdown with strategy:  Stop")
    assert slow["outputs"]["exitCode"] == "9"
    assert (tmp_path / "handled").read_text() == "Failed\n"


def test_what_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    spec = SLEEP % "trap '' TERM; echo ready; sleep 60"
    thread, results = run_in_thread(spec, tmp_path, grace_seconds=0.3)
    wait_until(lambda: log_has(tmp_path, "ready"))
    request_stop(tmp_path / "run")
    thread.join(60)
    assert node(results[0], ".slow")["outputs"]["exitCode"] == "137"


def test_a_second_stop_kills_at_once_and_skips_the_exit_handler(tmp_path: Path) -> None:
    spec = SLEEP % "trap 'echo terminated' TERM; echo ready; while true; do sleep 0.1; done"
    recorder = Recorder()
    thread, results = run_in_thread(spec, tmp_path, listener=recorder)
    wait_until(lambda: log_has(tmp_path, "ready"))
    request_stop(tmp_path / "run")
    wait_until(lambda: log_has(tmp_path, "terminated"))
    assert recorder.shutdowns == ["Stop"]
    request_stop(tmp_path / "run")
    thread.join(60)
    assert results[0]["status"]["phase"] == "Failed"
    assert recorder.shutdowns == ["Stop", "Terminate"]
    assert not (tmp_path / "handled").exists()


def test_a_suspension_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    spec = """
  entrypoint: main
  templates:
  - name: main
    steps: [[{name: wait, template: wait}], [{name: go, template: ok}]]
  - {name: wait, suspend: {}}
  - {name: ok, container: {image: busybox, command: ["true"]}}
"""
    thread, results = run_in_thread(spec, tmp_path)
    record = tmp_path / "run" / "workflow.json"
    wait_until(lambda: record.exists() and '"Suspend"' in record.read_text())
    request_resume(tmp_path / "run")
    thread.join(60)
    assert results[0]["status"]["phase"] == "Succeeded"


def test_a_run_directory_is_run_once(tmp_path: Path) -> None:
    spec = "  entrypoint: m\n  templates: [{name: m, container: {image: b, command: ['true']}}]\n"
    run_spec(spec, tmp_path)
    with pytest.raises(
        EngineError, match="already holds a run: resume it, or choose another directory"
    ):
        run_spec(spec, tmp_path)


def test_two_engines_do_not_run_one_directory(tmp_path: Path) -> None:
    thread, _ = run_in_thread(SLEEP % "echo ready; sleep 60", tmp_path)
    wait_until(lambda: log_has(tmp_path, "ready"))
    with pytest.raises(EngineError, match="is in use: another process is running it"):
        run(documents("  entrypoint: m\n"), options(tmp_path))
    request_stop(tmp_path / "run")
    thread.join(60)


def test_a_process_that_left_its_session_outlives_the_step(tmp_path: Path) -> None:
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    outputs: {parameters: [{name: pid, valueFrom: {path: /tmp/pid}}]}
    script:
      image: python:3.11
      command: [python]
      source: |
        import subprocess
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        subprocess.Popen(["sleep", "61"])
        open("/tmp/pid", "w").write(str(child.pid))
""",
        tmp_path,
    )
    pid = int(output(finished, "", "pid"))
    os.kill(pid, 9)  # it is there, or this raises


def test_cron_workflows_and_templates_run_once_now(tmp_path: Path) -> None:
    cron = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": "nightly"},
        "spec": {
            "schedules": ["0 0 * * *"],
            "workflowMetadata": {"labels": {"team": "blue"}},
            "workflowSpec": {"workflowTemplateRef": {"name": "t"}},
        },
    }
    template = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": "t"},
        "spec": {
            "entrypoint": "m",
            "templates": [{"name": "m", "container": {"image": "b", "command": ["true"]}}],
        },
    }
    from_cron = run([cron, template], options(tmp_path))
    from_template = run([template], options(tmp_path, run_dir=tmp_path / "run2"))
    assert from_cron["metadata"]["name"].startswith("nightly-")
    assert from_cron["metadata"]["labels"]["team"] == "blue"
    assert from_template["metadata"]["name"].startswith("t-")
    assert {w["status"]["phase"] for w in (from_cron, from_template)} == {"Succeeded"}


def test_the_entrypoint_may_be_another_template(tmp_path: Path) -> None:
    spec = """
  entrypoint: bad
  templates:
  - {name: bad, container: {image: b, command: ["false"]}}
  - {name: good, container: {image: b, command: ["true"]}}
"""
    assert run_spec(spec, tmp_path, entrypoint="good")["status"]["phase"] == "Succeeded"


def test_no_pod_outlives_a_record_that_cannot_be_saved(tmp_path: Path) -> None:
    record, pid = tmp_path / "run" / "workflow.json", tmp_path / "pid"
    with pytest.raises(OSError, match=r"workflow\.json"):
        run_spec(
            f"""
  entrypoint: main
  templates:
  - name: main
    steps: [[{{name: spoil, template: spoil}}, {{name: quick, template: quick}}]]
  - name: spoil
    container:
      image: busybox
      command:
      - sh
      - -c
      - |
        echo $$$$ > {pid}
        until mkdir -p {record}/x; do rm -f {record}; done
        exec sleep 60
  - name: quick
    container:
      image: busybox
      command: [sh, -c, "until [ -d {record} ]; do sleep 0.01; done"]
""",
            tmp_path,
        )
    assert not Path(f"/proc/{int(pid.read_text())}").exists()


def test_a_hook_whose_argument_has_no_value_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    workflow = run_spec(
        """
  entrypoint: main
  hooks:
    exit:
      template: show
      arguments: {parameters: [{name: text, value: "{{=fromJSON(workflow.status)}}"}]}
  templates:
  - name: main
    container: {image: busybox, command: ["true"]}
  - name: show
    inputs: {parameters: [{name: text}]}
    container: {image: busybox, command: ["true"]}
""",
        tmp_path,
    )
    status = workflow["status"]
    assert status["phase"] == "Error"
    assert status["message"].startswith(
        "error in exit template execution : failed to evaluate 'fromJSON(workflow.status)': "
    )


def test_a_step_that_is_given_the_record_reads_all_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the disk is slow, and the record is seldom saved.
    monkeypatch.setattr(recording, "_CHEAP_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(recording, "_LEAST_SAVE_SECONDS", 60.0)
    seen = tmp_path / "seen.json"
    run_spec(
        f"""
  entrypoint: main
  templates:
  - name: main
    steps: [[{{name: first, template: first}}], [{{name: second, template: second}}]]
  - name: first
    container: {{image: busybox, command: [sh, -c, "echo hi > /tmp/out"]}}
    outputs: {{parameters: [{{name: out, valueFrom: {{path: /tmp/out}}}}]}}
  - name: second
    container: {{image: busybox, command: [cp, {tmp_path}/run/workflow.json, {seen}]}}
""",
        tmp_path,
    )
    assert output(json.loads(seen.read_text()), "[0].first", "out") == "hi"


def test_the_expression_of_a_hook_does_not_know_its_steps_outputs(tmp_path: Path) -> None:
    """Argo 4.0.2 ends the run with Error; only the hook's arguments may name them."""
    workflow = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    dag:
      tasks:
      - name: seven
        template: seven
        hooks: {exit: {template: ok, expression: 'tasks.seven.outputs.parameters.out == "7"'}}
  - name: seven
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/out}}]}
    container: {image: busybox, command: [sh, -c, echo 7 > /tmp/out]}
  - name: ok
    container: {image: busybox, command: ["true"]}
""",
        tmp_path,
    )
    assert workflow["status"]["phase"] == "Error"
    message = node(workflow, ".seven")["message"]
    assert message.startswith("wf.seven.onExit: failed to evaluate 'tasks.seven.outputs.")


def test_a_refused_run_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        run_spec("  entrypoint: none\n  templates: [{name: main, dag: {tasks: []}}]\n", tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_step_whose_log_has_no_room_names_it_and_does_not_run_on(tmp_path: Path) -> None:
    log = tmp_path / "run" / "logs" / "wf.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    script = f"echo $$$$ > {tmp_path}/pid; echo a line; exec sleep 60"
    spec = f"""
  entrypoint: main
  templates:
  - name: main
    container: {{image: busybox, command: [sh, -c, "{script}"]}}
"""
    finished = run_spec(spec, tmp_path)
    assert finished["status"]["phase"] == "Error"
    said = f"system error of {log}: No space left on device"
    assert finished["status"]["message"] == said
    assert process_started(int((tmp_path / "pid").read_text())) is None
