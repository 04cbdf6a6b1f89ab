from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.nodes.aks.connect import ENDPOINT_VARIABLE, connect
from argotune.steps.nodes.aks.settings import AksSettings
from tests.fakes.arm import Fault
from tests.steps.nodes.aks.azure import CLUSTER_ID, Azure


@pytest.fixture
def workload_identity(azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the workload identity webhook sets in a pod."""
    token_file = tmp_path / "token"
    token_file.write_text("projected service account token")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", azure.cloud.url)
    monkeypatch.setenv("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555")
    monkeypatch.setenv("AZURE_CLIENT_ID", "66666666-7777-8888-9999-000000000000")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token_file))
    azure.cloud.tokens.clear()


@pytest.mark.usefixtures("workload_identity")
def test_a_workload_identity_of_another_cloud_is_used(azure: Azure) -> None:
    arm = connect(AksSettings(aks_cluster_id=CLUSTER_ID), {ENDPOINT_VARIABLE: azure.cloud.url})
    assert list(arm.pools()) == []
    assert len(azure.cloud.tokens) == 1
    assert list(arm.pools()) == []
    assert len(azure.cloud.tokens) == 1


@pytest.mark.usefixtures("workload_identity")
def test_a_refused_identity_says_what_to_do(azure: Azure, tmp_path: Path) -> None:
    refusal = {
        "error": "invalid_client",
        "error_description": "AADSTS70021: No matching federated identity record found.",
    }
    azure.cloud.token_faults = [Fault("POST", "token", 401, refusal, times=9)]
    arm = connect(AksSettings(aks_cluster_id=CLUSTER_ID), {ENDPOINT_VARIABLE: azure.cloud.url})
    with pytest.raises(PermanentError) as caught:
        arm.pools()
    assert "AADSTS70021: No matching federated identity record found." in str(caught.value)
    assert str(caught.value).startswith("no Azure credential: ")
    assert "annotation azure.workload.identity/client-id" in str(caught.value)


def test_an_endpoint_without_tls_is_refused() -> None:
    with pytest.raises(ParamsError) as caught:
        connect(AksSettings(aks_cluster_id=CLUSTER_ID), {ENDPOINT_VARIABLE: "http://arm.local"})
    assert str(caught.value) == "ARGOTUNE_ARM_ENDPOINT: 'http://arm.local' is not https://HOST"


def test_a_cluster_id_that_is_none_is_refused() -> None:
    with pytest.raises(ParamsError) as caught:
        connect(AksSettings(aks_cluster_id=""), {})
    assert str(caught.value) == (
        "--aks-cluster-id: empty; give what `az aks show --query id --output tsv` prints"
    )
