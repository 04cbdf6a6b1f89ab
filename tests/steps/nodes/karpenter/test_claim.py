from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.node_class import KNOWN_GROUPS, NodeClass
from argotune.steps.nodes.provider import Placement
from tests.fakes.kube import Object
from tests.steps.nodes.karpenter.world import A100, NAME, RUN, START, request

SPOT = Placement(instance_type=A100, capacity_type="spot", zone="westeurope-2")


def test_a_claim_says_all_that_karpenter_needs() -> None:
    asked = request(labels={"apps": "phi"}, deadline=START + timedelta(seconds=7200.5))
    assert claims.manifest(asked, SPOT, NodeClass.parse("AKSNodeClass/gpu"), START) == {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {
            "name": NAME,
            "labels": {
                "apps": "phi",
                "argotune.dev/run": RUN,
                "argotune.dev/workflow": "phi-abc",
                "argotune.dev/namespace": "team",
                "argotune.dev/workspace": "phi",
                "argotune.dev/node": NAME,
            },
            "annotations": {
                "karpenter.sh/do-not-disrupt": "true",
                "argotune.dev/price-usd-per-hour": "3.673",
            },
        },
        "spec": {
            "nodeClassRef": {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "gpu"},
            "requirements": [
                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [A100]},
                {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [SPOT.zone]},
            ],
            "resources": {"requests": {"nvidia.com/gpu": "1", "ephemeral-storage": "200Gi"}},
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "terminationGracePeriod": "10m",
            "expireAfter": "7200s",
        },
    }


@pytest.mark.parametrize(
    ("node_class", "group", "machine"),
    [
        ("EC2NodeClass/gpu", "karpenter.k8s.aws", "g5.4xlarge"),
        ("GCENodeClass/gpu", "karpenter.k8s.gcp", "g2-standard-8"),
    ],
)
def test_a_claim_of_another_cloud_has_nothing_of_azures(
    node_class: str, group: str, machine: str
) -> None:
    asked = request(instance_types=(machine,), prices_usd_per_hour={machine: 1.5})
    placement = Placement(instance_type=machine, zone="z-1")
    manifest = claims.manifest(asked, placement, NodeClass.parse(node_class), START)
    assert manifest["spec"]["nodeClassRef"]["group"] == group
    assert manifest["spec"]["requirements"] == [
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [machine]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z-1"]},
    ]
    assert manifest["metadata"]["annotations"]["argotune.dev/price-usd-per-hour"] == "1.5"
    text = str(manifest).lower()
    assert not [word for word in ("azure", "kaito", "storage': '0") if word in text]


def test_kaitos_provisioner_gets_what_it_demands() -> None:
    manifest = claims.manifest(
        request(gpus=2),
        Placement(instance_type=A100),
        NodeClass.parse("KaitoNodeClass/default"),
        START,
    )
    assert manifest["spec"]["expireAfter"] == "Never"
    assert manifest["spec"]["resources"]["requests"] == {"nvidia.com/gpu": "2", "storage": "200Gi"}
    labels = manifest["metadata"]["labels"]
    assert labels["karpenter.sh/nodepool"] == "kaito"
    assert labels["kaito.sh/workspace"] == "phi"
    assert labels["kaito.sh/workspacenamespace"] == "team"
    pool = {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["kaito"]}
    assert pool in manifest["spec"]["requirements"]


def test_without_a_disk_size_the_cloud_chooses() -> None:
    manifest = claims.manifest(
        request(disk_gib=0), SPOT, NodeClass.parse("AKSNodeClass/gpu"), START
    )
    assert manifest["spec"]["resources"]["requests"] == {"nvidia.com/gpu": "1"}


def test_the_name_fits_an_azure_agent_pool_and_belongs_to_the_run() -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]{0,11}", claims.claim_name(RUN))
    assert claims.claim_name(RUN) == claims.claim_name(RUN) != claims.claim_name("another")


@pytest.mark.parametrize(
    "placement", [SPOT, Placement(instance_type=A100), Placement(instance_type="g5.xlarge")]
)
def test_the_placement_is_read_back_from_the_claim(placement: Placement) -> None:
    manifest = claims.manifest(request(), placement, NodeClass.parse("EC2NodeClass/gpu"), START)
    assert claims.placement_of(manifest) == placement


def test_the_first_condition_about_which_something_is_known_is_the_reason() -> None:
    def item(name: str, status: str, reason: str, message: str = "") -> Object:
        return {"type": name, "status": status, "reason": reason, "message": message}

    conditions = [
        item("Ready", "Unknown", "ReconcilingDependents"),
        item("Initialized", "Unknown", "ResourceNotRegistered", 'Resource "nvidia.com/gpu" ...'),
        item("Registered", "Unknown", "AwaitingReconciliation", "object is awaiting"),
        item("Launched", "True", "Launched"),
    ]
    claim = {"status": {"conditions": conditions}}
    expected = 'Initialized: ResourceNotRegistered: Resource "nvidia.com/gpu" ...'
    assert claims.reason_of(claim) == expected
    conditions[3] = item("Launched", "Unknown", "Draining", "Draining")
    assert claims.reason_of(claim) == "Launched: Draining"
    assert claims.reason_of({}) == ""


def test_a_claim_of_somebody_else_may_never_expire() -> None:
    claim: Object = {
        "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"expireAfter": "Never"},
    }
    assert claims.expires_at(claim) is None
    claim["spec"]["expireAfter"] = "3600s"
    assert claims.expires_at(claim) == datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_node_classes_of_known_kinds_need_no_group() -> None:
    assert KNOWN_GROUPS
    for kind, group in KNOWN_GROUPS.items():
        assert NodeClass.parse(f"{kind}/gpu") == NodeClass(group=group, kind=kind, name="gpu")
    own = NodeClass.parse("karpenter.example.com/GpuNodeClass/large.1")
    assert (own.group, str(own)) == ("karpenter.example.com", "GpuNodeClass large.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "empty; give GROUP/KIND/NAME, or KIND/NAME of AKSNodeClass, EC2NodeClass, "
            "GCENodeClass, KaitoNodeClass",
        ),
        (
            "gpu",
            "'gpu' is not GROUP/KIND/NAME, or KIND/NAME of AKSNodeClass, EC2NodeClass, "
            "GCENodeClass, KaitoNodeClass",
        ),
        (
            "a/b/C/d",
            "'a/b/C/d' is not GROUP/KIND/NAME, or KIND/NAME of AKSNodeClass, EC2NodeClass, "
            "GCENodeClass, KaitoNodeClass",
        ),
        ("GpuClass/a", "'GpuClass/a' lacks the API group of GpuClass; give GROUP/GpuClass/a"),
        (
            "AKSNodeClass/A B",
            "'AKSNodeClass/A B' is not GROUP/KIND/NAME, or KIND/NAME of AKSNodeClass, "
            "EC2NodeClass, GCENodeClass, KaitoNodeClass",
        ),
    ],
)
def test_what_is_no_node_class_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        NodeClass.parse(text)
