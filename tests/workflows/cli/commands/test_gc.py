"""argotune gc, against an API server and an Azure on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from argotune.steps.nodes.aks.connect import ENDPOINT_VARIABLE
from argotune.steps.nodes.aks.pool import pool_body, pool_name
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.labels import WORKSPACE_LABEL
from argotune.steps.nodes.provider import NodeRequest, Placement
from argotune.steps.nodes.providers import ProviderSettings
from tests.fakes import arm
from tests.fakes.kube import Cluster, Object
from tests.fakes.tls import self_signed, server_context
from tests.workflows.cli.cluster_workflows import NAME, failed_run, run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.installed import decide

A100 = Placement(instance_type="Standard_NC24ads_A100_v4")
CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)

NOTHING = "nothing: every node that was made for a run has its run, and none is kept\n"


def request(run: str, *, namespace: str = "team-a") -> NodeRequest:
    return NodeRequest(
        run=run,
        workflow=f"workflow-of-{run}",
        namespace=namespace,
        gpus=1,
        disk_gib=128,
        instance_types=(A100.instance_type,),
        timeout_seconds=60.0,
    )


def add_workflow(cluster: Cluster, run: str, *, phase: str) -> None:
    cluster.put(
        {
            "kind": "Workflow",
            "metadata": {"name": f"workflow-of-{run}", "namespace": "team-a", "uid": run},
            "status": {"phase": phase},
        }
    )


def add_claim(cluster: Cluster, run: str, *, namespace: str = "team-a") -> Object:
    wanted = request(run, namespace=namespace)
    claim = claims.manifest(wanted, A100, NodeClass.parse("AKSNodeClass/gpu"), datetime.now(UTC))
    claim["metadata"] |= {"uid": f"claim-{run}", "creationTimestamp": "2026-09-21T14:13:20Z"}
    cluster.objects["NodeClaim", "", claim["metadata"]["name"]] = claim
    return claim


def claims_left(cluster: Cluster) -> set[str]:
    return {claims.run_of(claim) for claim in cluster.of_kind("NodeClaim")}


@pytest.fixture
def runs(cluster: Cluster) -> None:
    """Two runs of the namespace, one over, with their claims, and one of another namespace."""
    add_workflow(cluster, "on", phase="Running")
    add_workflow(cluster, "over", phase="Failed")
    for run in ("on", "over", "gone"):
        add_claim(cluster, run)
    add_claim(cluster, "others", namespace="team-b")


@pytest.mark.usefixtures("runs")
def test_claims_of_runs_that_are_over_go(argotune: Argotune, cluster: Cluster) -> None:
    answer = argotune("gc")
    assert (answer.code, answer.err) == (0, "")
    assert sorted(answer.out.splitlines()) == sorted(
        f"NodeClaim {claims.claim_name(run)} ({A100}): its run has ended "
        f"(team-a/workflow-of-{run}), being deleted"
        for run in ("over", "gone")
    )
    assert claims_left(cluster) == {"on", "others"}
    assert argotune("gc").out == NOTHING


@pytest.mark.usefixtures("runs")
def test_a_dry_run_takes_nothing(argotune: Argotune, cluster: Cluster) -> None:
    answer = argotune("gc", "--dry-run")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 2
    assert all(line.endswith(", still there (dry run)") for line in answer.out.splitlines())
    assert claims_left(cluster) == {"on", "over", "gone", "others"}
    assert not [each for each in cluster.requests if not each.startswith("GET ")]


def test_what_is_kept_for_a_next_run_is_shown_and_stays(
    argotune: Argotune, cluster: Cluster
) -> None:
    claim = add_claim(cluster, "over")
    until = datetime(2999, 1, 31, 14, 5, tzinfo=UTC)
    change = claims.left_by_run(claim, now=datetime(2026, 9, 22, tzinfo=UTC), until=until)
    labels = {**claim["metadata"]["labels"], **change["labels"], WORKSPACE_LABEL: "phi"}
    claim["metadata"]["labels"] = {key: value for key, value in labels.items() if value}
    claim["metadata"]["annotations"] |= change["annotations"]
    others = argotune("gc", "-n", "team-b", "--kept")
    for shown in (others, argotune("gc", "--dry-run"), argotune("gc")):
        assert shown.out == (
            f"kept for team-a/phi: NodeClaim {claims.claim_name('over')} ({A100}) until 2999-01-31 "
            "14:05 UTC, costs money while it waits\n"
        )
    assert cluster.of_kind("NodeClaim") == [claim]
    assert argotune("gc", "--kept").out == (
        f"NodeClaim {claims.claim_name('over')} ({A100}): it was kept until 2999-01-31 14:05 UTC "
        "for team-a/phi, being deleted\n"
    )
    assert not cluster.of_kind("NodeClaim")


def test_a_cluster_without_karpenter_has_nothing(argotune: Argotune, cluster: Cluster) -> None:
    cluster.has_karpenter = False
    answer = argotune("gc")
    assert (answer.code, answer.out) == (0, NOTHING)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (
            ("--provider=aks",),
            "--aks-cluster-id: missing, and `argotune install` has set none in namespace team-a",
        ),
        (
            ("--aks-cluster-id=prod",),
            "--aks-cluster-id: 'prod' is not /subscriptions/ID/resourceGroups/GROUP/providers/"
            "Microsoft.ContainerService/managedClusters/NAME",
        ),
    ],
)
def test_aks_has_to_be_named(
    argotune: Argotune, cluster: Cluster, flags: tuple[str, ...], error: str
) -> None:
    answer = argotune("gc", *flags)
    assert (answer.code, answer.errors) == (2, [error])


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[arm.Cloud]:
    """An Azure to which this machine is logged in as a workload identity."""
    certificate, key = self_signed(tmp_path, ["127.0.0.1"])
    token_file = tmp_path / "token"
    token_file.write_text("projected token")
    cloud = arm.Cloud(creation=arm.Creation(seconds=0.0), delete_seconds=0.0)
    with arm.serving(cloud, server_context(certificate, key)) as url:
        environment = {
            ENDPOINT_VARIABLE: url,
            "AZURE_AUTHORITY_HOST": url,
            "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
            "AZURE_CLIENT_ID": "66666666-7777-8888-9999-000000000000",
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "REQUESTS_CA_BUNDLE": str(certificate),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield cloud


def add_pool(cloud: arm.Cloud, run: str) -> None:
    body = pool_body(request(run), A100, ProviderSettings(), 1_790_000_000.0).as_dict()
    with cloud.lock:
        cloud.put(CLUSTER_ID, pool_name(run), body, only_new=True)
        cloud.settle()


@pytest.mark.parametrize("named", [True, False])
def test_agent_pools_of_runs_that_are_over_go(
    argotune: Argotune, cluster: Cluster, cloud: arm.Cloud, named: bool
) -> None:
    """Of the cluster that is named, or of the one that was at installation."""
    add_workflow(cluster, "on", phase="Running")
    for run in ("on", "gone"):
        add_pool(cloud, run)
    if not named:
        template = cluster.objects["WorkflowTemplate", "team-a", "finetune"]
        decide(template, aks_cluster_id=CLUSTER_ID)
    answer = argotune("gc", *([f"--aks-cluster-id={CLUSTER_ID}"] if named else []))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        f"agent pool {pool_name('gone')} ({A100}): its run has ended, being deleted\n"
    )
    with cloud.lock:
        cloud.settle()
        assert [*cloud.pools] == [pool_name("on")]


def test_azure_is_imported_only_where_it_is_used() -> None:
    program = (
        "import sys, argotune.workflows.cli.remote.strays\n"
        "found = [name for name in sys.modules if name.split('.')[0] == 'azure']\n"
        "sys.exit(len(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_volumes_of_failed_runs_are_shown_with_their_end(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(failed_run(secondsAfterFailure=3600))
    cluster.put(run_of(*step("tune", "Running"), name="other-abcde"))
    for name in (NAME, "other-abcde", "gone-abcde"):
        labels = {"workflows.argoproj.io/workflow": name}
        metadata = {"name": f"{name}-work", "namespace": "team-a", "labels": labels}
        cluster.put({"kind": "PersistentVolumeClaim", "metadata": metadata})
    answer = argotune("gc", "-n", "team-a")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == NOTHING + (
        f"volume {NAME}-work, 22Gi, kept for argo retry until 2026-01-01 01:00 UTC:"
        f" `argotune rm {NAME} -n team-a` deletes it and the run\n"
    )
