"""What the doctor and `argotune plan` say of Karpenter."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.nodes.provider import NodeRequest
from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.cli.providers import karpenter
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import healthy, look, messages
from tests.workflows.installed import decide

A10 = "Standard_NV36ads_A10_v5"
GROUP = "karpenter.azure.com"
CLASSES = f"/apis/{GROUP}/v1beta1/aksnodeclasses"
POOLS = "/apis/karpenter.sh/v1/nodepools"


@pytest.fixture
def server() -> ApiServer:
    """A cluster with Karpenter and the node class gpu."""
    server = healthy()
    kinds = [
        {"name": "aksnodeclasses", "kind": "AKSNodeClass"},
        {"name": "aksnodeclasses/status", "kind": "AKSNodeClass"},
    ]
    server.discovery = {
        "/apis/karpenter.sh/v1": {"kind": "APIResourceList", "resources": []},
        f"/apis/{GROUP}": {
            "kind": "APIGroup",
            "versions": [
                {"groupVersion": f"{GROUP}/v1", "version": "v1"},
                {"groupVersion": f"{GROUP}/v1beta1", "version": "v1beta1"},
            ],
        },
        f"/apis/{GROUP}/v1": {"kind": "APIResourceList", "resources": []},
        f"/apis/{GROUP}/v1beta1": {"kind": "APIResourceList", "resources": kinds},
    }
    server.objects[f"{CLASSES}/gpu"] = node_class("gpu")
    return server


def node_class(name: str, status: str = "True", **condition: str) -> Object:
    conditions = [{"type": "Ready", "status": status, **condition}]
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "AKSNodeClass",
        "metadata": {"name": name},
        "status": {"conditions": conditions},
    }


def node_pool(name: str, **changes: Any) -> Object:
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"requirements": [], **changes}}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def found(server: ApiServer, **settings: str) -> list[str]:
    """What is found of a run with these settings of the provider."""
    node = NodeRequest(run="", gpus=1, instance_types=(A10,), timeout_seconds=0.0)
    given = {name.replace("_", "-"): text for name, text in settings.items()}
    needs = Needs(workspace="phi", provider="karpenter", node=node, provider_settings=given)
    return messages(look(server, karpenter.nodes, needs=needs))


def test_a_node_class_that_is_there(server: ApiServer) -> None:
    assert found(server, karpenter_node_class="AKSNodeClass/gpu") == [
        "ok: AKSNodeClass gpu is there, by which Karpenter makes a node for each run"
    ]


def test_a_node_class_that_is_missing_is_told_with_those_that_are_there(server: ApiServer) -> None:
    assert found(server, karpenter_node_class="AKSNodeClass/other") == [
        "problem: AKSNodeClass other is not there; of AKSNodeClass there are gpu"
    ]
    del server.objects[f"{CLASSES}/gpu"]
    assert found(server, karpenter_node_class="AKSNodeClass/other") == [
        "problem: AKSNodeClass other is not there; of AKSNodeClass there is none"
    ]


def test_a_node_class_that_is_not_ready_says_why(server: ApiServer) -> None:
    server.objects[f"{CLASSES}/gpu"] = node_class("gpu", "False", message="no such subnet")
    assert found(server, karpenter_node_class="AKSNodeClass/gpu") == [
        "problem: AKSNodeClass gpu is not Ready: no such subnet"
    ]


@pytest.mark.parametrize("name", ["EC2NodeClass/gpu", "karpenter.azure.com/OtherNodeClass/gpu"])
def test_a_kind_that_the_cluster_does_not_know(server: ApiServer, name: str) -> None:
    said = found(server, karpenter_node_class=name)[-1]
    assert said.startswith(f"problem: the cluster knows no {name.split('/')[-2]} of karpenter.")


def test_the_installation_may_name_the_class(server: ApiServer) -> None:
    (said,) = found(server)
    assert said == "problem: no node class is named, by which Karpenter would make machines"
    for path, item in server.objects.items():
        if path.endswith("/workflowtemplates/finetune"):
            decide(item, karpenter_node_class="AKSNodeClass/gpu")
    assert found(server)[0].startswith("ok: AKSNodeClass gpu is there")
    without_file = messages(look(server, karpenter.nodes))
    assert without_file[0].startswith("ok: AKSNodeClass gpu is there")


def test_a_cluster_without_karpenter(server: ApiServer) -> None:
    del server.discovery["/apis/karpenter.sh/v1"]
    assert found(server, karpenter_node_class="AKSNodeClass/gpu") == [
        "problem: the cluster has no NodeClaims (karpenter.sh/v1)"
    ]


def of_aws(server: ApiServer, **spec: Any) -> list[str]:
    """What is found of a run on AWS, with a node class of this spec and 60 GiB to store."""
    kinds = [{"name": "ec2nodeclasses", "kind": "EC2NodeClass"}]
    group = "karpenter.k8s.aws"
    server.discovery |= {
        f"/apis/{group}": {
            "kind": "APIGroup",
            "versions": [{"groupVersion": f"{group}/v1", "version": "v1"}],
        },
        f"/apis/{group}/v1": {"kind": "APIResourceList", "resources": kinds},
    }
    server.objects[f"/apis/{group}/v1/ec2nodeclasses/gpu"] = {
        "apiVersion": f"{group}/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": "gpu"},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    node = NodeRequest(
        run="", gpus=1, instance_types=("g5.4xlarge",), disk_gib=60, timeout_seconds=0.0
    )
    settings = {"karpenter-node-class": "EC2NodeClass/gpu"}
    needs = Needs(workspace="phi", provider="karpenter", node=node, provider_settings=settings)
    return messages(look(server, karpenter.nodes, needs=needs))


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({}, "20"),
        (
            {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "50Gi"}}]},
            "50",
        ),
    ],
)
def test_disks_that_are_too_small_for_the_run_are_told(
    server: ApiServer, spec: dict[str, Any], size: str
) -> None:
    assert of_aws(server, **spec) == [
        f"problem: EC2NodeClass gpu makes disks of {size} GiB, and the run asks for 60 GiB, so "
        "Karpenter finds no machine for it"
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"blockDeviceMappings": [{"ebs": {"volumeSize": "4Gi"}}, {"ebs": {"volumeSize": "100Gi"}}]},
        {"instanceStorePolicy": "RAID0"},
    ],
)
def test_disks_that_are_large_enough_or_the_machines_own_will_do(
    server: ApiServer, spec: dict[str, Any]
) -> None:
    assert of_aws(server, **spec) == [
        "ok: EC2NodeClass gpu is there, by which Karpenter makes a node for each run"
    ]


def test_a_machine_of_another_cloud_than_the_node_class_is_told(server: ApiServer) -> None:
    node = NodeRequest(run="", gpus=1, instance_types=("g5.4xlarge",), timeout_seconds=0.0)
    settings = {"karpenter-node-class": "AKSNodeClass/gpu"}
    needs = Needs(workspace="phi", provider="karpenter", node=node, provider_settings=settings)
    assert messages(look(server, karpenter.nodes, needs=needs))[0] == (
        "problem: g5.4xlarge is a machine of aws, and AKSNodeClass gpu makes machines of azure"
    )


def test_every_node_pool_is_judged(server: ApiServer) -> None:
    rule = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["Other"]}
    server.objects[f"{POOLS}/good"] = node_pool("good")
    server.objects[f"{POOLS}/bad"] = node_pool("bad", requirements=[rule])
    said = found(server, karpenter_mode="nodepool")
    assert said == [
        f"ok: NodePool good brings {A10} for the pod that waits",
        f"info: NodePool bad: it does not make {A10}; it brings none for this run",
    ]
    del server.objects[f"{POOLS}/good"]
    assert found(server, karpenter_mode="nodepool") == [
        f"problem: NodePool bad: it does not make {A10}; it brings none for this run"
    ]
    del server.objects[f"{POOLS}/bad"]
    assert found(server, karpenter_mode="nodepool") == ["problem: the cluster has no NodePool"]


def test_other_providers_need_nothing_of_karpenter(server: ApiServer) -> None:
    assert messages(look(server, karpenter.nodes, needs=Needs(workspace="phi"))) == []
    assert messages(look(server, karpenter.nodes)) == []
