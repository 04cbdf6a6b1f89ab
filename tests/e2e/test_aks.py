"""Provider aks with real nodes, in what the whole runs of test_clouds.py do not show: the real
steps and the real Azure SDK, an API server, and a fake Azure that brings the nodes.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from steps.common.nodes.aks.pool import pool_name
from tests.e2e import nodes
from tests.e2e.cluster import run
from tests.fakes.arm import Cloud, Creation, serving
from tests.fakes.arm.machines import Machines
from tests.fakes.tls import self_signed, server_context

pytestmark = [pytest.mark.cluster, pytest.mark.shard4, pytest.mark.timeout(900)]

_SECONDS = 300
_SKU = "Standard_NC24ads_A100_v4"
_CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)


@dataclass
class Azure:
    """The fake cloud, and the steps that talk to it."""

    cloud: Cloud
    run: str
    environment: Mapping[str, str]
    directory: Path

    @property
    def node(self) -> str:
        return f"aks-{pool_name(self.run)}-vmss000000"

    def start(self, step: str, *flags: str) -> subprocess.Popen[str]:
        """A step as a process."""
        command = [sys.executable, "-m", f"steps.{step}", "--provider=aks", f"--run={self.run}"]
        command += [f"--aks-cluster-id={_CLUSTER_ID}", f"--outputs-dir={self.directory}", *flags]
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def provision(self, *flags: str) -> subprocess.Popen[str]:
        asked = ("--gpus=1", "--disk-gib=128", f"--instance-type={_SKU}", "--namespace=team")
        return self.start("provision", *asked, *flags)

    def release(self) -> str:
        """What release says that it gave back."""
        assert finished(self.start("release")) == 0
        return self.output("released")

    def output(self, name: str) -> str:
        return (self.directory / name).read_text()

    def gpu_nodes(self) -> list[str]:
        label = f"argotune.dev/run={self.run}"
        found = run("kubectl", "get", "nodes", "--selector", label, "--output", "json")
        return [item["metadata"]["name"] for item in json.loads(found)["items"]]


@pytest.fixture
def azure(tmp_path: Path, api: httpx.Client) -> Iterator[Azure]:
    """A cloud without pools; what it brought goes at the end."""
    with cloud_with_nodes(tmp_path) as found:
        yield found


@contextmanager
def cloud_with_nodes(directory: Path) -> Iterator[Azure]:
    machines = Machines(nodes.commands())
    cloud = Cloud(
        on_up=machines.bring,
        on_down=machines.take_away,
        creation=Creation(seconds=5.0),
        delete_seconds=5.0,
    )
    certificate, key = self_signed(directory, ["127.0.0.1"])
    token_file = directory / "token"
    token_file.write_text("projected token")
    with serving(cloud, server_context(certificate, key)) as url:
        environment = {
            "ARGOTUNE_ARM_ENDPOINT": url,
            "AZURE_AUTHORITY_HOST": url,
            "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
            "AZURE_CLIENT_ID": "66666666-7777-8888-9999-000000000000",
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "REQUESTS_CA_BUNDLE": str(certificate),
        }
        try:
            yield Azure(cloud, secrets.token_hex(8), environment, directory)
        finally:
            with cloud.lock:
                cloud.take_down()


def finished(step: subprocess.Popen[str]) -> int:
    """The exit code; what the step said goes to the test's output."""
    _, said = step.communicate(timeout=_SECONDS)
    print(said)
    return step.returncode


def wait_for(step: subprocess.Popen[str], event: str) -> None:
    """Read the step's log until the event."""
    assert step.stderr is not None
    for line in step.stderr:
        print(line, end="")
        if event in line:
            return
    pytest.fail(f"the step ended without {event!r}")


def test_a_lost_pod_goes_on_with_the_pool_that_it_asked_for(azure: Azure) -> None:
    step = azure.provision()
    wait_for(step, "is Creating")
    step.kill()
    finished(step)
    assert finished(azure.provision()) == 0
    assert len(azure.cloud.asked("PUT")) == 1
    assert azure.release() != "nothing"
    assert azure.gpu_nodes() == []
