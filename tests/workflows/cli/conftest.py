"""The command, a directory to stand in, and workflows to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.workflows.cli.remote.storage_class import DEFAULT
from argotune.workflows.workspace import manifests
from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.command import Argotune, Processes
from tests.workflows.cli.kubeconfig import use_kubeconfig

Write = Callable[[str, str], Path]


@pytest.fixture
def argotune(capsys: pytest.CaptureFixture[str]) -> Argotune:
    return Argotune(capsys)


@pytest.fixture
def start() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.end()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for the kubeconfig, with argotune's template in namespace team-a."""
    cluster = Cluster()
    install(cluster, "team-a")
    cluster.put(storage_class("standard", default=True))
    with serving(cluster):
        use_kubeconfig(monkeypatch, tmp_path, cluster.url)
        yield cluster


def storage_class(name: str, *, default: bool) -> dict[str, Any]:
    """A class of the whole cluster, which is no namespace's."""
    annotations = {DEFAULT: "true"} if default else {}
    return {
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "namespace": "",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": annotations,
        },
    }


def install(cluster: Cluster, namespace: str, allowed_hosts: str = "[]") -> None:
    """Put the WorkflowTemplate into a namespace, where runs may use the Secret `my-secret`."""
    allowed = {"allowed-secrets": '["my-secret", "argotune-model-access"]'}
    template = manifests.template({**allowed, "allowed-hosts": allowed_hosts})
    cluster.put({**template, "metadata": {**template["metadata"], "namespace": namespace}})


@pytest.fixture
def home_dir(tmp_path: Path) -> Path:
    """$ARGOTUNE_HOME of this test."""
    return tmp_path / "argotune-home"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, and get its path."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file
