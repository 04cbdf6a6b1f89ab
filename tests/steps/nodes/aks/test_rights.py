"""What an identity may do with a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.nodes.aks.connect import ENDPOINT_VARIABLE
from argotune.steps.nodes.aks.needed_rights import QUOTAS, REQUIRED, SKUS, Rights, allows
from argotune.steps.nodes.aks.rights import main, rights_of
from tests.fakes.arm import Fault
from tests.steps.nodes.aks.azure import CLUSTER_ID, Azure

READ, WRITE, DELETE = REQUIRED
DENIED = {"error": {"code": "AuthorizationFailed", "message": "does not have authorization"}}
PROJECT_DIR = Path(__file__).parents[4]


def role(*actions: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """As in the example GetPermissions of Azure's REST specification."""
    return {
        "actions": list(actions),
        "notActions": list(without),
        "dataActions": [],
        "notDataActions": [],
    }


def asked(azure: Azure, location: str = "eastus") -> Rights:
    return rights_of(azure.arm, location, has_token=True)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([], False),
        ([role(WRITE)], True),
        ([role(WRITE.upper())], True),
        ([role("*")], True),
        ([role("*/write")], True),
        ([role("*/read")], False),
        ([role("Microsoft.ContainerService/*")], True),
        ([role("Microsoft.ContainerService/managedClusters/*/write")], True),
        ([role("Microsoft.ContainerService/managedClusters/write")], False),
        ([role("*", without=("Microsoft.ContainerService/*/write",))], False),
        ([role("*", without=(WRITE,)), role(WRITE)], True),
        ([role(WRITE), role("*", without=("*",))], True),
        ([{"actions": None}], False),
    ],
)
def test_actions_are_patterns_and_not_actions_take_away_from_their_own_role(
    roles: list[dict[str, Any]], expected: bool
) -> None:
    assert allows(roles, WRITE) is expected


def test_an_identity_that_may_all_lacks_nothing(azure: Azure) -> None:
    assert asked(azure) == Rights(has_token=True)
    assert azure.cloud.asked("PUT") == azure.cloud.asked("DELETE") == []


def test_what_is_missing_on_the_cluster_is_named(azure: Azure) -> None:
    azure.cloud.permissions = [role("*/read"), role(WRITE)]
    assert asked(azure).missing == (DELETE,)
    azure.cloud.permissions = []
    assert asked(azure).missing == REQUIRED


def test_what_is_recommended_is_tried(azure: Azure) -> None:
    azure.cloud.faults = [Fault("GET", "Compute/skus", 403, DENIED)]
    assert asked(azure).recommended == (SKUS,)
    azure.cloud.faults = [Fault("GET", "/usages", 403, DENIED)]
    assert asked(azure).recommended == (QUOTAS,)


def test_a_fault_of_azures_is_no_missing_right(azure: Azure) -> None:
    azure.cloud.faults = [Fault("GET", "Compute", 503, "away", times=9)]
    assert asked(azure) == Rights(has_token=True)


def test_without_a_region_nothing_is_tried(azure: Azure) -> None:
    assert asked(azure, location="") == Rights(has_token=True)
    assert not any("Compute" in each for each in azure.cloud.requests)


@pytest.mark.parametrize(("status", "missing"), [(200, ()), (403, (READ,))])
def test_an_identity_that_may_not_list_its_permissions_is_judged_by_what_it_can_read(
    azure: Azure, status: int, missing: tuple[str, ...]
) -> None:
    azure.cloud.faults = [Fault("GET", "Authorization/permissions", 403, DENIED)]
    if status == 403:
        azure.cloud.faults.append(Fault("GET", "agentPools", 403, DENIED))
    found = asked(azure)
    assert (found.missing, found.unknown) == (missing, (WRITE, DELETE))


def test_a_cluster_that_is_not_there_is_told(azure: Azure) -> None:
    body = {"error": {"code": "ResourceNotFound", "message": "prod was not found"}}
    azure.cloud.faults = [Fault("GET", "Authorization/permissions", 404, body)]
    found = asked(azure)
    assert "Azure does not find the cluster: ResourceNotFound: prod was not found" in found.refused
    assert not found.is_login_refused


@pytest.fixture
def pod(azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Azure:
    """What the workload identity webhook sets in a pod."""
    token_file = tmp_path / "token"
    token_file.write_text("projected service account token")
    for name, value in {
        "AZURE_AUTHORITY_HOST": azure.cloud.url,
        "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "AZURE_CLIENT_ID": "66666666-7777-8888-9999-000000000000",
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        ENDPOINT_VARIABLE: azure.cloud.url,
    }.items():
        monkeypatch.setenv(name, value)
    azure.cloud.tokens.clear()
    return azure


def test_a_missing_federated_credential_is_told_from_a_missing_role(
    pod: Azure, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (
        "AADSTS700213: No matching federated identity record found for presented assertion subject"
        " 'system:serviceaccount:argotune:argotune-provision'."
    )
    refusal = {"error": "invalid_client", "error_description": said}
    pod.cloud.token_faults = [Fault("POST", "token", 401, refusal, times=9)]
    main([f"--aks-cluster-id={CLUSTER_ID}"])
    found = json.loads(capsys.readouterr().out)
    assert found["is_login_refused"]
    assert said in found["refused"]


def test_the_answer_is_the_pods_last_message(pod: Azure, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    pod.cloud.permissions = [role(READ)]
    command = [sys.executable, "-m", "argotune.steps.nodes.aks.rights"]
    command += [f"--aks-cluster-id={CLUSTER_ID}", "--location=eastus", f"--termination-log={log}"]
    done = subprocess.run(
        command, cwd=PROJECT_DIR, env=dict(os.environ), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(log.read_text()) == json.loads(done.stdout)
    found = msgspec.json.decode(log.read_bytes(), type=Rights)
    assert found == Rights(has_token=True, missing=(WRITE, DELETE))


def test_a_cluster_id_that_is_none_is_an_answer_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--aks-cluster-id=prod"], {})
    found = json.loads(capsys.readouterr().out)
    assert found["refused"].startswith("--aks-cluster-id: 'prod' is not /subscriptions/ID/")
    assert found["has_token"] is False
