from __future__ import annotations

from typing import Any

import pytest

from argotune.workflows.cli.checks import controller as checks
from tests.fakes.api_server import ApiServer
from tests.fakes.http import file_server
from tests.workflows.cli.checks.cluster import (
    SPACE,
    controller,
    healthy,
    look,
    manifest,
    messages,
    node,
)

DEPLOYMENT = "/apis/apps/v1/namespaces/argo/deployments/workflow-controller"
HOLES = (
    "has holes that {} closes: who may submit gets round templateReferencing: Strict "
    "(CVE-2026-42296), and one annotation of a pod stops the controller (CVE-2026-40886)"
)


def without_controller() -> ApiServer:
    cluster = healthy()
    del cluster.objects[DEPLOYMENT]
    return cluster


def test_a_controller_that_runs() -> None:
    assert messages(look(healthy(), checks.running)) == [
        "ok: Argo's controller argo/workflow-controller runs, and takes Workflows of team-a"
    ]


def test_a_controller_of_the_helm_chart_is_found_by_its_label() -> None:
    cluster = without_controller()
    chart = controller("--configmap=other-configmap")
    labels = {"app.kubernetes.io/component": "workflow-controller"}
    chart["metadata"] |= {"name": "argo-workflows-workflow-controller", "labels": labels}
    cluster.put(chart)
    (found,) = look(cluster, checks.running)
    assert "argo/argo-workflows-workflow-controller runs" in found.message


def test_a_controller_without_a_pod() -> None:
    cluster = healthy()
    cluster.objects[DEPLOYMENT]["status"] = {}
    (found,) = look(cluster, checks.running)
    assert (found.level, found.message) == (
        "problem",
        "Argo's controller argo/workflow-controller has no pod that is ready",
    )
    assert found.command == "kubectl -n argo describe deployment workflow-controller"


@pytest.mark.parametrize(
    ("arguments", "watched"),
    [
        (("--namespaced",), "argo"),
        (("--namespaced", "--managed-namespace", "other"), "other"),
        (("--namespaced=true", "--managed-namespace=other"), "other"),
    ],
)
def test_a_controller_of_another_namespace(arguments: tuple[str, ...], watched: str) -> None:
    cluster = healthy()
    cluster.put(controller(*arguments))
    assert messages(look(cluster, checks.running)) == [
        "problem: Argo's controller argo/workflow-controller runs only Workflows of namespace "
        f"{watched}"
    ]


def test_a_controller_for_this_namespace_alone() -> None:
    cluster = healthy()
    cluster.put(controller("--namespaced", "--managed-namespace", SPACE))
    assert [found.level for found in look(cluster, checks.running)] == ["ok"]


@pytest.mark.parametrize(
    ("forbidden", "where"),
    [
        (set(), "the whole cluster"),
        ({"list deployments"}, "namespace argo, which you may not list"),
    ],
)
def test_a_controller_that_is_not_seen(forbidden: set[str], where: str) -> None:
    cluster = without_controller()
    cluster.forbidden = forbidden
    assert messages(look(cluster, checks.running)) == [
        f"unknown: no Deployment of Argo's controller is seen in {where}"
    ]


@pytest.mark.parametrize(
    ("tag", "level", "said"),
    [
        ("v4.0.6", "ok", "is new enough"),
        ("v4.1.0-rc1", "ok", "is new enough"),
        ("v3.7.15", "ok", "is new enough"),
        ("v4.0.2", "warning", HOLES.format("4.0.6")),
        ("v3.6.0", "warning", HOLES.format("3.7.15")),
        ("v3.5.11", "problem", "is too old: argotune's templates need 3.6 or later"),
    ],
)
def test_the_version_is_judged(tag: str, level: str, said: str) -> None:
    cluster = healthy()
    cluster.put(controller(image=f"quay.io/argoproj/workflow-controller:{tag}"))
    number = tag.removeprefix("v").partition("-")[0]
    assert messages(look(cluster, checks.version)) == [
        f"{level}: Argo {number} (the controller's image) {said}"
    ]


def test_the_version_by_the_executor_argument_of_an_untold_image() -> None:
    cluster = healthy()
    cluster.put(
        controller(
            "--executor-image", "mirror:5000/argoexec:v4.0.7", image="mirror-1.2.3:5000/x@sha256:1"
        )
    )
    (found,) = look(cluster, checks.version)
    assert found.message == "Argo 4.0.7 (the controller's --executor-image) is new enough"


def test_the_version_by_the_executor_of_a_pod() -> None:
    cluster = without_controller()
    pod = manifest(
        "v1", "Pod", "run-1", namespace=SPACE, labels={"workflows.argoproj.io/workflow": "run"}
    )
    containers = [
        {"name": "wait", "image": "quay.io/argoproj/argoexec:v4.0.8"},
        {"name": "main", "image": "x:1.2.3"},
    ]
    cluster.put({**pod, "spec": {"containers": containers}})
    (found,) = look(cluster, checks.version)
    assert found.message == "Argo 4.0.8 (the executor of a pod here) is new enough"


def test_the_version_by_the_only_executor_image_on_the_nodes() -> None:
    cluster = without_controller()
    images: list[Any] = [{"names": ["quay.io/argoproj/argoexec:v4.0.9"]}, {"names": None}]
    cluster.put(node("gpu-1", images=images))
    (found,) = look(cluster, checks.version)
    assert found.message == "Argo 4.0.9 (the executor's image on the nodes) is new enough"
    images.append({"names": ["quay.io/argoproj/argoexec:v3.6.2"]})
    cluster.put(node("gpu-1", images=images))
    (found,) = look(cluster, checks.version)
    assert found.level == "unknown"
    assert found.message.startswith("Argo's version is in nothing that you may see: ")


def test_the_argo_server_tells_the_version() -> None:
    with file_server() as files:
        files.add("/base/api/v1/version", b'{"version": "v4.0.6+dirty"}')
        environment = {
            "ARGO_SERVER": f"127.0.0.1:{files.address[1]}",
            "ARGO_SECURE": "false",
            "ARGO_BASE_HREF": "/base/",
            "ARGO_TOKEN": "Bearer hunter2",
        }
        cluster = without_controller()
        (found,) = look(cluster, checks.version, environment=environment)
        assert found.message == "Argo 4.0.6 (the Argo server) is new enough"
        assert files.requests[0].headers["Authorization"] == "Bearer hunter2"
        assert [item.level for item in look(cluster, checks.server, environment=environment)] == [
            "ok"
        ]


def test_an_argo_server_that_is_away() -> None:
    environment = {"ARGO_SERVER": "127.0.0.1:1", "ARGO_SECURE": "false"}
    (found,) = look(without_controller(), checks.server, environment=environment)
    assert found.level == "warning"
    assert found.message.startswith(
        "the Argo server 127.0.0.1:1 of ARGO_SERVER does not tell its version: "
    )
    (found,) = look(without_controller(), checks.version, environment=environment)
    assert found.level == "unknown"
