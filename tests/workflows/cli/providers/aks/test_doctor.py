"""What the doctor says of the accounts that make agent pools; the pods' answers are those of
argotune.steps.nodes.aks.rights."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from argotune.steps.nodes.aks.needed_rights import QUOTAS, REQUIRED, SKUS, Rights
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Finding
from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.cli.providers.aks import doctor
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.azure import CLUSTER_ID
from tests.workflows.cli.checks.cluster import REGISTRY, SPACE, healthy, look, messages, node
from tests.workflows.installed import decide

CLIENT_ID = "66666666-7777-8888-9999-000000000000"
ACCOUNTS = ("argotune-provision", "argotune-release")
READ, WRITE, DELETE = REQUIRED
NO_CREDENTIAL = (
    "no Azure credential: (invalid_client) AADSTS700213: No matching federated identity record "
    "found for presented assertion subject 'system:serviceaccount:team-a:argotune-provision'. "
    "Check your federated identity credential Subject, Audience and Issuer. Trace ID: 1; give the "
    "step's ServiceAccount a workload identity"
)

ALL_WELL = [
    "ok: argotune-provision is let in by Azure and may read, write, delete the agent pools of "
    "cluster prod",
    "ok: argotune-release is let in by Azure and may read, delete the agent pools of cluster prod",
]


@pytest.fixture
def server() -> ApiServer:
    """A cluster that was installed for AKS."""
    server = healthy()
    for path, item in server.objects.items():
        if path.endswith("/workflowtemplates/finetune"):
            decide(item, aks_cluster_id=CLUSTER_ID)
        if item["kind"] == "ServiceAccount" and item["metadata"]["name"] in ACCOUNTS:
            item["metadata"]["annotations"] = {"azure.workload.identity/client-id": CLIENT_ID}
    return server


def answering(server: ApiServer, found: Rights, exit_code: int = 0) -> list[Object]:
    """Let every pod end with this answer; the pods that are made."""
    message = json.dumps(asdict(found))
    return becoming(server, {"terminated": {"exitCode": exit_code, "message": message}})


def becoming(server: ApiServer, state: Object, **status: Any) -> list[Object]:
    pods: list[Object] = []

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        pods.append(pod)
        pod["status"] = {"containerStatuses": [{"state": state}], **status}

    server.on_create = on_create
    return pods


def asked(server: ApiServer, **changes: Any) -> list[Finding]:
    found = look(server, doctor.rights, **changes)
    assert server.of_kind("Pod") == []
    return found


def test_each_account_asks_as_itself_in_a_pod_as_restricted_as_a_runs(server: ApiServer) -> None:
    pods = answering(server, Rights(has_token=True))
    server.put(node("cpu", gpus=0, labels={"topology.kubernetes.io/region": "eastus"}))
    assert messages(asked(server)) == ALL_WELL
    assert [pod["spec"]["serviceAccountName"] for pod in pods] == list(ACCOUNTS)
    assert {pod["metadata"]["labels"]["azure.workload.identity/use"] for pod in pods} == {"true"}
    container = pods[0]["spec"]["containers"][0]
    assert container["image"] == f"{REGISTRY}/argotune-provision:0.1.0"
    assert container["command"] == [
        "python",
        "-m",
        "argotune.steps.nodes.aks.rights",
        f"--aks-cluster-id={CLUSTER_ID}",
        "--location=eastus",
        "--termination-log=/dev/termination-log",
    ]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_missing_actions_are_named_with_the_command_that_grants_them(server: ApiServer) -> None:
    answering(server, Rights(has_token=True, missing=(WRITE, DELETE)))
    first, second = asked(server)
    assert messages([first, second]) == [
        f"problem: argotune-provision may not {WRITE} and {DELETE} on cluster prod",
        f"problem: argotune-release may not {DELETE} on cluster prod",
    ]
    assert first.command == (
        f'az role assignment create --role "argotune GPU pools" --scope {CLUSTER_ID} '
        f"--assignee {CLIENT_ID}"
    )


def test_release_needs_no_right_to_make_pools(server: ApiServer) -> None:
    answering(server, Rights(has_token=True, missing=(WRITE,)))
    assert messages(asked(server))[1] == ALL_WELL[1]


def test_a_missing_federated_credential_is_told_with_its_command(server: ApiServer) -> None:
    answering(server, Rights(has_token=True, refused=NO_CREDENTIAL, is_login_refused=True))
    found = asked(server)[0]
    assert found.message == (
        f"the identity {CLIENT_ID} has no federated credential for argotune-provision of namespace "
        "team-a: AADSTS700213: No matching federated identity record found for presented assertion "
        "subject 'system:serviceaccount:team-a:argotune-provision'. Check your federated identity "
        "credential Subject, Audience and Issuer"
    )
    assert found.command == (
        "az identity federated-credential create -g GROUP --identity-name NAME --name "
        "argotune-provision --audiences api://AzureADTokenExchange --subject "
        "system:serviceaccount:team-a:argotune-provision --issuer "
        '"$(az aks show -g team -n prod --query oidcIssuerProfile.issuerUrl -o tsv)"'
    )


@pytest.mark.parametrize("code", ["AADSTS70021", "AADSTS700211", "AADSTS700212", "AADSTS7002138"])
def test_all_of_entras_wordings_mean_the_credential(server: ApiServer, code: str) -> None:
    refused = f"no Azure credential: {code}: No matching federated identity record found"
    answering(server, Rights(has_token=True, refused=refused, is_login_refused=True))
    assert "has no federated credential" in asked(server)[0].message


def test_a_pod_without_a_token_means_that_workload_identity_is_off(server: ApiServer) -> None:
    refused = "no Azure credential: nothing worked"
    answering(server, Rights(has_token=False, refused=refused, is_login_refused=True))
    found = asked(server)[0]
    assert found.message == (
        "a pod of argotune-provision gets no token for Azure: the cluster has no workload identity,"
        " or its webhook does not run"
    )
    assert found.command == (
        "az aks update -g team -n prod --enable-oidc-issuer --enable-workload-identity"
    )


@pytest.mark.parametrize(("may_pass", "level"), [(True, "unknown"), (False, "problem")])
def test_an_azure_that_is_away_is_not_the_same_as_a_cluster_that_is_gone(
    server: ApiServer, may_pass: bool, level: str
) -> None:
    answering(server, Rights(has_token=True, refused="Azure says this", may_pass=may_pass))
    found = messages(asked(server))[0]
    assert found.startswith(f"{level}: ")
    assert found.endswith("argotune-provision: Azure says this")


def test_what_is_recommended_is_told_once_and_is_no_problem(server: ApiServer) -> None:
    answering(server, Rights(has_token=True, recommended=(QUOTAS, SKUS)))
    well, hint, other = asked(server)
    assert messages([well, other]) == ALL_WELL
    assert messages([hint])[0].startswith(
        f"info: argotune-provision may not {QUOTAS} and {SKUS} on the subscription, so a quota"
    )
    assert "--scope /subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a " in hint.command


def test_permissions_that_azure_does_not_list_stay_unknown(server: ApiServer) -> None:
    answering(server, Rights(has_token=True, unknown=(WRITE, DELETE)))
    assert messages(asked(server))[0] == (
        f"unknown: whether argotune-provision may {WRITE} and {DELETE} on cluster prod: Azure lets "
        "it in, but not list its permissions"
    )


def test_an_image_of_another_version_gives_no_answer(server: ApiServer) -> None:
    said = "No module named argotune.steps.nodes.aks.rights"
    becoming(server, {"terminated": {"exitCode": 1, "message": said}})
    assert messages(asked(server))[0] == (
        "unknown: what Azure permits argotune-provision: its pod ended with exit code 1 and no "
        "answer"
    )


def test_a_pod_that_does_not_come_up_is_told_with_its_reason(server: ApiServer) -> None:
    becoming(server, {"waiting": {"reason": "ImagePullBackOff", "message": "not\n found"}})
    assert messages(asked(server))[0] == (
        "unknown: what Azure permits argotune-provision: its pod did not end in 180 s: not found"
    )


def test_a_pod_that_the_namespace_refuses_is_told(server: ApiServer) -> None:
    server.refusals["POST pods"] = (403, "exceeded quota")
    assert messages(asked(server)) == [
        f"unknown: what Azure permits {name}: it gets no pod: exceeded quota" for name in ACCOUNTS
    ]


def test_an_account_without_an_identity_is_told_before_anything_is_tried(server: ApiServer) -> None:
    for account in server.of_kind("ServiceAccount"):
        account["metadata"].pop("annotations", None)
    (found,) = asked(server)
    assert found.message == (
        "argotune-provision and argotune-release: no annotation azure.workload.identity/client-id, "
        "so Azure does not know who their pods are"
    )
    assert found.command.startswith("argotune install -n team-a --azure-client-id ")
    assert not any("POST" in each for each in server.requests)


def test_nothing_is_tried_where_no_pods_are_wanted(server: ApiServer) -> None:
    assert messages(asked(server, pull=Pull.NONE)) == [
        "info: what Azure permits was not asked, as --pull-test none says"
    ]


def test_a_run_with_another_provider_needs_nothing_of_azure(server: ApiServer) -> None:
    assert asked(server, needs=Needs(workspace="phi", provider="karpenter")) == []


def test_an_installation_without_aks_needs_nothing_of_azure() -> None:
    assert asked(healthy()) == []


def test_a_run_that_names_no_cluster_has_none() -> None:
    (found,) = asked(healthy(), needs=Needs(workspace="phi", provider="aks"))
    assert found.message.startswith("no AKS cluster is named")
    assert found.command.startswith(f"argotune install -n {SPACE} --aks-cluster-id ")
