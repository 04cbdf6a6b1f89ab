from __future__ import annotations

import pytest

from argotune.workflows.cli.checks import server
from argotune.workflows.cli.checks.finding import Finding, Level
from tests.workflows.cli.checks.cluster import SPACE, healthy, look, messages

ENFORCE = "pod-security.kubernetes.io/enforce"
NAMESPACE = f"/api/v1/namespaces/{SPACE}"


def test_version_host_and_user_are_told() -> None:
    cluster = healthy()
    (found,) = look(cluster, server.server)
    assert found.level is Level.OK
    assert found.message == f"Kubernetes v1.34.4 answers at {cluster.url} to jane"


def test_a_namespace_that_is_restricted() -> None:
    assert messages(look(healthy(), server.namespace)) == [
        "ok: namespace team-a enforces the Pod Security Standard restricted"
    ]


@pytest.mark.parametrize(
    ("labels", "standard"),
    [({}, "no Pod Security Standard"), ({ENFORCE: "baseline"}, "only baseline")],
)
def test_a_namespace_that_permits_more(labels: dict[str, str], standard: str) -> None:
    cluster = healthy()
    cluster.objects[NAMESPACE]["metadata"]["labels"] = labels
    assert look(cluster, server.namespace) == [
        Finding(
            level=Level.WARNING,
            message=f"namespace team-a enforces {standard}, and argotune's pods keep to restricted",
            advice="hold all other pods there to it too",
            command=f"kubectl label namespace team-a {ENFORCE}=restricted --overwrite",
        )
    ]


def test_a_namespace_that_is_not_there() -> None:
    cluster = healthy()
    del cluster.objects[NAMESPACE]
    (found,) = look(cluster, server.namespace)
    assert found.level is Level.PROBLEM
    assert found.message == "namespace team-a is not there; what is in it was not looked at"
    assert found.command == (
        "argotune install -n team-a --create-namespace --images-registry REGISTRY"
    )


def test_a_namespace_on_its_way_out() -> None:
    cluster = healthy()
    cluster.objects[NAMESPACE]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert messages(look(cluster, server.namespace)) == [
        "problem: namespace team-a is being deleted"
    ]
