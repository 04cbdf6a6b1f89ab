"""Runs whose node is made: what the installation may say for them, and where they can be."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.kube import Cluster
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.installed import decide, put_gc
from tests.workflows.workspace.helpers import changed

CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
NEEDED = {"aks": ("aks-cluster-id", CLUSTER_ID), "karpenter": ("karpenter-node-class", "A/b")}


def asking(provider: str, **more: str) -> str:
    annotations = {"provider": provider, "service-gpus": "0", "service-memory": "64Gi", **more}
    return changed(
        {
            "metadata/annotations": {f"argotune.dev/{k}": v for k, v in annotations.items()},
            "resource/instanceType": "Standard_NC24ads_A100_v4",
        }
    )


@pytest.mark.parametrize("provider", sorted(NEEDED))
def test_what_neither_file_nor_installation_says_is_asked_for_before_anything_runs(
    argotune: Argotune, write: Write, cluster: Cluster, provider: str
) -> None:
    answer = argotune("submit", write("workspace.yaml", asking(provider)))
    name, _ = NEEDED[provider]
    assert answer.code == 2
    assert answer.errors == [
        f"metadata.annotations.argotune.dev/{name}: missing; provider {provider} needs it: set"
        f" it for all runs by `argotune install -n team-a --{name}`, or here for a Workflow with"
        " --standalone"
    ]
    assert cluster.of_kind("Workflow") == []


@pytest.mark.parametrize("provider", sorted(NEEDED))
def test_what_the_installation_says_does_for_every_run(
    argotune: Argotune, write: Write, cluster: Cluster, provider: str
) -> None:
    name, value = NEEDED[provider]
    template = cluster.objects["WorkflowTemplate", "team-a", "finetune"]
    decide(template, **{name: value})
    put_gc(cluster, **{name: value})
    answer = argotune("submit", write("workspace.yaml", asking(provider)))
    assert (answer.code, answer.err) == (0, "")
    (created,) = cluster.of_kind("Workflow")
    given = {item["name"]: item["value"] for item in created["spec"]["arguments"]["parameters"]}
    assert given["provider"] == provider
    assert name not in given


@pytest.mark.parametrize(
    ("gc", "reason"),
    [
        (None, "CronWorkflow gc is not installed"),
        ({"suspend": True, "aks_cluster_id": CLUSTER_ID}, "CronWorkflow gc is suspended"),
        (
            {"aks_cluster_id": CLUSTER_ID.replace("prod", "other")},
            f"CronWorkflow gc looks for nodes in aks-cluster-id "
            f"{CLUSTER_ID.replace('prod', 'other')}, and not in {CLUSTER_ID}",
        ),
    ],
)
def test_a_node_that_no_schedule_would_delete_is_not_made(
    argotune: Argotune,
    write: Write,
    cluster: Cluster,
    gc: dict[str, Any] | None,
    reason: str,
) -> None:
    if gc is not None:
        put_gc(cluster, **gc)
    flags = ("--standalone", "--images-registry", "registry.example.org/ours")
    text = asking("aks", **{"aks-cluster-id": CLUSTER_ID})
    answer = argotune("submit", write("workspace.yaml", text), *flags)
    assert answer.code == 2
    assert answer.errors == [
        "provider aks makes a node for the run, and nothing would delete it if the run were deleted"
        f" or terminated: {reason} in namespace team-a; `argotune install -n team-a"
        " --aks-cluster-id ...` installs and resumes it"
    ]
    assert cluster.of_kind("Workflow") == []


def test_a_node_pool_needs_no_node_class(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = asking("karpenter", **{"karpenter-mode": "nodepool"})
    assert argotune("submit", write("workspace.yaml", text)).code == 0
    assert len(cluster.of_kind("Workflow")) == 1


@pytest.mark.parametrize("provider", sorted(NEEDED))
def test_a_whole_workflow_has_no_installation(
    argotune: Argotune, write: Write, cluster: Cluster, provider: str
) -> None:
    flags = ("--standalone", "--images-registry", "registry.example.org/ours")
    answer = argotune("submit", write("workspace.yaml", asking(provider)), *flags)
    assert answer.code == 2
    assert cluster.of_kind("Workflow") == []


@pytest.mark.parametrize("provider", sorted(NEEDED))
def test_this_machine_needs_no_node(argotune: Argotune, write: Write, provider: str) -> None:
    answer = argotune("run", write("workspace.yaml", asking(provider)))
    assert answer.code == 2
    assert answer.errors == [
        f"metadata.annotations.argotune.dev/provider: {provider!r} makes nodes of a cluster, and"
        " this machine works by itself; leave it out, or use `argotune submit`"
    ]
