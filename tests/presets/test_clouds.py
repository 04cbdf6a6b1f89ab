"""Which cloud something belongs to."""

from __future__ import annotations

import pytest

from argotune.presets.clouds import (
    cloud_names,
    cloud_of_node_class,
    cloud_of_nodes,
    cloud_of_size,
)
from argotune.steps.nodes.karpenter.node_class import KNOWN_GROUPS


def test_three_clouds_are_known() -> None:
    assert cloud_names() == ("aws", "azure", "gcp")


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("g5.4xlarge", "aws"),
        ("Standard_ND96asr_A100_v4", "azure"),
        ("A2-HIGHGPU-1G", "gcp"),
        ("tower-1", ""),
    ],
)
def test_a_size_is_of_the_cloud_that_lists_it(name: str, cloud: str) -> None:
    assert cloud_of_size(name) == cloud


def test_every_node_class_that_may_leave_its_group_out_is_of_a_cloud() -> None:
    clouds = {kind: cloud_of_node_class(kind) for kind in KNOWN_GROUPS}
    assert clouds == {
        "AKSNodeClass": "azure",
        "EC2NodeClass": "aws",
        "GCENodeClass": "gcp",
        "KaitoNodeClass": "azure",
    }
    assert cloud_of_node_class("TestNodeClass") == ""


@pytest.mark.parametrize(
    ("provider_ids", "cloud"),
    [
        (["aws:///us-east-1a/i-0123"], "aws"),
        (["azure:///subscriptions/s/vm/0", "azure:///subscriptions/s/vm/1"], "azure"),
        (["gce://project/us-central1-a/node"], "gcp"),
        (["aws:///us-east-1a/i-0123", "azure:///subscriptions/s/vm/0"], ""),
        (["aws:///us-east-1a/i-0123", ""], ""),
        (["kind://docker/kind/node"], ""),
        ([], ""),
    ],
)
def test_nodes_are_of_the_one_cloud_that_all_their_ids_name(
    provider_ids: list[str], cloud: str
) -> None:
    assert cloud_of_nodes(provider_ids) == cloud
