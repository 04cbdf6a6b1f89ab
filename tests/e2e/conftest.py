"""A namespace on the cluster that KUBECONFIG names, as a careful platform engineer makes it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


class Cluster:
    """kubectl and argo, each call with a timeout, in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return _run("kubectl", f"--namespace={self.namespace}", *arguments, text=text)

    def workflows(self) -> list[dict[str, Any]]:
        items = json.loads(self.kubectl("get", "workflows", "-o", "json"))["items"]
        assert isinstance(items, list)
        return items


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    name = os.environ.get("KUBECONFIG")
    if not name:
        pytest.fail("KUBECONFIG is not set: `make e2e` needs a cluster with Argo Workflows")
    return Path(name)


@pytest.fixture(scope="session")
def cluster(kubeconfig: Path) -> Iterator[Cluster]:
    """A namespace that enforces the restricted Pod Security Standard; it goes at the end."""
    namespace = f"argotune-e2e-{secrets.token_hex(3)}"
    _run("kubectl", "apply", "-f", "-", text=_MANIFESTS.format(name=namespace))
    yield Cluster(namespace)
    _run("kubectl", "delete", "namespace", namespace, "--wait=false")


def _run(*command: str, text: str | None = None) -> str:
    result = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout
