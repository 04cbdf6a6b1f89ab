"""argotune install and uninstall with the operator, against an API server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.apply import ApiServer, Refusal
from tests.workflows.cli.api import RESTRICTED, api_server
from tests.workflows.cli.command import Answer, Argotune

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workspaces.kaito.sh"
CRD_NAME = "customresourcedefinition.apiextensions.k8s.io/workspaces.kaito.sh"
MONITORING = "/apis/monitoring.coreos.com/v1"
MONITOR = "servicemonitor.monitoring.coreos.com/argotune-operator"
KAITO = "/apis/kaito.sh/v1beta1/namespaces"
REGISTRY = "registry.example.org/argotune"
OURS = {"app.kubernetes.io/managed-by": "argotune-install"}
OPERATORS = {**OURS, "app.kubernetes.io/name": "argotune-operator"}
OBJECTS = [
    "serviceaccount/argotune-operator",
    "role.rbac.authorization.k8s.io/argotune-operator",
    "rolebinding.rbac.authorization.k8s.io/argotune-operator",
    "clusterrole.rbac.authorization.k8s.io/argotune-operator-team-a",
    "clusterrolebinding.rbac.authorization.k8s.io/argotune-operator-team-a",
    "clusterrole.rbac.authorization.k8s.io/argotune-workspaces-view-team-a",
    "clusterrole.rbac.authorization.k8s.io/argotune-workspaces-edit-team-a",
    "networkpolicy.networking.k8s.io/argotune-operator",
    "service/argotune-operator",
    "deployment.apps/argotune-operator",
    "poddisruptionbudget.policy/argotune-operator",
]
OF_ALL = [
    "clusterrole.rbac.authorization.k8s.io/argotune-cluster-operator-team-a",
    "clusterrolebinding.rbac.authorization.k8s.io/argotune-cluster-operator-team-a",
]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(monkeypatch, tmp_path) as server:
        yield server


def install(argotune: Argotune, *flags: str) -> Answer:
    return argotune("install", "--images-registry", REGISTRY, "--no-digests", *flags)


def made(answer: Answer, outcome: str = "created") -> list[str]:
    lines = answer.out.splitlines()
    return [line.partition(" ")[0] for line in lines if line.endswith(f" {outcome}")]


def arguments(api: ApiServer) -> list[str]:
    return container(api)["args"][1:]


def container(api: ApiServer) -> Any:
    (found,) = api.named("deployments/argotune-operator")["spec"]["template"]["spec"]["containers"]
    return found


def add_workspace(api: ApiServer, namespace: str, name: str, **metadata: Any) -> str:
    path = f"{KAITO}/{namespace}/workspaces/{name}"
    found = {"namespace": namespace, "resourceVersion": "1", **metadata}
    api.put(path, {"kind": "Workspace", "metadata": found})
    return path


def test_without_the_flag_there_is_none_and_nobody_asks_for_the_definition(
    argotune: Argotune, api: ApiServer
) -> None:
    answer = install(argotune)
    assert answer.code == 0
    assert not [name for name in made(answer) if "operator" in name or name == CRD_NAME]
    assert not [request for request in api.requests if "customresource" in request]


def test_it_comes_last_with_the_definition_before_it(argotune: Argotune, api: ApiServer) -> None:
    answer = install(argotune, "--operator")
    assert answer.code == 0
    assert made(answer)[-len(OBJECTS) - 1 :] == [CRD_NAME, *OBJECTS]
    assert arguments(api) == ["--namespace=$(NAMESPACE)"]
    assert container(api)["image"] == f"{REGISTRY}/argotune-operator:0.1.0"
    assert "operator: none -> namespace" in answer.out.splitlines()


def test_it_stays_as_it_is_where_no_flag_speaks_of_it(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--operator-all-namespaces")
    before = arguments(api)
    answer = argotune("install")
    assert (answer.code, made(answer)) == (0, [])
    assert {CRD_NAME, *OBJECTS, *OF_ALL} <= {*made(answer, "unchanged")}
    assert arguments(api) == before


def test_for_all_namespaces_it_has_rights_in_all(argotune: Argotune, api: ApiServer) -> None:
    answer = install(argotune, "--operator-all-namespaces")
    assert {*OBJECTS, *OF_ALL} <= {*made(answer)}
    assert arguments(api) == ["--all-namespaces", "--lease-namespace=$(NAMESPACE)"]
    binding = api.named("clusterrolebindings/argotune-cluster-operator-team-a")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "argotune-operator", "namespace": "team-a"}
    ]
    assert binding["roleRef"]["name"] == "argotune-cluster-operator-team-a"


def test_beside_kaito_the_definition_is_untouched_and_the_annotation_chooses(
    argotune: Argotune, api: ApiServer
) -> None:
    api.put(CRD, {"kind": "CustomResourceDefinition", "spec": {"group": "kaito.sh"}}, "helm")
    before = api.objects[CRD]
    answer = install(argotune, "--operator")
    assert answer.code == 0
    assert (
        f"{CRD_NAME} unchanged, for it is not of argotune install: the operator works on Workspaces"
        ' with the annotation argotune.dev/managed: "true" alone'
    ) in answer.out.splitlines()
    assert arguments(api) == ["--namespace=$(NAMESPACE)", "--managed-only"]
    assert api.objects[CRD] == before
    assert argotune("uninstall").code == 0
    assert api.objects[CRD] == before


def test_what_an_administrator_alone_may_is_refused_before_anything_is_made(
    argotune: Argotune, api: ApiServer
) -> None:
    for flag, problem in (
        ("--operator", "the definition workspaces.kaito.sh is not there"),
        ("--operator-all-namespaces", "takes ClusterRoles"),
    ):
        answer = install(argotune, flag, "--no-cluster-roles")
        assert answer.code == 3
        assert answer.err.startswith(f"error: {flag}: {problem}")
    assert api.names() == ["namespaces/team-a"]
    install(argotune, "--operator")
    assert install(argotune, "--operator", "--no-cluster-roles").code == 0


def test_contrary_flags_are_refused(argotune: Argotune, api: ApiServer) -> None:
    answer = install(argotune, "--no-operator", "--operator-all-namespaces")
    assert answer.code == 2
    assert "both are given; keep one" in answer.err


def test_a_dry_run_keeps_nothing_and_tries_all(argotune: Argotune, api: ApiServer) -> None:
    answer = install(argotune, "--operator", "--dry-run")
    assert {CRD_NAME, *OBJECTS} <= {*made(answer, "created (dry run)")}
    assert api.names() == ["namespaces/team-a"]


def test_printed_objects_have_the_definition_with_a_warning(argotune: Argotune) -> None:
    answer = install(argotune, "--operator", "-o", "yaml", "-n", "team-b")
    assert "do not apply it where Kaito has its own" in answer.err
    found = list(yaml.safe_load_all(answer.out))
    assert [item["metadata"]["name"] for item in found if "operator" in item["metadata"]["name"]]
    (definition,) = (item for item in found if item["kind"] == "CustomResourceDefinition")
    assert "namespace" not in definition["metadata"]


def test_the_operator_that_goes_lets_its_workspaces_go(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--operator-all-namespaces")
    finalizers = ["example.com/other", "argotune.dev/operator"]
    api.add_namespace("team-b")
    own = add_workspace(api, "team-a", "one", finalizers=finalizers)
    other = add_workspace(api, "team-b", "two", finalizers=finalizers)
    answer = argotune("install", "--operator")
    assert "workspace.kaito.sh/two of namespace team-b is held no more" in answer.out
    assert api.objects[other]["metadata"]["finalizers"] == ["example.com/other"]
    assert api.objects[own]["metadata"]["finalizers"] == finalizers
    answer = argotune("install", "--no-operator")
    assert {*OBJECTS} <= {*made(answer, "pruned")}
    assert "workspace.kaito.sh/one of namespace team-a is held no more" in answer.out
    assert api.objects[own]["metadata"]["finalizers"] == ["example.com/other"]
    assert CRD in api.objects


def test_uninstall_keeps_the_definition_while_there_are_workspaces(
    argotune: Argotune, api: ApiServer
) -> None:
    install(argotune, "--operator")
    path = add_workspace(api, "team-b", "two", finalizers=["argotune.dev/operator"])
    answer = argotune("uninstall")
    assert answer.code == 0
    assert "deployment.apps/argotune-operator deleted" in answer.out
    assert answer.out.splitlines()[-1].endswith(
        "definition workspaces.kaito.sh, for its deletion would delete all Workspaces (kubectl"
        " delete crd workspaces.kaito.sh)"
    )
    # Another namespace's operator holds it.
    assert api.objects[path]["metadata"]["finalizers"] == ["argotune.dev/operator"]
    del api.objects[path]
    assert f"{CRD_NAME} deleted" in argotune("uninstall").out
    assert CRD not in api.objects


def test_uninstall_keeps_the_definition_for_the_operator_of_another_namespace(
    argotune: Argotune, api: ApiServer
) -> None:
    install(argotune, "--operator")
    other = "/apis/apps/v1/namespaces/team-b/deployments/argotune-operator"
    metadata = {"namespace": "team-b", "labels": OPERATORS}
    api.put(other, {"metadata": metadata, "spec": {}}, "argotune-install")
    assert "for the operator of namespace team-b uses it" in argotune("uninstall").out
    assert CRD in api.objects


def test_who_may_not_read_definitions_uninstalls_the_rest(
    argotune: Argotune, api: ApiServer
) -> None:
    install(argotune)
    api.refusals.append(Refusal("GET", "customresourcedefinitions", 403, "forbidden"))
    answer = argotune("uninstall")
    assert answer.code == 0


def test_a_namespace_that_is_made_gets_it_too(argotune: Argotune, api: ApiServer) -> None:
    answer = install(argotune, "--operator", "-n", "new", "--create-namespace")
    assert answer.code == 0
    assert api.named("namespaces/new")["metadata"]["labels"] == RESTRICTED
    assert "deployment.apps/argotune-operator" in made(answer)


def know_monitors(api: ApiServer) -> None:
    """Have the cluster know the kinds of Prometheus' operator."""
    api.put(MONITORING, {"kind": "APIResourceList", "resources": [{"name": "servicemonitors"}]})


