"""Commands on a workspace that serves a model without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from argotune.steps.contracts.in_service import SERVES
from argotune.steps.contracts.service_plan import read_adapters
from argotune.steps.nodes.labels import NODE_RUN_LABEL
from argotune.steps.nodes.made_node import NODE_ANNOTATION
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.service import from_service
from argotune.workflows.workspace.manifests import template
from argotune.workflows.workspace.model import SERVICE_TEMPLATE
from tests.fakes.apply import ApiServer
from tests.fakes.kube import Cluster, Object
from tests.workflows.cli.api import api_server
from tests.workflows.cli.cluster_workflows import run_of, service_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.templates.references import undefined_references
from tests.workflows.workspace.helpers import SERVICE, changed
from tests.workflows.workspace.test_inference import CONFIG_MAP, adapter

HERE = ("-n", "team-a")


def with_node(service: Object) -> Object:
    """The service when it has taken over the node of its run."""
    node = {
        "placement": "Standard_NC24ads_A100_v4 regular",
        "priceUsdPerHour": 4,
        "since": "2026-01-01T00:00:00Z",
        "until": None,
    }
    metadata = service["metadata"]
    metadata["annotations"] = {NODE_ANNOTATION: json.dumps(node), SERVES: "microsoft/phi-4"}
    metadata["labels"][NODE_RUN_LABEL] = "uid"
    return service


def put_template(cluster: Cluster) -> None:
    document = template(name=SERVICE_TEMPLATE)
    document["metadata"]["namespace"] = "team-a"
    cluster.put(document)


def test_plan_says_context_machine_and_cost_of_a_day(argotune: Argotune, write: Write) -> None:
    text = changed({"inference/config": "limits"}, base=SERVICE) + CONFIG_MAP
    answer = argotune("plan", write("workspace.yaml", text))
    assert answer.code == 0
    rows = [line.split() for line in answer.out.splitlines()]
    assert ["context", "8192", "tokens"] in [row[:3] for row in rows]
    assert ["at", "once", "19"] in [row[:3] for row in rows]
    assert ["cost", "3.673", "USD/h,", "88", "USD", "a", "day"] in [row[:7] for row in rows]
    (machine,) = [row for row in rows if row[0:1] == ["*"]]
    assert machine[1:] == [
        *("Standard_NC24ads_A100_v4", "1", "x", "A100", "80GB", "80", "GiB"),
        *("8192", "19", "3.67", "88"),
    ]
    assert "vllm.swap-space: has no effect" in answer.err


def test_plan_is_written_as_yaml_and_takes_no_flags_of_training(
    argotune: Argotune, write: Write
) -> None:
    file = write("workspace.yaml", SERVICE)
    answer = argotune("plan", file, "--output", "yaml")
    assert yaml.safe_load(answer.out)["max_length"] == 16384
    refused = argotune("plan", file, "--dataset-tokens", "5")
    assert refused.code == 2
    assert refused.errors == [
        "--dataset-tokens: for a training; a service is planned by its file alone"
    ]


@pytest.mark.parametrize("flags", [[], ["--template-ref"]])
def test_the_file_is_rendered_for_template_serve(
    argotune: Argotune, write: Write, flags: list[str]
) -> None:
    text = changed({"inference/adapters": [adapter()]}, base=SERVICE)
    answer = argotune("render", write("workspace.yaml", text), *flags)
    assert answer.code == 0
    document = yaml.safe_load(answer.out)
    assert document["metadata"]["labels"]["workflows.argoproj.io/workflow-template"] == "serve"
    assert undefined_references(document["spec"]) == []
    arguments = {
        each["name"]: each["value"] for each in document["spec"]["arguments"]["parameters"]
    }
    assert [each.name for each in read_adapters(arguments["adapters"])] == ["docs"]
    if flags:
        assert document["spec"]["workflowTemplateRef"] == {"name": "serve"}


def test_a_service_has_no_schedule(argotune: Argotune, write: Write) -> None:
    answer = argotune("render", write("workspace.yaml", SERVICE), "--schedule", "0 3 * * *")
    assert answer.code == 2
    assert "--schedule: for a training" in answer.err


def test_submit_creates_a_workflow_of_the_installed_template(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    put_template(cluster)
    answer = argotune("submit", write("workspace.yaml", SERVICE), *HERE)
    assert answer.code == 0
    assert answer.err.startswith("warning: resource.instanceType: ")
    assert "no provider is named, so a node of this type must be in the cluster" in answer.err
    (created,) = cluster.of_kind("Workflow")
    (claim,) = created["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert created["spec"]["workflowTemplateRef"] == {"name": "serve"}


def test_submit_refuses_what_only_this_machine_has(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    put_template(cluster)
    text = changed({"inference/adapters": [adapter(image="oci:dist:v1")]}, base=SERVICE)
    answer = argotune("submit", write("workspace.yaml", text), *HERE)
    assert answer.code == 2
    assert "inference.adapters: docs: 'oci:" in answer.err
    assert "is a directory of this machine" in answer.err
    assert cluster.of_kind("Workflow") == []


def test_submit_says_that_the_template_is_missing(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = argotune("submit", write("workspace.yaml", SERVICE), *HERE)
    assert answer.code == 3
    assert "WorkflowTemplate serve is not in namespace team-a" in answer.err


def test_the_run_of_this_machine_is_one_of_the_template(tmp_path: Path) -> None:
    text = changed(
        {
            "resource/instanceType": None,
            "inference/preset/name": "tiny",
            "inference/adapters": [adapter()],
        },
        base=SERVICE,
    )
    made = from_service(
        [("one.yaml", text)], Home(tmp_path), overrides={}, runtime="docker", secrets={}
    )
    (workflow,) = made.documents
    (deploy,) = [each for each in workflow["spec"]["templates"] if each["name"] == "deploy"]
    assert any(arg.startswith("--service-plan=") for arg in deploy["container"]["args"])
    assert list(made.secrets) == ["argotune-push"]


def test_status_says_what_the_services_own_node_has_cost(
    argotune: Argotune, cluster: Cluster
) -> None:
    run = run_of(*step("deploy", "Succeeded"), phase="Succeeded")
    run["metadata"]["labels"]["workflows.argoproj.io/workflow-template"] = "serve"
    cluster.put(run)
    cluster.put(with_node(service_of("my-model")))
    table = argotune("status", *HERE).out.splitlines()
    assert table[0].split()[-1] == "SPENT"
    assert "Standard_NC24ads_A100_v4" in table[1]
    answer = argotune("status", "my-model", *HERE)
    node, spent = answer.out.splitlines()[-3:-1]
    assert node == (
        "node: Standard_NC24ads_A100_v4 regular, the service's own since 2026-01-01 00:00 UTC; it"
        " goes with it: argotune stop my-model --service -n team-a"
    )
    assert spent.startswith("spent so far: about ")
    assert spent.endswith(" h x 4.00 USD/h")


def test_stop_says_what_becomes_of_the_node(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(with_node(service_of("my-model")))
    answer = argotune("stop", "my-model", "--service", *HERE)
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == (
        "node Standard_NC24ads_A100_v4 regular: was the service's own, and is given back within ten"
        " minutes; at once: argotune gc -n team-a"
    )


def test_there_is_no_version_to_go_back_to(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(with_node(service_of("my-model")))
    answer = argotune("rollback", "my-model", *HERE)
    assert answer.code == 3
    assert "it serves microsoft/phi-4 without training, and so has no versions" in answer.err


def test_uninstall_leaves_no_node_that_nothing_gives_back(
    argotune: Argotune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with api_server(monkeypatch, tmp_path) as api:
        put_service(api)
        answer = argotune("uninstall")
        assert answer.code == 3
        assert answer.errors[0].startswith(
            "services with GPU nodes of their own, which nothing would give back any more"
        )
        assert argotune("uninstall", "--force").code == 0


def put_service(api: ApiServer) -> None:
    labels = {NODE_RUN_LABEL: "uid", "app.kubernetes.io/managed-by": "argotune"}
    path = "/apis/apps/v1/namespaces/team-a/deployments/my-model"
    api.put(path, {"kind": "Deployment", "metadata": {"labels": labels}})
