from __future__ import annotations

from typing import Any

import pytest

from argotune.workflows.cli.checks import storage
from argotune.workflows.cli.checks.storage_classes import is_shared
from argotune.workflows.cli.checks.subject import Needs
from tests.fakes.api_server import ApiServer
from tests.workflows.cli.checks.cluster import (
    RWX,
    SPACE,
    healthy,
    look,
    manifest,
    messages,
    node,
    storage_class,
)

CLAIM = f"/api/v1/namespaces/{SPACE}/persistentvolumeclaims/argotune-models"
AGAIN = (
    "kubectl -n team-a delete persistentvolumeclaim argotune-models; "
    "argotune install -n team-a --models-storage-class {}"
)


def with_claim(**changes: Any) -> ApiServer:
    cluster = healthy()
    claim = cluster.objects[CLAIM]
    claim["spec"] |= changes.get("spec", {})
    claim["status"] = {"phase": changes.get("phase", "Pending")}
    return cluster


def event(message: str, at: str, kind: str = "Warning") -> dict[str, Any]:
    return {
        **manifest("v1", "Event", at, namespace=SPACE),
        "involvedObject": {"kind": "PersistentVolumeClaim", "name": "argotune-models"},
        "type": kind,
        "message": message,
        "lastTimestamp": at,
    }


@pytest.mark.parametrize(
    ("provisioner", "shared"),
    [
        ("file.csi.azure.com", True),
        ("rook-ceph.cephfs.csi.ceph.com", True),
        ("rook-ceph.rbd.csi.ceph.com", False),
        ("disk.csi.azure.com", False),
        ("rancher.io/local-path", False),
        ("example.com/new", None),
    ],
)
def test_what_provisioners_can_do(provisioner: str, shared: bool | None) -> None:
    assert is_shared(provisioner) is shared


def test_the_volume_of_a_run() -> None:
    assert messages(look(healthy(), storage.run_volume)) == [
        "ok: storage class standard, the default, (ebs.csi.aws.com) makes the volume of a run with "
        "its first pod"
    ]


