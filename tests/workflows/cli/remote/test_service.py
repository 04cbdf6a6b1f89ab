"""argotune chat with a service of a cluster: a port-forward to a server that has no model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.kube import Cluster, Fault, Object
from tests.fakes.serve import BASE
from tests.workflows.cli.cluster_workflows import NAME, run_of, service_of
from tests.workflows.cli.command import Argotune, environment, wait_until

CHAT = ("chat", "-n", "team-a", "my-model")
POD = "my-model-6d4cf56db6-abcde"
Serve = Callable[..., None]


def pod(name: str = POD, ready: str = "True", **metadata: str) -> Object:
    """A pod of the service, as the Deployment makes it."""
    ports = [{"name": "metrics", "containerPort": 9000}, {"name": "http", "containerPort": 8080}]
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "labels": {"argotune.dev/service": "my-model"},
            **metadata,
        },
        "spec": {"containers": [{"name": "serve", "ports": ports}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.fixture
def serve(tmp_path: Path, cluster: Cluster) -> Iterator[Serve]:
    """Start a server that stands for the pod's."""
    processes = []

    def start(mode: str = "well") -> None:
        (tmp_path / "adapter").mkdir()
        port_file = tmp_path / "port"
        command = [sys.executable, "-m", "tests.fakes.serve", f"--mode={mode}", "--name=my-model"]
        command += ["--host=127.0.0.1", "--port=0", f"--port-file={port_file}"]
        command += ["--model-dir=MODEL", f"--adapter-dir={tmp_path / 'adapter'}"]
        processes.append(
            subprocess.Popen(
                command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        wait_until(port_file.exists)
        cluster.ports[POD] = int(port_file.read_text())
        cluster.put(service_of("my-model"))
        cluster.put(pod("my-model-old", deletionTimestamp="2026-01-01T00:00:00Z"))
        cluster.put(pod("my-model-new", ready="False"))
        cluster.put(pod())

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_question_goes_to_a_pod_that_is_ready(
    argotune: Argotune, cluster: Cluster, serve: Serve
) -> None:
    serve()
    answer = argotune(*CHAT, "Who are you?")
    assert (answer.code, answer.out, answer.err) == (0, "Who are you?  MODEL\n", "")
    asked = f"GET /api/v1/namespaces/team-a/pods/{POD}/portforward?ports=8080"
    assert cluster.requests[-1] == asked


def test_a_long_question_and_its_answer_pass_whole(argotune: Argotune, serve: Serve) -> None:
    serve()
    question = "why? " * 20_000
    assert argotune(*CHAT, question).out == f"{question}  MODEL\n"


def test_base_is_asked_by_the_name_that_the_service_says(argotune: Argotune, serve: Serve) -> None:
    serve()
    assert argotune(*CHAT, "Who are you?", "--base").out == f"Who are you? asked of {BASE}\n"


def test_a_piped_document_is_one_question(
    argotune: Argotune, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve()
    (tmp_path / "questions").write_text("One?\nTwo?\n")
    with (tmp_path / "questions").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert argotune(*CHAT).out == "One?\nTwo?\n  MODEL\n"


def test_the_servers_refusal_is_told_in_its_words(argotune: Argotune, serve: Serve) -> None:
    serve("broken")
    answer = argotune(*CHAT, "Who are you?")
    assert answer.code == 3
    assert answer.errors == [
        "http://my-model.team-a.svc/v1/chat/completions: HTTP 500: out of memory"
    ]


def test_a_port_forward_that_is_not_permitted(
    argotune: Argotune, cluster: Cluster, serve: Serve
) -> None:
    serve()
    message = "cannot create resource pods/portforward"
    cluster.faults.append(Fault("GET", "/portforward", 403, message=message))
    answer = argotune(*CHAT, "Who are you?")
    assert answer.code == 3
    assert answer.errors == [
        f"port 8080 of pod {POD}: the cluster answers 403: {message}; ask for that right; the Role"
        " argotune-user of `argotune install` has what is needed"
    ]


def test_a_server_that_does_not_answer(argotune: Argotune, cluster: Cluster, serve: Serve) -> None:
    serve()
    cluster.ports[POD] = 9  # discard: nothing listens there
    answer = argotune(*CHAT, "Who are you?")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert answer.errors[0].endswith(f"; see kubectl logs {POD} -n team-a")


def test_a_service_that_is_not_there_or_not_ready(argotune: Argotune, cluster: Cluster) -> None:
    answer = argotune(*CHAT, "Who are you?")
    assert answer.code == 2
    assert answer.errors == [
        "'my-model': no service of this name in namespace team-a; there is none"
    ]
    cluster.put(service_of("other"))
    assert argotune(*CHAT, "Who are you?").errors == [
        "'my-model': no service of this name in namespace team-a; there are other"
    ]
    cluster.put(service_of("my-model", ready=0))
    cluster.put(pod(ready="False"))
    assert argotune(*CHAT, "Who are you?").errors == [
        "'my-model': no server of this service is ready in namespace team-a; look with"
        " `kubectl get pods -l argotune.dev/service=my-model -n team-a`"
    ]


def test_a_run_is_no_service(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(run_of())
    answer = argotune("chat", NAME, "Who are you?", "-n", "team-a")
    assert answer.code == 2
    assert answer.errors == [
        f"{NAME!r}: is a run in namespace team-a; a service has its workspace's name:"
        " argotune chat my-model -n team-a"
    ]
