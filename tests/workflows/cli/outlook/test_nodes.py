"""argotune plan --provider: where the node would come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import arm
from tests.fakes.api_server import ApiServer, serving
from tests.fakes.arm import Fault
from tests.workflows.cli.azure import A100, CLUSTER_ID, H100, azure, set_quota, sku
from tests.workflows.cli.checks.cluster import healthy, node
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.kubeconfig import use_kubeconfig
from tests.workflows.installed import decide

HEAD = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: phi
  annotations:
"""
REST = """
resource:
  instanceType: SKU
  labelSelector:
    matchLabels:
      pool: gpu
tuning:
  preset:
    name: phi-3-mini-4k-instruct
  method: qlora
  input:
    urls:
      - https://example.com/data.parquet
  output:
    image: registry.example.com/me/phi:1
    imagePushSecret: push
"""
DENIED = {"error": {"code": "AuthorizationFailed", "message": "no authorization to read"}}
WHERE = ("--provider", "aks", "--aks-cluster-id", CLUSTER_ID)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[arm.Cloud]:
    with azure(monkeypatch, tmp_path) as made:
        yield made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    """A cluster with an installation in namespace team-a and one GPU node."""
    server = healthy()
    with serving(server):
        use_kubeconfig(monkeypatch, tmp_path, server.url)
        yield server


@pytest.fixture
def file(write: Write) -> Path:
    """A workspace for the A100."""
    return workspace(write)


def workspace(write: Write, instance_type: str = A100, **annotations: str) -> Path:
    given = annotations or {"question": "Hello?"}
    lines = "\n".join(
        f'    argotune.dev/{name.replace("_", "-")}: "{text}"' for name, text in given.items()
    )
    return write("workspace.yaml", HEAD + lines + REST.replace("SKU", instance_type))


def rows(answer: Answer, title: str = "GPU node by provider aks") -> list[list[str]]:
    """The cells of the outlook's table, its heading first."""
    lines = answer.out.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(title)) + 1
    table = []
    for line in lines[start:]:
        if line.strip().startswith(("[", "OF FAMILY,", "not seen")):
            break
        table.append(line.split())
    return table


def notes(answer: Answer, start: str) -> list[str]:
    return [line for line in answer.out.splitlines() if line.startswith(start)]


def test_an_alternative_on_which_the_tune_pod_does_not_fit_will_not_be_asked_for(
    argotune: Argotune, write: Write, cloud: arm.Cloud
) -> None:
    file = workspace(write, H100, tune_memory="300Gi", alternative_instance_types=A100)
    answer = argotune("plan", file, *WHERE)
    assert answer.code == 0
    assert [row[-1] for row in rows(answer)] == ["OUTLOOK", "had", "[1]"]
    assert notes(answer, "[1]") == [
        f"[1] {A100}: 216.8 GiB of memory for the tune pod, 300 GiB needed (parameter tune-memory)"
    ]


