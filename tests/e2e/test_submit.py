"""argotune submit, status, logs, stop and chat on a real cluster, with steps that do nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from argotune.steps.nodes.ledger import ACCELERATOR
from tests.e2e.cluster import CALL_SECONDS, Cluster, wait_for
from tests.e2e.stand_in import BAD, ENDPOINT, IMAGE, LOST, held
from tests.workflows.cli.command import Answer

pytestmark = [pytest.mark.cluster, pytest.mark.smoke, pytest.mark.timeout(1500)]

GOOD, SLOW = "good-model", held("tune")
_PULL_SECONDS = 15
_COMMAND_SECONDS = 1200
_WORKSPACE = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: {name}
resource:
  labelSelector:
    matchLabels: {{app: {name}}}
tuning:
  preset: {{name: tiny}}
  method: qlora
  input:
    urls: ["https://example.com/data.parquet?sig=hunter2"]
  output:
    image: registry.example.com/{name}:1
    imagePushSecret: my-secret
"""
# A server with the answers of ours, from the standard library.
_SERVER = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self): self.reply({"status": "ok"})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = f"You asked: {asked['messages'][-1]['content']}"
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
        self.send_response(200)
        self.end_headers()
        for data in (json.dumps({"choices": [choice]}), "[DONE]"):
            self.wfile.write(f"data: {data}\\n\\n".encode())
    def reply(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer(("", 8080), Handler).serve_forever()
"""


Argotune = Callable[..., Answer]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Runs that go on at the same time."""

    argotune: Argotune
    submitted: dict[str, Future[Answer]]
    """Workspace -> its `submit`, with --watch but for the slow one."""


@pytest.fixture(scope="module")
def scene(
    cluster: Cluster, stand_ins: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("workspaces")

    def argotune(*arguments: str) -> Answer:
        done = subprocess.run(
            _command(cluster, *arguments),
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    def submit(name: str) -> Answer:
        file = directory / f"{name}.yaml"
        file.write_text(_WORKSPACE.format(name=name))
        watch = [] if name == SLOW else ["--watch", f"--pull-timeout-seconds={_PULL_SECONDS}"]
        return argotune("submit", str(file), "--volume-size", "7Mi", *watch)

    with ThreadPoolExecutor() as pool:
        submitted = {name: pool.submit(submit, name) for name in (GOOD, BAD, LOST, SLOW)}
        yield Scene(argotune=argotune, submitted=submitted)


def _submitted(answer: Answer) -> str:
    """The name of the run that a command submitted."""
    found = re.match(r"workflow\.argoproj\.io/(\S+) created in namespace", answer.out)
    assert found, answer.out + answer.err
    return found[1]


def _command(cluster: Cluster, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "argotune.workflows.cli", *arguments, "-n", cluster.namespace]


def test_a_watched_run_ends_well(cluster: Cluster, scene: Scene) -> None:
    answer = scene.submitted[GOOD].result()
    assert answer.code == 0, answer.out + answer.err
    assert f"{_submitted(answer)}: Succeeded" in answer.out
    assert f"endpoint:    {ENDPOINT}" in answer.out
    assert re.search(r"^release +succeeded", answer.out, re.MULTILINE), answer.out
    workflow = cluster.read("argoproj.io/v1alpha1", "workflows", _submitted(answer))
    assert workflow is not None
    claim = workflow["status"]["storedWorkflowTemplateSpec"]["volumeClaimTemplates"][0]
    assert claim["spec"]["resources"]["requests"]["storage"] == "7Mi"
    assert "hunter2" not in json.dumps(workflow)


def test_the_secret_of_the_urls_goes_with_the_run(cluster: Cluster, scene: Scene) -> None:
    run = _submitted(scene.submitted[BAD].result())
    assert cluster.read("v1", "secrets", f"{run}-urls") is not None
    other = scene.argotune("status", BAD, "-o", "json")
    assert json.loads(other.out)["metadata"]["name"] == run
    run_good = _submitted(scene.submitted[GOOD].result())
    cluster.kubectl("delete", "workflow", run_good)
    wait_for(
        "end of the secret",
        lambda: cluster.read("v1", "secrets", f"{run_good}-urls") is None,
        seconds=CALL_SECONDS,
    )


def test_a_failed_run_shows_why(scene: Scene) -> None:
    answer = scene.submitted[BAD].result()
    assert answer.code == 1, answer.out + answer.err
    failed = re.search(r"^tune +failed .*RuntimeError: no luck$", answer.out, re.MULTILINE)
    assert failed, answer.out
    assert f"go on with it: argo retry {_submitted(answer)} " in answer.out
    status = scene.argotune("status", BAD)
    assert "the end of the log of tune(0):\n  step 7\n  RuntimeError: no luck\n" in status.out
    logs = scene.argotune("logs", BAD, "tune")
    assert logs.out == f"tune(0): tune of {BAD} begins\ntune(0): RuntimeError: no luck\n", logs.err


def test_of_pods_that_are_gone_the_end_of_the_log_is_left(cluster: Cluster, scene: Scene) -> None:
    run = _submitted(scene.submitted[BAD].result())
    cluster.kubectl("delete", "pods", "-l", f"workflows.argoproj.io/workflow={run}")
    logs = scene.argotune("logs", BAD, "tune")
    assert logs.out == "tune(0): step 7\ntune(0): RuntimeError: no luck\n"
    assert f"on the run's volume {run}-work, in logs/" in logs.err


def test_a_run_whose_image_is_not_there_is_stopped(scene: Scene) -> None:
    answer = scene.submitted[LOST].result()
    assert answer.code == 1, answer.out + answer.err
    assert re.search(r"plan: image \S+:not-there cannot be pulled: .*not found", answer.err)
    assert "the run is being stopped (spec.shutdown: Stop)" in answer.out
    assert re.search(r"^release +succeeded", answer.out, re.MULTILINE), answer.out


def test_looking_on_ends_with_ctrl_c_and_the_run_with_stop(cluster: Cluster, scene: Scene) -> None:
    run = _submitted(scene.submitted[SLOW].result())
    with _reading(cluster, "status", SLOW, "--watch") as (watching, lines):
        assert any(re.match(r"tune +running", line) for line in lines)
        watching.send_signal(signal.SIGINT)
        assert f"run {run} goes on\n" in lines
        assert watching.wait(timeout=CALL_SECONDS) == 130
    with _reading(cluster, "logs", SLOW, "--follow") as (following, lines):
        assert f"tune(0): tune of {SLOW} begins\n" in lines
        stopped = scene.argotune("stop", SLOW)
        assert stopped.code == 0, stopped.err
        assert f"run {run}: release: Succeeded: nothing" in stopped.out
        assert f"release(0): release of {SLOW} is done\n" in lines
        assert following.wait(timeout=CALL_SECONDS) == 0
    assert scene.argotune("stop", SLOW).code == 2


@contextmanager
def _reading(
    cluster: Cluster, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """A command that goes on, and its lines as they come."""
    command = _command(cluster, *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, iter(process.stdout.readline, "")
        finally:
            process.kill()


def test_the_table_has_every_workspace(cluster: Cluster, scene: Scene) -> None:
    for future in scene.submitted.values():
        future.result()
    _write_accelerator(cluster, _submitted(scene.submitted[BAD].result()))
    # Another test's schedule stands in a table of its own below.
    table, *_ = scene.argotune("status").out.split("\n\n")
    head, *rows = table.splitlines()
    assert head.split() == [
        "NAME",
        "INSTANCE",
        "RESOURCEREADY",
        "INFERENCEREADY",
        "WORKSPACEREADY",
        "AGE",
        "PHASE",
    ]
    found = {
        row.split()[0]: [word for word in row.split() if word in ("True", "False")] for row in rows
    }
    assert found[BAD] == ["True", "False", "False"]
    assert found[LOST] == ["False", "False", "False"]


def _write_accelerator(cluster: Cluster, name: str) -> None:
    """Write down the run's node as provision does, for which a stand-in has no right."""
    (run,) = [item for item in cluster.workflows() if item["metadata"]["name"] == name]
    text = json.dumps({"run": run["metadata"]["uid"], "accelerator": "NVIDIA A10"})
    cluster.kubectl("annotate", "workflow", name, f"{ACCELERATOR}={text}")


def test_a_service_is_asked_and_removed(cluster: Cluster, scene: Scene) -> None:
    name = "served-model"
    cluster.kubectl("apply", "-f", "-", text=json.dumps(_service(name)))
    cluster.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={CALL_SECONDS - 10}s")
    assert scene.argotune("chat", name, "Who are you?") == Answer(
        code=0, out="You asked: Who are you?\n", err=""
    )
    status = scene.argotune("status", name)
    assert f"service: http://{name}.{cluster.namespace}.svc, 1 of 1 ready" in status.out
    stopped = scene.argotune("stop", name, "--service")
    assert stopped.code == 0, stopped.err
    assert cluster.read("apps/v1", "deployments", name) is None


def _service(name: str) -> dict[str, object]:
    """A Deployment with the labels that deploy gives."""
    labels = {
        "app.kubernetes.io/part-of": "argotune",
        "app.kubernetes.io/component": "inference",
        "argotune.dev/service": name,
    }
    container = {
        "name": "serve",
        "image": IMAGE,
        "command": ["python3", "-c", _SERVER],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"argotune.dev/service": name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "securityContext": security},
            },
        },
    }
