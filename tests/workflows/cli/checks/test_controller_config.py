from __future__ import annotations

import json
import shlex

import pytest
import yaml

from argotune.workflows.cli.checks import controller_config
from tests.workflows.cli.checks.cluster import (
    EXECUTOR,
    controller,
    healthy,
    look,
    messages,
    settings,
)

MAP = "argo/workflow-controller-configmap"
CONTEXT = EXECUTOR["securityContext"]


def found_with(**data: str) -> list[str]:
    cluster = healthy()
    cluster.put(settings(**data))
    return messages(look(cluster, controller_config.settings))


def test_settings_as_they_should_be() -> None:
    assert found_with(executor=json.dumps(EXECUTOR), failedPodRestart="enabled: true") == [
        f"ok: {MAP} lets Argo's own containers keep to the restricted standard",
        f"ok: {MAP} lets evicted pods that had not begun come again",
    ]


@pytest.mark.parametrize(
    ("executor", "lacks"),
    [
        ({}, 'allowPrivilegeEscalation: false and no capabilities.drop: ["ALL"]'),
        (
            {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {}}},
            'capabilities.drop: ["ALL"]',
        ),
        (
            {"securityContext": {"capabilities": {"drop": ["ALL"]}}},
            "allowPrivilegeEscalation: false",
        ),
    ],
)
def test_an_executor_that_restricted_refuses(executor: dict[str, object], lacks: str) -> None:
    assert found_with(executor=json.dumps(executor))[0] == (
        f"problem: {MAP} sets for executor.securityContext no {lacks}: a namespace that enforces "
        "restricted refuses every pod of a run"
    )


def test_the_patch_adds_to_what_is_set() -> None:
    cluster = healthy()
    old = {"resources": {"requests": {"cpu": "10m"}}, "securityContext": {"runAsUser": 8737}}
    cluster.put(settings(executor=yaml.safe_dump(old), parallelism="10"))
    command = shlex.split(look(cluster, controller_config.settings)[0].command)
    assert command[:-1] == [
        *("kubectl", "-n", "argo", "patch", "configmap", "workflow-controller-configmap"),
        *("--type", "merge", "-p"),
    ]
    patch = json.loads(command[-1])
    assert patch["data"].keys() == {"executor"}
    assert json.loads(patch["data"]["executor"]) == {
        **old,
        "securityContext": {"runAsUser": 8737, **CONTEXT},
    }


def test_the_patch_of_settings_in_one_text() -> None:
    cluster = healthy()
    cluster.put(settings(config="parallelism: 10\n"))
    command = shlex.split(look(cluster, controller_config.settings)[0].command)
    config = yaml.safe_load(json.loads(command[-1])["data"]["config"])
    assert config == {"parallelism": 10, "executor": EXECUTOR}


def test_a_config_map_that_is_missing_is_made() -> None:
    cluster = healthy()
    del cluster.objects["/api/v1/namespaces/argo/configmaps/workflow-controller-configmap"]
    command = shlex.split(look(cluster, controller_config.settings)[0].command)
    assert command[:-1] == [
        *("kubectl", "-n", "argo", "create", "configmap", "workflow-controller-configmap"),
    ]
    assert json.loads(command[-1].removeprefix("--from-literal=executor=")) == EXECUTOR


def test_the_config_map_that_the_controller_names() -> None:
    cluster = healthy()
    cluster.put(controller("--configmap", "mine"))
    other = settings(executor=json.dumps(EXECUTOR))
    other["metadata"]["name"] = "mine"
    cluster.put(other)
    assert messages(look(cluster, controller_config.settings))[0] == (
        "ok: argo/mine lets Argo's own containers keep to the restricted standard"
    )


def test_restarts_of_evicted_pods_are_recommended() -> None:
    cluster = healthy()
    found = look(cluster, controller_config.settings)[-1]
    assert (found.level, found.message) == (
        "info",
        f"{MAP} does not set failedPodRestart: a pod that is evicted before it begins fails its "
        "step",
    )
    patch = json.loads(shlex.split(found.command)[-1])
    assert json.loads(patch["data"]["failedPodRestart"]) == {"enabled": True, "maxRestarts": 3}


def test_workflows_that_the_controller_leaves_out() -> None:
    said = found_with(
        executor=json.dumps(EXECUTOR),
        instanceID="blue",
        namespace="other",
        workflowRestrictions="templateReferencing: Strict",
    )
    assert said[1:4] == [
        f"problem: {MAP} has instanceID blue: the controller takes only Workflows with the label "
        "workflows.argoproj.io/controller-instanceid=blue, and argotune's have none",
        f"problem: {MAP} has namespace other: the controller takes no Workflows of team-a",
        f"info: {MAP} has templateReferencing Strict: runs refer to the installed template, a "
        "Workflow that stands alone is refused",
    ]


@pytest.mark.parametrize("text", ["[", "- a"])
def test_settings_that_are_no_yaml(text: str) -> None:
    assert found_with(config=text) == [
        f"warning: the controller's ConfigMap {MAP} cannot be read as YAML settings"
    ]


def test_nothing_to_be_seen_of_the_controller() -> None:
    cluster = healthy()
    for name in ("deployments/workflow-controller", "configmaps/workflow-controller-configmap"):
        (path,) = [path for path in cluster.objects if path.endswith(name)]
        del cluster.objects[path]
    assert messages(look(cluster, controller_config.settings)) == [
        f"unknown: the controller's ConfigMap {MAP} is not there"
    ]