def test_every_alternative_is_shown_in_the_order_of_tries(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    answer = argotune("plan", file, *WHERE)
    assert answer.code == 0
    assert "GPU node by provider aks in eastus, in the order of tries" in answer.out
    head, *found = rows(answer)
    assert " ".join(head) == "SKU CAPACITY ZONE VCPUS OF FAMILY OF REGION USD/H OUTLOOK"
    assert found == [
        ["1", A100, "regular", "any", "24", "48/48", "80/100", "3.67", "may", "be", "had"],
        ["2", H100, "regular", "any", "40", "80/80", "80/100", "6.98", "may", "be", "had"],
    ]
    (waits,) = notes(answer, "Until the GPU can be used")
    assert "not known by SKU" in waits
    assert "waits 15 minutes for each node and 10 for its GPU" in waits
    assert all(each.startswith("GET ") for each in cloud.requests)


def test_the_table_of_skus_marks_what_is_tried_next(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    out = argotune("plan", file, *WHERE).out
    assert "* is planned for, + is tried where the cloud has none of it" in out
    marked = [line.split()[:2] for line in out.splitlines() if line.startswith(("* ", "+ "))]
    assert marked == [["*", A100], ["+", H100]]
    assert "+ is tried" not in argotune("plan", file).out


@pytest.mark.parametrize(("given", "tried"), [("none", [A100]), (H100, [A100, H100])])
def test_what_the_file_says_of_alternatives_counts(
    argotune: Argotune, write: Write, cloud: arm.Cloud, given: str, tried: list[str]
) -> None:
    file = workspace(write, provider="aks", alternative_instance_types=given)
    found = rows(argotune("plan", file, "--aks-cluster-id", CLUSTER_ID))[1:]
    assert [row[1] for row in found] == tried


def test_spot_comes_first_where_asked_for_and_has_a_quota_of_its_own(
    argotune: Argotune, write: Write, cloud: arm.Cloud
) -> None:
    file = workspace(
        write,
        provider="aks",
        alternative_instance_types="none",
        capacity_types="spot,regular",
        zones="2,any",
        spot_max_price_usd_per_hour="1.5",
        aks_cluster_id=CLUSTER_ID,
    )
    answer = argotune("plan", file)
    assert [row[:9] for row in rows(answer)[1:]] == [
        ["1", A100, "spot", "2", "24", "-", "100/100", "<=", "1.50"],
        ["2", A100, "spot", "any", "24", "-", "100/100", "<=", "1.50"],
        ["3", A100, "regular", "2", "24", "48/48", "80/100", "3.67", "may"],
        ["4", A100, "regular", "any", "24", "48/48", "80/100", "3.67", "may"],
    ]


def test_a_refusal_is_told_once_with_what_to_do(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    set_quota(cloud, "StandardNCADSA100v4Family", 40, 48)
    answer = argotune("plan", file, *WHERE)
    assert answer.code == 0
    assert [row[-2:] for row in rows(answer)[1:]] == [
        ["refused", "[1]"],
        ["be", "had"],
    ]
    assert notes(answer, "[1]") == [
        "[1] quota StandardNCADSA100v4Family in eastus: 24 vCPUs needed, 8 of 48 left; ask for more"
        " (https://learn.microsoft.com/azure/quotas/per-vm-quota-requests)"
    ]


def test_where_nothing_can_be_had_the_exit_code_says_it(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    set_quota(cloud, "cores", 100, 100)
    answer = argotune("plan", file, *WHERE)
    assert answer.code == 3
    assert "quota cores in eastus: 24 vCPUs needed, 0 of 100 left" in answer.out


def test_a_restriction_is_told_with_its_reason(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    restriction = {"type": "Location", "values": ["eastus"], "reasonCode": "QuotaId"}
    cloud.skus[0] = sku(A100, restrictions=[restriction])
    (note,) = notes(argotune("plan", file, *WHERE), "[1]")
    assert note.startswith(
        f"[1] {A100} is not offered to this subscription here: the subscription's"
    )


def test_what_may_not_be_read_is_said_and_the_rest_is_shown(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    cloud.faults = [Fault("GET", "/usages", 403, DENIED)]
    answer = argotune("plan", file, *WHERE)
    assert answer.code == 0
    assert [row[4:8] for row in rows(answer)[1:]] == [
        ["-", "-", "-", "3.67"],
        ["-", "-", "-", "6.98"],
    ]
    assert all(row[-4:] == ["not", "all", "is", "seen"] for row in rows(answer)[1:])
    (note,) = notes(answer, "not seen")
    assert note.startswith("not seen: quotas: a role is missing: AuthorizationFailed")
    assert "no-look" not in answer.err


def test_the_costs_of_a_run_of_known_length_are_shown(
    argotune: Argotune, file: Path, cloud: arm.Cloud
) -> None:
    answer = argotune("plan", file, *WHERE, "--dataset-tokens", "1000000")
    head, first, *_ = rows(answer)
    assert head[-3:] == ["USD/H", "USD", "OUTLOOK"]
    shown = next(line for line in answer.out.splitlines() if line.startswith("*  "))
    assert first[-4] in shown.split()
    assert notes(answer, "USD: of ")


def test_without_a_login_it_says_how_to_get_one(
    argotune: Argotune, file: Path, cloud: arm.Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "AADSTS700213: No matching federated identity record found for subject 'x'."
    refusal = {"error": "invalid_client", "error_description": said}
    cloud.token_faults = [Fault("POST", "token", 401, refusal, times=9)]
    answer = argotune("plan", file, *WHERE)
    assert answer.code == 3
    (error,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: no Azure login (AADSTS700213: No matching federated identity")
    assert error.endswith(
        "): run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
    )
    assert "Plan of phi" in answer.out


def test_a_plan_that_nobody_asked_to_look_does_well_without_azure(
    argotune: Argotune, write: Write, cloud: arm.Cloud
) -> None:
    missing = {"code": "NotFound", "message": "prod"}
    cloud.faults = [Fault("GET", "managedClusters", 404, missing, times=9)]
    file = workspace(write, provider="aks", aks_cluster_id=CLUSTER_ID)
    answer = argotune("plan", file)
    assert answer.code == 0
    (warning,) = [line for line in answer.err.splitlines() if "not looked for" in line]
    assert warning.startswith("warning: the GPU node was not looked for: Azure does not find")
    assert argotune("plan", file, "--provider", "aks").code == 3


@pytest.mark.parametrize("fault", [None, 403])
def test_the_region_is_the_clusters_or_that_of_the_flag(
    argotune: Argotune, file: Path, cloud: arm.Cloud, fault: int | None
) -> None:
    cloud.location = "westeurope"
    if fault:
        cloud.faults = [Fault("GET", "managedClusters/prod", 403, DENIED)]
    answer = argotune("plan", file, *WHERE)
    if not fault:
        assert "provider aks in westeurope" in answer.out
        return
    assert (answer.code, answer.err.splitlines()[-1][:30]) == (2, "error: --aks-location: missing")
    cloud.faults = [Fault("GET", "managedClusters/prod", 403, DENIED)]
    assert "provider aks in eastus" in argotune("plan", file, *WHERE, "--aks-location=eastus").out


def test_the_installation_says_which_cluster_and_its_nodes_which_region(
    argotune: Argotune, file: Path, cloud: arm.Cloud, server: ApiServer
) -> None:
    (template,) = [
        each
        for each in server.of_kind("WorkflowTemplate")
        if each["metadata"]["name"] == "finetune"
    ]
    decide(template, aks_cluster_id=CLUSTER_ID)
    server.put(node("cpu", gpus=0, labels={"topology.kubernetes.io/region": "northeurope"}))
    cloud.faults = [Fault("GET", "managedClusters/prod", 403, DENIED)]
    answer = argotune("plan", file, "--provider", "aks", "-n", "team-a")
    assert answer.code == 0, answer.err
    assert "provider aks in northeurope" in answer.out


def test_which_cluster_has_to_be_said(argotune: Argotune, file: Path, cloud: arm.Cloud) -> None:
    answer = argotune("plan", file, "--provider", "aks")
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "error: --aks-cluster-id: missing; give what `az aks show --query id --output tsv` prints,"
        " or an installation that has it, by -n NAMESPACE, --context NAME or --cluster"
    )


def test_nodes_that_exist_are_looked_at_as_the_doctor_does(
    argotune: Argotune, write: Write, server: ApiServer
) -> None:
    server.put(node("gpu-2", labels={"pool": "gpu", "node.kubernetes.io/instance-type": A100}))
    file = workspace(write)
    answer = argotune("plan", file, "-n", "team-a")
    assert answer.code == 0
    lines = answer.out.splitlines()
    place = lines.index("GPU node by provider existing, as the cluster is now")
    assert lines[place + 1] == f"  ok       GPU nodes that fit: gpu-2 (1 x GPU ({A100}))"
    other = workspace(write, instance_type=H100)
    answer = argotune("plan", other, "-n", "team-a")
    assert answer.code == 3
    assert f"gpu-2: instance type {A100}, not {H100}" in answer.out


def test_of_a_cluster_that_nobody_chose_nothing_is_claimed(
    argotune: Argotune, file: Path, server: ApiServer
) -> None:
    assert "GPU node by provider" not in argotune("plan", file).out
    answer = argotune("plan", file, "--provider", "existing")
    assert (answer.code, answer.err.splitlines()[-1]) == (
        2,
        "error: --provider existing: say which cluster to look at, by -n NAMESPACE, --context NAME"
        " or --cluster",
    )
