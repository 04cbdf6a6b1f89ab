"""An operator before a fake API server, without kopf: a test says when it looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.kube import Cluster, serving
from tests.workflows.cli.conftest import install, storage_class
from tests.workflows.operator.acting import NAMESPACE, Acting
from tests.workflows.operator.granted import IN_NAMESPACE, OF_CLUSTER, used


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster with argotune in the namespace, and the Secret that Workspaces name.

    In the end it is asked whether RBAC would have let all requests pass.
    """
    cluster = Cluster()
    install(cluster, NAMESPACE)
    cluster.put(storage_class("standard", default=True))
    metadata = {"name": "my-secret", "namespace": NAMESPACE}
    cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
    yield cluster
    assert used(cluster.requests) <= IN_NAMESPACE | OF_CLUSTER


@pytest.fixture
def acting(cluster: Cluster) -> Iterator[Acting]:
    with serving(cluster) as kube:
        yield Acting(cluster, kube)
