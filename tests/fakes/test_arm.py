from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.fakes.arm.state import Cloud

SUBSCRIPTION = "26fe00f8-9173-4872-9134-bb1d2e00343a"
POOL = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/team/providers/Microsoft.ContainerService/"
    "managedClusters/prod/agentPools/gpu1?api-version=2026-08-01"
)
BODY = {
    "properties": {
        "vmSize": "Standard_X",
        "count": 1,
        "osDiskSizeGB": 64,
        "nodeLabels": {"a": "b"},
        "nodeTaints": ["sku=gpu:NoSchedule"],
    }
}


def test_nodes_come_and_go_with_pools_and_all_go_at_the_end(tmp_path: Path) -> None:
    node = tmp_path / "aks-gpu1-vmss000000"
    said = "labels {labels} taints {taints} resources {resources}"
    script = "import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))"
    environment = {
        **os.environ,
        "FAKE_NODE_UP_COMMAND": f'{sys.executable} -c "{script}" {tmp_path}/{{name}} {said}',
        "FAKE_NODE_DOWN_COMMAND": f"rm {tmp_path}/{{name}}",
    }
    command = [sys.executable, "-m", "tests.fakes.arm", f"--directory={tmp_path}"]
    command += ["--create-seconds=0", "--delete-seconds=0"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        trusted = ssl.create_default_context(cafile=tmp_path / "tls.crt")
        with httpx.Client(base_url=url, verify=trusted, timeout=30) as client:
            token = client.post("/tenant/oauth2/v2.0/token").json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            assert client.put(POOL, json=BODY).json()["properties"]["provisioningState"] == (
                "Creating"
            )
            assert client.get(POOL).json()["properties"]["provisioningState"] == "Succeeded"
            assert node.read_text() == (
                "labels --label agentpool=gpu1"
                " --label node.kubernetes.io/instance-type=Standard_X --label a=b"
                " taints --taint sku=gpu:NoSchedule resources --resource nvidia.com/gpu=1"
            )
            assert client.delete(POOL).status_code == 202
            assert client.get(POOL).status_code == 404
            assert not node.exists()
            client.put(POOL, json=BODY)
            client.get(POOL)
            assert node.exists()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
        assert not node.exists()
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vmSize": ""}, "vmSize must be given"),
        ({"tags": {"argotune.dev/run": "x"}}, "tag name argotune.dev/run is not valid"),
    ],
)
def test_what_azure_would_refuse_is_refused(changes: dict[str, object], said: str) -> None:
    body = {"properties": {**BODY["properties"], **changes}}
    answer = Cloud().put("/subscriptions/s/providers/x", "gpu1", body, only_new=True)
    assert answer.status == 400
    assert isinstance(answer.body, dict)
    assert answer.body["message"] == said