def test_prometheus_is_told_of_its_figures_where_it_can_be(
    argotune: Argotune, api: ApiServer
) -> None:
    assert MONITOR not in made(install(argotune, "--operator"))
    know_monitors(api)
    answer = install(argotune, "--operator", "--service-monitor-labels", "release=prometheus")
    assert MONITOR in made(answer)
    monitor = api.named("servicemonitors/argotune-operator")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    service = api.named("services/argotune-operator")
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    (endpoint,), (port,) = monitor["spec"]["endpoints"], service["spec"]["ports"]
    (container_port,) = container(api)["ports"]
    assert endpoint["port"] == port["name"]
    assert port["targetPort"] == container_port["name"]


@pytest.mark.parametrize(
    "flags", [("--no-operator",), ("--service-monitor", "none")], ids=["operator", "monitor"]
)
def test_the_monitor_goes_when_it_is_not_wanted(
    argotune: Argotune, api: ApiServer, flags: tuple[str, ...]
) -> None:
    know_monitors(api)
    assert MONITOR in made(install(argotune, "--operator"))
    assert MONITOR in made(argotune("install", *flags), "pruned")


def test_the_monitor_goes_with_its_operator(argotune: Argotune, api: ApiServer) -> None:
    know_monitors(api)
    install(argotune, "--operator")
    answer = argotune("uninstall")
    assert answer.code == 0
    assert {MONITOR, "service/argotune-operator"} <= {*made(answer, "deleted")}


def test_who_has_no_operator_needs_no_right_to_monitors(argotune: Argotune, api: ApiServer) -> None:
    know_monitors(api)
    api.refusals.append(Refusal("GET", "/servicemonitors", 403, "servicemonitors is forbidden"))
    assert install(argotune).code == 0
    assert argotune("uninstall").code == 0
