from __future__ import annotations

import copy
import functools
from importlib.metadata import version
from typing import Any

from argotune.workflows.cli.checks.operator import operator
from argotune.workflows.cli.installation.objects import MANAGER, objects
from argotune.workflows.cli.installation.operator import Scope
from argotune.workflows.cli.installation.settings import Settings
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import REGISTRY, SPACE, healthy, look, manifest, messages

API = "/apis/kaito.sh/v1beta1"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workspaces.kaito.sh"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{SPACE}/deployments/argotune-operator"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/argotune-operator"
RUNS = (
    "ok: the operator of this namespace runs, 2 of 2 pods of argotune-operator:0.1.0;"
    " argotune-operator-1 has the lease and works"
)
DEFINED = f"ok: the definition workspaces.kaito.sh is that of argotune {version('argotune')}"


@functools.cache
def _objects(scope: Scope) -> list[Object]:
    return objects(Settings(images_registry=REGISTRY, operator=scope), SPACE)


def operated(*, scope: Scope = "namespace", space: str = SPACE) -> ApiServer:
    """A cluster in which the operator runs, and Workspace one is there."""
    cluster = healthy()
    cluster.discovery[API] = {"kind": "APIResourceList", "resources": [{"name": "workspaces"}]}
    for item in copy.deepcopy(_objects(scope)):
        if item["kind"] == "CustomResourceDefinition" or (
            item["kind"] == "Deployment" and item["metadata"]["name"] == "argotune-operator"
        ):
            item["metadata"]["managedFields"] = [{"manager": MANAGER}]
            if item["kind"] == "Deployment":
                item["metadata"]["namespace"] = space
                item["status"] = {"availableReplicas": 2}
            cluster.put(item)
    cluster.put(
        {
            **manifest("coordination.k8s.io/v1", "Lease", "argotune-operator", namespace=space),
            "spec": {"holderIdentity": "argotune-operator-1"},
        }
    )
    cluster.put(workspace("one"))
    return cluster


def workspace(name: str, **annotations: str) -> Object:
    return manifest("kaito.sh/v1beta1", "Workspace", name, namespace=SPACE, annotations=annotations)


def arguments(cluster: ApiServer) -> Any:
    return cluster.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["args"]


def test_a_cluster_without_the_kind_and_the_operator_has_no_fault() -> None:
    assert look(healthy(), operator) == []


def test_an_operator_that_works_on_everything() -> None:
    assert messages(look(operated(), operator)) == [
        RUNS,
        DEFINED,
        "ok: the operator works on all 1 Workspaces of the namespace",
    ]


def test_an_operator_of_another_namespace_works_on_this_one_too() -> None:
    cluster = operated(scope="all", space="platform")
    assert messages(look(cluster, operator)) == [
        DEFINED,
        "ok: the operator works on all 1 Workspaces of the namespace",
    ]
    cluster.forbidden = {"list deployments"}
    assert messages(look(cluster, operator))[1] == (
        "unknown: who works on Workspaces one: unknown, it takes the right to list deployments"
        " in the whole cluster"
    )


def test_pods_that_are_not_there_and_a_lease_that_nobody_has() -> None:
    cluster = operated()
    cluster.objects[LEASE]["spec"]["holderIdentity"] = ""
    assert messages(look(cluster, operator))[0] == (
        "warning: the operator of this namespace runs, 2 of 2 pods of argotune-operator:0.1.0, and"
        " none of them has the Lease argotune-operator, so none works"
    )
    cluster.objects[DEPLOYMENT]["status"] = {}
    (found, *_) = look(cluster, operator)
    assert (found.level, found.command) == (
        "problem",
        f"kubectl -n {SPACE} describe pods -l app.kubernetes.io/name=argotune-operator",
    )


def test_an_image_that_is_not_that_of_the_installation() -> None:
    cluster = operated()
    containers = cluster.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "registry.test/argotune/argotune-operator:0.0.9"
    assert messages(look(cluster, operator))[1] == (
        "warning: the operator's image is registry.test/argotune/argotune-operator:0.0.9, and that"
        " of the installation registry.test/argotune/argotune-operator:0.1.0"
    )


def test_kaitos_definition_of_which_the_operator_knows_or_does_not() -> None:
    cluster = operated()
    cluster.objects[CRD]["metadata"]["managedFields"] = [{"manager": "helm"}]
    cluster.put(workspace("two", **{"argotune.dev/managed": "true"}))
    _, defined, told, works = look(cluster, operator)
    assert (defined.level, told.level, works.level) == ("info", "warning", "ok")
    assert told.message == (
        "the operator was told that the definition workspaces.kaito.sh is argotune's"
    )
    arguments(cluster).append("--managed-only")
    _, defined, left = messages(look(cluster, operator))
    assert defined.startswith("info: the definition workspaces.kaito.sh is not of argotune install")
    assert left.startswith("info: the operator leaves Workspaces one alone")


def test_workspaces_that_nobody_runs() -> None:
    cluster = operated()
    del cluster.objects[DEPLOYMENT]
    _, found = look(cluster, operator)
    assert (found.level, found.message, found.command) == (
        "warning",
        "no operator of argotune works on Workspaces one",
        f"argotune install -n {SPACE} --operator",
    )


def test_an_operator_whose_definition_was_deleted() -> None:
    cluster = operated()
    del cluster.discovery[API]
    _, found = look(cluster, operator)
    assert found.level == "problem"


def test_who_may_not_read_definitions_is_told_the_rest() -> None:
    cluster = operated()
    cluster.forbidden = {"get customresourcedefinitions"}
    assert [found.level for found in look(cluster, operator)] == ["ok", "unknown", "ok"]