def test_the_newest_of_several_default_classes() -> None:
    cluster = healthy()
    newer = storage_class("newer", "example.com/disk", default=True)
    newer["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    cluster.put(newer)
    assert messages(look(cluster, storage.run_volume)) == [
        "ok: storage class newer, the default, (example.com/disk) makes the volume of a run at once"
    ]


def test_no_default_class() -> None:
    cluster = healthy()
    cluster.put(storage_class("standard", "ebs.csi.aws.com"))
    cluster.put(storage_class("fast", "ebs.csi.aws.com"))
    (found,) = look(cluster, storage.run_volume)
    assert (found.level, found.message) == (
        "problem",
        "the cluster has no default storage class; there are: fast, standard",
    )


def test_the_class_of_the_installed_template_that_is_not_there() -> None:
    cluster = healthy()
    templates = {item["metadata"]["name"]: item for item in cluster.of_kind("WorkflowTemplate")}
    template = templates["finetune"]
    template["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = "gone"
    assert messages(look(cluster, storage.run_volume)) == [
        "problem: storage class gone of the run's volume is not there; there are: standard"
    ]


def test_a_disk_that_may_be_in_another_zone() -> None:
    cluster = healthy()
    cluster.put(storage_class("standard", "ebs.csi.aws.com", default=True))
    for zone in ("a", "b"):
        cluster.put(node(f"node-{zone}", labels={"topology.kubernetes.io/zone": zone}))
    assert messages(look(cluster, storage.run_volume)) == [
        "warning: storage class standard, the default, (ebs.csi.aws.com) makes a run's disk at "
        "once, in any of the zones a, b, and a GPU node of another zone cannot take it"
    ]


def test_a_claim_that_is_bound() -> None:
    assert messages(look(healthy(), storage.models_claim)) == [
        "ok: claim argotune-models is bound, ReadWriteMany, 200Gi"
    ]


def test_a_claim_of_one_node() -> None:
    cluster = with_claim(spec={"accessModes": ["ReadWriteOnce"]}, phase="Bound")
    assert messages(look(cluster, storage.models_claim)) == [
        "info: claim argotune-models is ReadWriteOnce, enough for a cluster of one node"
    ]
    cluster.put(node("node-2"))
    cluster.put(storage_class(RWX, "file.csi.azure.com"))
    (found,) = look(cluster, storage.models_claim)
    assert (found.level, found.message) == (
        "problem",
        "claim argotune-models is ReadWriteOnce, not ReadWriteMany: pods on two nodes wait for it "
        "for ever",
    )
    assert found.command == AGAIN.format(RWX)


def test_a_claim_of_one_node_that_waits() -> None:
    cluster = with_claim(spec={"accessModes": ["ReadWriteOnce"]})
    cluster.put(storage_class(RWX, "disk.csi.azure.com", late=True))
    assert messages(look(cluster, storage.models_claim)) == [
        "info: claim argotune-models waits for its first pod, as class shared has it"
    ]


def test_a_claim_that_cannot_be_made_says_the_newest_event() -> None:
    cluster = with_claim()
    cluster.put(event("old", "2026-01-01T00:00:01Z"))
    cluster.put(event("only ReadWriteOnce\nis possible", "2026-01-01T00:00:02Z"))
    cluster.put(event("fine", "2026-01-01T00:00:03Z", "Normal"))
    assert messages(look(cluster, storage.models_claim)) == [
        "problem: claim argotune-models is not bound: only ReadWriteOnce is possible"
    ]


@pytest.mark.parametrize(
    ("provisioner", "said"),
    [
        (
            "file.csi.azure.com",
            "info: claim argotune-models waits for its first pod, as class shared has it",
        ),
        (
            "disk.csi.azure.com",
            "problem: claim argotune-models waits for its first pod, and disk.csi.azure.com of "
            "class shared cannot be ReadWriteMany",
        ),
    ],
)
def test_a_claim_that_waits_for_its_first_pod(provisioner: str, said: str) -> None:
    cluster = with_claim()
    cluster.put(storage_class(RWX, provisioner, late=True))
    assert messages(look(cluster, storage.models_claim)) == [said]


@pytest.mark.parametrize(
    ("spec", "phase", "said"),
    [
        (
            {"storageClassName": None},
            "Pending",
            "problem: claim argotune-models is not bound: it names no storage class and the "
            "cluster has no default",
        ),
        (
            {},
            "Pending",
            "problem: claim argotune-models is not bound: storage class shared is not there; "
            "there are: standard",
        ),
        ({}, "Lost", "problem: claim argotune-models is Lost: its volume is gone"),
    ],
)
def test_a_claim_that_is_not_well(spec: dict[str, None], phase: str, said: str) -> None:
    assert messages(look(with_claim(spec=spec, phase=phase), storage.models_claim)) == [said]


@pytest.mark.parametrize(
    ("provisioner", "said", "flag"),
    [
        (
            "file.csi.azure.com",
            "class standard can be ReadWriteMany, as it must be",
            " --models-storage-class standard",
        ),
        (
            "rancher.io/local-path",
            "and no storage class is known to give ReadWriteMany, as it must be",
            " --models-storage-class CLASS",
        ),
        (
            "example.com/new",
            "whether class standard (example.com/new) can be ReadWriteMany is not known",
            "",
        ),
    ],
)
def test_a_claim_that_is_not_there(provisioner: str, said: str, flag: str) -> None:
    cluster = healthy()
    del cluster.objects[CLAIM]
    cluster.put(storage_class("standard", provisioner, default=True))
    (found,) = look(cluster, storage.models_claim)
    assert found.level == "problem"
    assert found.message.startswith("claim argotune-models for the weights is not there")
    assert found.message.endswith(said)
    assert found.command == f"argotune install -n team-a{flag}"


def test_a_claim_that_the_workspace_names() -> None:
    found = look(healthy(), storage.models_claim, needs=Needs(models_claim="mine"))
    assert messages(found) == [
        "problem: claim mine for the weights, which the workspace names, is not there"
    ]


@pytest.mark.parametrize(
    ("phase", "mode", "finding"),
    [
        ("Bound", "ReadWriteMany", "ok: claim rows for the data is bound, ReadWriteMany"),
        ("Bound", "ReadOnlyMany", "ok: claim rows for the data is bound, ReadOnlyMany"),
        (
            "Bound",
            "ReadWriteOnce",
            "info: claim rows for the data is bound, ReadWriteOnce: a run waits while a pod on"
            " another node holds it, and its disk must be in the zone of the run's",
        ),
        (
            "Pending",
            "ReadWriteOnce",
            "info: claim rows for the data is not bound yet; its volume may come with the first"
            " pod",
        ),
        ("Lost", "ReadWriteOnce", "problem: claim rows for the data is Lost: its volume is gone"),
    ],
)
def test_claims_that_the_workspace_reads_from_and_writes_to(
    phase: str, mode: str, finding: str
) -> None:
    cluster = healthy()
    claim = manifest("v1", "PersistentVolumeClaim", "rows", namespace=SPACE)
    cluster.put({**claim, "spec": {"accessModes": [mode]}, "status": {"phase": phase}})
    needs = Needs(arguments={"data-claim": "rows", "output-claim": "adapters"})
    assert messages(look(cluster, storage.named_claims, needs=needs)) == [
        finding,
        "problem: claim adapters for copies of adapters, which the workspace names, is not there",
    ]
    assert look(cluster, storage.named_claims, needs=Needs()) == []


def test_a_claim_of_which_nobody_says_why_it_is_not_bound() -> None:
    cluster = with_claim()
    cluster.put(storage_class("shared", "example.com/new"))
    assert messages(look(cluster, storage.models_claim)) == [
        "unknown: claim argotune-models is not bound yet, and no event says why"
    ]
