import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.record import is_running, load_record
from argotune.workflows.engine.run import resume
from tests.workflows.engine.killing import kill_with_watchdog
from tests.workflows.engine.running import HEAD, node, options, output, run_spec

COUNTED = """
  entrypoint: main
  volumeClaimTemplates: [{metadata: {name: work}}]
  templates:
  - name: main
    outputs: {parameters: [{name: all, valueFrom: {parameter: "{{tasks.third.outputs.parameters.seen}}"}}]}
    dag:
      tasks:
      - {name: first, template: note, arguments: {parameters: [{name: text, value: first}]}}
      - {name: loop, template: note, dependencies: [first], withItems: [p, q], arguments: {parameters: [{name: text, value: "{{item}}"}]}}
      - {name: second, template: fragile, dependencies: [loop]}
      - {name: never, template: note, dependencies: [first], when: "1 == 2", arguments: {parameters: [{name: text, value: never}]}}
      - {name: third, template: note, dependencies: [second, never], arguments: {parameters: [{name: text, value: third}]}}
  - name: note
    inputs: {parameters: [{name: text}]}
    outputs: {parameters: [{name: seen, valueFrom: {path: /work/seen}}]}
    container:
      image: busybox
      command: [sh, -c, "echo {{inputs.parameters.text}} >> /work/log; sort /work/log | tr '\\n' ' ' > /work/seen"]
      volumeMounts: [{name: work, mountPath: /work}]
  - name: fragile
    container:
      image: busybox
      command: [sh, -c, "echo second >> /work/log; %s"]
      volumeMounts: [{name: work, mountPath: /work}]
"""  # noqa: E501


def test_what_succeeded_stays_and_the_rest_runs_again(tmp_path: Path) -> None:
    failed = run_spec(COUNTED % "test -e mended", tmp_path)
    assert failed["status"]["phase"] == "Failed"
    assert node(failed, ".third")["phase"] == "Omitted"
    (tmp_path / "mended").touch()
    finished = resume(options(tmp_path))
    assert finished["status"]["phase"] == "Succeeded"
    assert finished["metadata"]["uid"] == failed["metadata"]["uid"]
    assert output(finished, "", "all") == "first p q second second third "
    kept = node(failed, ".loop(0:p)")
    assert node(finished, ".loop(0:p)")["outputs"] == kept["outputs"]
    assert resume(options(tmp_path)) == finished


def test_a_retry_node_begins_again(tmp_path: Path) -> None:
    spec = """
  entrypoint: main
  retryStrategy: {limit: 1}
  templates: [{name: main, container: {image: b, command: [sh, -c, "test -e mended"]}}]
"""
    assert len(run_spec(spec, tmp_path)["status"]["nodes"]) == 3
    (tmp_path / "mended").touch()
    finished = resume(options(tmp_path))
    assert [n["phase"] for n in finished["status"]["nodes"].values()] == ["Succeeded"] * 2


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"holds no run: workflow\.json is missing"):
        resume(options(tmp_path))


ENGINE = """
import sys
from pathlib import Path
from tests.workflows.engine.running import options
from argotune.workflows.engine.state.load import parse_documents
from argotune.workflows.engine.run import run
run(parse_documents(Path(sys.argv[1]).read_text(), "x"), options(Path(sys.argv[2])))
"""


def start_engine(spec: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    (tmp_path / "wf.yaml").write_text(HEAD + spec)
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(tmp_path / "wf.yaml"), str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.01)
    return file.read_text()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def test_a_killed_engine_leaves_nothing_running_once_resumed(tmp_path: Path) -> None:
    fragile = "test -e mended && exit 0; echo $$$$ > pid; sleep 60 & sleep 61"
    engine = start_engine(COUNTED % fragile, tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    kill_with_watchdog(engine)
    assert is_alive(pid)
    assert not is_running(tmp_path / "run")
    before = load_record(tmp_path / "run")
    assert before["status"]["phase"] == "Running"
    (tmp_path / "mended").touch()
    finished = resume(options(tmp_path, grace_seconds=1.0))
    assert not is_alive(pid)
    assert finished["status"]["phase"] == "Succeeded"
    assert output(finished, "", "all") == "first p q second second third "
    assert finished["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_process_is_found_though_the_engine_could_not_note_it(tmp_path: Path) -> None:
    fragile = "test -e mended && exit 0; echo $$$$ > pid; sleep 60"
    engine = start_engine(COUNTED % fragile, tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    kill_with_watchdog(engine)
    for noted in (tmp_path / "run" / "pods").glob("*/pid"):
        noted.unlink()
    (tmp_path / "mended").touch()
    resume(options(tmp_path, grace_seconds=1.0))
    assert not is_alive(pid)


def test_a_process_with_a_reused_number_is_left_alone(tmp_path: Path) -> None:
    run_spec(COUNTED % "test -e mended", tmp_path)
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    pod = tmp_path / "run" / "pods" / "wf-1"
    pod.mkdir(parents=True)
    (pod / "pid").write_text(f"{other.pid} another-boot/12345\n")
    (tmp_path / "mended").touch()
    resume(options(tmp_path))
    assert other.poll() is None
    other.kill()
    other.wait()


def test_ctrl_c_ends_the_run_and_it_can_be_resumed(tmp_path: Path) -> None:
    fragile = "test -e mended && exit 0; echo $$$$ > pid; sleep 60"
    engine = start_engine(COUNTED % fragile, tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    engine.send_signal(signal.SIGINT)
    assert engine.wait(15) == 0
    assert not is_alive(pid)
    stopped = json.loads((tmp_path / "run" / "workflow.json").read_text())
    assert stopped["status"]["message"] == "Stopped with strategy 'Stop'"
    (tmp_path / "mended").touch()
    assert resume(options(tmp_path))["status"]["phase"] == "Succeeded"
