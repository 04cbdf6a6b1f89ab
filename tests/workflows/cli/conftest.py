"""The command, a directory to stand in, and workflows to run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.workflows.cli.remote.storage_class import DEFAULT
from argotune.workflows.workspace import manifests
from tests.fakes.apply import ApiServer
from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.api import api_server
from tests.workflows.cli.command import Argotune, Processes
from tests.workflows.cli.kubeconfig import use_kubeconfig

Write = Callable[[str, str], Path]
REGISTRY = "registry.example.org/argotune"
INSTALL = ("install", "--images-registry", REGISTRY, "--no-digests")
"""With the registry, which has to be named once, and without asking it for digests."""


@pytest.fixture
def argotune(capsys: pytest.CaptureFixture[str]) -> Argotune:
    return Argotune(capsys)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    """A cluster for the commands that install, with the namespace team-a."""
    with api_server(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def first_install() -> list[ApiServer]:
    """What `installed` copies, once there is one."""
    return []


@pytest.fixture
def installed(api: ApiServer, argotune: Argotune, first_install: list[ApiServer]) -> ApiServer:
    """The cluster after the first `argotune install`, which one test runs for all."""
    if not first_install:
        assert argotune(*INSTALL).code == 0
        first_install.append(copy.deepcopy(api))
    made = copy.deepcopy(first_install[0])
    api.objects, api.owners = made.objects, made.owners
    return api


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
