"""The operator as a process of this machine that can be killed, before a namespace in which runs
need no pods."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from argotune.workflows.cli.installation.objects import MANAGED_BY, MANAGER
from argotune.workflows.workspace.manifests import read_rendered, template
from tests.e2e.cluster import Cluster, Object, run, wait_for
from tests.e2e.conftest import namespace_of_its_own

API = "kaito.sh/v1beta1"
WORKSPACES = "workspaces.kaito.sh"
"""Name of the definition, and of the kind for kubectl: other groups may have workspaces too."""
STEPS = ("plan", "dataset", "model", "tune", "push", "deploy")
"""Steps of a run without pods, by the names of the real ones."""
_START_SECONDS = 120
_WORKSPACE: Object = {
    "apiVersion": API,
    "kind": "Workspace",
    "resource": {"labelSelector": {"matchLabels": {"apps": "nowhere"}}},
    "tuning": {"preset": {"name": "tiny"}, "method": "qlora"},
}


def workspace(
    name: str, *, url: str = "https://example.com/1.parquet", **annotations: str
) -> Object:
    """A Workspace that is planned well; an annotation's name is in snake_case."""
    given = {f"argotune.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
    tuning = {
        **_WORKSPACE["tuning"],
        "input": {"urls": [url]},
        "output": {"image": f"registry.example.com/{name}:1", "imagePushSecret": "my-secret"},
    }
    metadata = {"name": name, "annotations": given}
    return {**_WORKSPACE, "metadata": metadata, "tuning": tuning}


def runs_without_pods(*, seconds: int | None) -> Object:
    """WorkflowTemplate `finetune` whose steps wait: so long each, or the first one for ever."""
    document = template({"allowed-secrets": '["my-secret"]'}, volume_size="10Mi")
    waiting = {} if seconds is None else {"duration": str(seconds)}
    spec = document["spec"]
    spec.pop("onExit")
    spec["volumes"] = []
    spec["templates"] = [
        {"name": "finetune", "steps": [[{"name": step, "template": "wait"}] for step in STEPS]},
        {"name": "wait", "suspend": waiting},
    ]
    return document


def define_workspaces() -> None:
    """Have the kind Workspace: as `argotune install --operator` defines it, unless it is there."""
    there = subprocess.run(
        ["kubectl", "get", "crd", WORKSPACES], capture_output=True, timeout=60, check=False
    )
    if there.returncode != 0:
        (document,) = read_rendered("workspace-crd")
        metadata = document["metadata"]
        # By the label and the field manager an installation knows it as its own.
        labels = {**metadata["labels"], MANAGED_BY: MANAGER}
        text = json.dumps({**document, "metadata": {**metadata, "labels": labels}})
        run("kubectl", "apply", "--server-side", f"--field-manager={MANAGER}", "-f", "-", text=text)
    established()


def established() -> None:
    """Wait until the API server serves the kind."""
    run("kubectl", "wait", "--for=condition=Established", "--timeout=60s", f"crd/{WORKSPACES}")


@contextmanager
def place_for_runs(api: httpx.Client, *, seconds: int | None) -> Iterator[Cluster]:
    """A namespace whose runs need no pods, with the kind Workspace; `seconds` are those of
    `runs_without_pods`."""
    define_workspaces()
    with namespace_of_its_own(api) as cluster:
        cluster.kubectl("apply", "-f", "-", text=json.dumps(runs_without_pods(seconds=seconds)))
        cluster.kubectl("create", "secret", "generic", "my-secret")
        yield cluster


class OperatorProcess:
    """The operator of one namespace, whose process may be killed and started again."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self._cluster = cluster
        self._log = log
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "argotune.workflows.operator",
            f"--namespace={self._cluster.namespace}",
            f"--port={self._port}",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)

    def kill(self, *, after_seconds: float = 0.0) -> None:
        """End it as a machine that loses its power does."""
        try:
            self.process.wait(after_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as Kubernetes does; returns its exit code."""
        self.process.terminate()
        return self.process.wait(_START_SECONDS)

    def leads(self) -> bool:
        return self.metrics().get("argotune_operator_leader") == 1.0

    def metrics(self) -> Mapping[str, float]:
        """The figures without labels; none while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", trust_env=False).text
        except httpx.TransportError:
            return {}
        rows = (line.split() for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in rows}

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def operating(cluster: Cluster, directory: Path) -> Iterator[OperatorProcess]:
    """An operator that leads until the block ends."""
    operator = OperatorProcess(cluster, directory / "operator.log")
    operator.start()
    try:
        wait_for("leader", operator.leads, seconds=_START_SECONDS, explain=lambda: operator.log)
        yield operator
    finally:
        operator.kill()


def apply(cluster: Cluster, *manifests: Object) -> None:
    """Do what users do."""
    items: Any = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    cluster.kubectl("apply", "-f", "-", text=json.dumps(items))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
