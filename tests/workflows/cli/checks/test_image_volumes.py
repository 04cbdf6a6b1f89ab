from __future__ import annotations

import pytest

from argotune.steps.cluster.errors import ApiRefusal
from argotune.workflows.cli.checks import image_volumes
from tests.workflows.cli.checks.cluster import healthy, look, messages, node


def test_a_cluster_that_mounts_images() -> None:
    cluster = healthy()
    cluster.put(node("crio", runtime="cri-o://1.31.0"))
    cluster.put(node("other", runtime="unheard-of"))
    assert messages(look(cluster, image_volumes.image_volumes)) == [
        "ok: pods can mount the adapter's image as a volume, as far as API server and nodes tell"
    ]
    assert cluster.of_kind("Pod") == []


def test_an_api_server_without_the_feature() -> None:
    cluster = healthy()
    cluster.image_volumes = False
    (found,) = look(cluster, image_volumes.image_volumes)
    assert (found.level, found.message) == (
        "info",
        "the API server takes no image volumes (spec.volumes[0]: Required value: must specify a "
        "volume type)",
    )
    assert "deploy copies the adapter" in found.advice


def test_nodes_that_are_too_old() -> None:
    cluster = healthy()
    cluster.put(node("old-2", runtime="containerd://2.0.5"))
    cluster.put(node("old-1", runtime="containerd://1.7.24"))
    assert messages(look(cluster, image_volumes.image_volumes)) == [
        "info: the container runtime of nodes mounts no images: old-1 (containerd://1.7.24), "
        "old-2 (containerd://2.0.5)"
    ]


def test_another_refusal_says_nothing_of_image_volumes() -> None:
    cluster = healthy()
    cluster.refusals["POST pods"] = (403, "exceeded quota: pods=0")
    with pytest.raises(ApiRefusal, match="exceeded quota"):
        look(cluster, image_volumes.image_volumes)
