"""An operator before a fake API server, without kopf: a test says when it looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.conftest import install, storage_class
from tests.workflows.operator.acting import NAMESPACE, Acting


@pytest.fixture
def cluster() -> Cluster:
    """A cluster with argotune in the namespace, and the Secret that Workspaces name."""
    cluster = Cluster()
    install(cluster, NAMESPACE)
    cluster.put(storage_class("standard", default=True))
    metadata = {"name": "my-secret", "namespace": NAMESPACE}
    cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
    return cluster


@pytest.fixture
def acting(cluster: Cluster) -> Iterator[Acting]:
    with serving(cluster) as kube:
        yield Acting(cluster, kube)
