"""The cluster that KUBECONFIG names, and namespaces on it as a careful platform engineer makes
them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.cluster import Cluster, api_proxy, run
from tests.e2e.site import Site, installed
from tests.e2e.stand_in import stand_in
from tests.e2e.stories import stories, stories_last, stories_told, wanted

__all__ = ["Cluster", "stories", "stories_told"]

_MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: executor, namespace: {name}}}
rules:
  - apiGroups: [argoproj.io]
    resources: [workflowtaskresults]
    verbs: [create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: executor, namespace: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: executor}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {name}}}]
"""


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    name = os.environ.get("KUBECONFIG")
    if not name:
        pytest.fail("KUBECONFIG is not set: `make e2e` needs a cluster with Argo Workflows")
    return Path(name)


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Iterator[httpx.Client]:
    """The API server, logged in."""
    with api_proxy() as client:
        yield client


@pytest.fixture(scope="session")
def cluster(api: httpx.Client) -> Iterator[Cluster]:
    """A namespace that enforces the restricted Pod Security Standard; it goes at the end."""
    with namespace_of_its_own(api) as found:
        yield found


@contextmanager
def namespace_of_its_own(api: httpx.Client) -> Iterator[Cluster]:
    """Make such a namespace until the block ends."""
    namespace = _new_name()
    run("kubectl", "apply", "-f", "-", text=_MANIFESTS.format(name=namespace))
    try:
        yield Cluster(namespace, api)
    finally:
        run("kubectl", "delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="session")
def stand_ins(cluster: Cluster) -> None:
    """WorkflowTemplate `finetune` whose steps do nothing."""
    cluster.kubectl("apply", "-f", "-", text=json.dumps(stand_in()))


@pytest.fixture(scope="session")
def site(api: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A namespace in which argotune is installed; it goes at the end."""
    namespace = _new_name()
    try:
        with installed(Cluster(namespace, api), tmp_path_factory.mktemp("site")) as found:
            yield found
    finally:
        run("kubectl", "delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = stories_last(items)


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest) -> None:
    """The stories go on beside the tests that have none, from the first test on."""
    if wanted(request.session.items):
        request.getfixturevalue("stories")


def _new_name() -> str:
    # With a letter first: as a label's value in YAML, 6170e7 is a number.
    return f"argotune-e2e-n{secrets.token_hex(3)}"
