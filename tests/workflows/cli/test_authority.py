"""Commands before a registry of a private certificate authority, which is the installation's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from argotune.steps.contracts.in_service import InService
from argotune.steps.push.params import Result
from tests.fakes.kube import Cluster
from tests.fakes.registry import docker_config, serving
from tests.fakes.signing import new_keys
from tests.fakes.tls import self_signed, server_context
from tests.steps.push.test_run import push
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.commands.test_rollback import put_service
from tests.workflows.cli.remote.test_report import put_run, write_volume

pytestmark = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)

ADVICE = (
    "; name the file of its certificate authority by --ca-file; `argotune install -n NAMESPACE"
    " --ca-file FILE` does so for the runs of a namespace, and for commands with that namespace"
)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return self_signed(tmp_path, ["127.0.0.1"])[0]


@pytest.fixture
def pushed(
    tmp_path: Path, authority: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Result]:
    """What push says of the run on the cluster, whose service phi has its adapter."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serving(login=True, tls=server_context(authority, tmp_path / "tls.key")) as registry:
        (tmp_path / "config.json").write_text(docker_config(registry.host))
        result = push(write_volume(tmp_path / "work"), registry, ca_file=authority)
        put_run(cluster, result.report)
        put_service(cluster, InService(adapter=result.reference, version="v1"))
        yield result


def put_authority(cluster: Cluster, authority: Path) -> None:
    cluster.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "argotune-ca", "namespace": "team-a"},
            "data": {"ca.crt": authority.read_text()},
        }
    )


def test_every_command_trusts_the_authority_of_the_installation(
    argotune: Argotune, cluster: Cluster, authority: Path, pushed: Result, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = self_signed(tmp_path / "other", ["127.0.0.1"])
    key = tmp_path / "cosign.pub"
    key.write_bytes(new_keys().public_pem)

    def answers() -> list[Answer]:
        commands = [
            ("report", "my-model"),
            ("data", "my-model"),
            ("logs", "my-model"),
            ("versions", "phi"),
            ("compare", pushed.reference, pushed.reference),
            ("verify", pushed.reference, "--key", key),
        ]
        return [argotune(*command, "-n", "team-a") for command in commands]

    put_authority(cluster, other)
    for answer in answers():
        assert "x509: " in answer.err
        assert answer.err.endswith(f"{ADVICE}\n")
    named = argotune("versions", "phi", "-n", "team-a", "--ca-file", authority)
    assert named.code == 0
    put_authority(cluster, authority)
    *found, verified = answers()
    assert [answer.code for answer in found] == [0] * 5
    assert "signature: there is none: no tag" in verified.err


def test_without_a_cluster_there_is_no_registry_to_reach(argotune: Argotune) -> None:
    for command in ("logs", "data"):
        answer = argotune(command, "my-model", "--auth-file", "a")
        assert (answer.code, "--auth-file" in answer.err) == (2, True)
