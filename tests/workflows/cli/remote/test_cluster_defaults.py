"""argotune submit and plan of a file that names a machine and not who makes it, as Kaito's do."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.installed import decide, put_gc
from tests.workflows.workspace.helpers import WORKSPACE

G5 = "g5.4xlarge"
EC2 = "EC2NodeClass/gpu"


def node(name: str, provider_id: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"providerID": provider_id}, "status": {}}


def workspace(machine: str = G5) -> str:
    document = yaml.safe_load(WORKSPACE)
    document["metadata"].pop("annotations")
    document["metadata"]["annotations"] = {"argotune.dev/service-gpus": "0"}
    document["resource"]["instanceType"] = machine
    document["tuning"]["method"] = "qlora"
    return yaml.safe_dump(document)


def with_node_class(cluster: Cluster, name: str = EC2) -> None:
    template = cluster.objects["WorkflowTemplate", "team-a", "finetune"]
    decide(template, karpenter_node_class=name)
    put_gc(cluster, karpenter_node_class=name)


def submit(argotune: Argotune, write: Write, text: str) -> Answer:
    return argotune("submit", write("workspace.yaml", text))


def arguments_of(cluster: Cluster) -> dict[str, str]:
    (created,) = cluster.of_kind("Workflow")
    return {item["name"]: item["value"] for item in created["spec"]["arguments"]["parameters"]}


def test_the_installations_provider_makes_the_node(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    with_node_class(cluster)
    answer = submit(argotune, write, workspace())
    assert answer.code == 0, answer.err
    assert "provider karpenter, for which the installation is set up, makes the node" in answer.err
    given = arguments_of(cluster)
    assert (given["provider"], given["instance-type"]) == ("karpenter", G5)


def test_without_one_submit_says_that_the_node_must_be_there(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = submit(argotune, write, workspace())
    assert answer.code == 0, answer.err
    assert (
        f"warning: resource.instanceType: {G5}: no provider is named, so a node of this type must "
        "be in the cluster; argotune.dev/provider: aks or karpenter has one made for the run"
    ) in answer.err
    assert arguments_of(cluster)["provider"] == "existing"


def test_a_machine_that_the_installations_node_class_does_not_make_is_refused(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    with_node_class(cluster, "AKSNodeClass/gpu")
    answer = submit(argotune, write, workspace())
    assert answer.code == 2
    assert (
        f"error: resource.instanceType: {G5} is a machine of aws; the installation's node class "
        "AKSNodeClass/gpu makes machines of azure"
    ) in answer.err
    assert cluster.of_kind("Workflow") == []


def test_a_machine_of_another_cloud_than_the_clusters_nodes_is_refused(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.nodes = [node("one", "gce://project/us-central1-a/one")]
    answer = submit(argotune, write, workspace())
    assert answer.code == 2
    assert f"{G5} is a machine of aws; the run is in gcp" in answer.err
    assert cluster.of_kind("Workflow") == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_cluster_that_does_not_show_its_nodes_is_no_obstacle(
    argotune: Argotune, write: Write, cluster: Cluster, status: int
) -> None:
    cluster.faults = [Fault("GET", "/api/v1/nodes", status)]
    answer = submit(argotune, write, workspace())
    assert answer.code == 0, answer.err
    assert arguments_of(cluster)["cloud"] == ""


def test_plan_with_a_cluster_has_the_machines_of_its_cloud(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.nodes = [node("one", "aws:///us-east-1a/i-0123")]
    document = yaml.safe_load(workspace())
    del document["resource"]["instanceType"]
    answer = argotune("plan", write("workspace.yaml", yaml.safe_dump(document)), "-n", "team-a")
    assert "GPU machines of aws that fit" in answer.out, answer.err
    assert "g6e.xlarge" in answer.out
