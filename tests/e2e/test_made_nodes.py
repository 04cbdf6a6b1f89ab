"""The templates' own provision, release and gc in pods of an installation, with the rights that it
gives them, from no GPU node to no GPU node. What Karpenter does is tests/fakes/karpenter."""

from __future__ import annotations

import json
import os
import secrets
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version

import httpx
import pytest

from steps.common.nodes.karpenter import claim as claims
from steps.common.nodes.karpenter_node_class import NodeClass
from steps.common.nodes.labels import NAMESPACE_LABEL
from steps.common.nodes.provider import NodeRequest, Placement
from tests.e2e.cluster import Cluster, Object, run, wait_for
from tests.e2e.nodes import commands
from tests.fakes.karpenter.api import Api
from tests.fakes.karpenter.controller import Karpenter, running
from tests.fakes.karpenter.scripts import SCRIPTS

# The API server is asked by the official client, wherever it is.
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.shard4,
    pytest.mark.enable_socket,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("stories_told"),
]

TYPE = "Standard_NC24ads_A100_v4"
NODE_CLASS = "karpenter.test/TestNodeClass/default"
ARGO = "argoproj.io/v1alpha1"
_SECONDS = 240


@pytest.fixture(scope="module")
def installation(api: httpx.Client) -> Iterator[Cluster]:
    """A namespace with an installation that makes nodes by Karpenter."""
    commands()
    if "E2E_REGISTRY" not in os.environ:
        pytest.fail("set E2E_REGISTRY: see tests/e2e/README.md")
    name = f"made-nodes-{secrets.token_hex(3)}"
    try:
        _argotune(
            "install",
            f"--namespace={name}",
            "--create-namespace",
            f"--images-registry={os.environ['E2E_REGISTRY']}",
            f"--images-tag={os.environ.get('E2E_TAG') or version('argotune')}",
            f"--karpenter-node-class={NODE_CLASS}",
            "--models-size=1Gi",
        )
        # An hour may begin while the tests run.
        suspended = json.dumps({"spec": {"suspend": True}})
        patch = ("--type=merge", f"--patch={suspended}")
        run("kubectl", f"--namespace={name}", "patch", "cronworkflow", "gc", *patch)
        yield Cluster(name, api)
    finally:
        _argotune("uninstall", f"--namespace={name}", "--force", "--delete-models")
        run("kubectl", "delete", "namespace", name, "--wait=false")


def test_a_runs_node_comes_and_goes(installation: Cluster) -> None:
    with _karpenter(installation):
        done = _ended(installation, _run_of_a_node())
    assert done["status"]["phase"] == "Succeeded", _messages(done)
    outputs = {name: _outputs(done, name) for name in ("provision", "release")}
    uid = done["metadata"]["uid"]
    claim = f"NodeClaim {claims.claim_name(uid)} ({TYPE} regular)"
    assert json.loads(outputs["provision"]["node-selector"]) == {
        "argotune.dev/node": claims.claim_name(uid)
    }
    assert outputs["provision"]["placement"] == f"{TYPE} regular"
    assert outputs["release"]["released"].startswith(f"{claim} after 0.")
    assert _left(f"argotune.dev/run={uid}") == []


def test_a_claim_that_a_run_left_behind_goes_with_the_collection(installation: Cluster) -> None:
    request = NodeRequest(
        run=str(uuid.uuid4()),
        workflow="long-gone",
        namespace=installation.namespace,
        gpus=1,
        timeout_seconds=60.0,
    )
    claim = claims.manifest(request, Placement(instance_type=TYPE), NodeClass.parse(NODE_CLASS))
    run("kubectl", "create", "-f", "-", text=json.dumps(claim))
    workflow = {
        "apiVersion": ARGO,
        "kind": "Workflow",
        "metadata": {"generateName": "gc-"},
        "spec": {"workflowTemplateRef": {"name": "gc"}},
    }
    try:
        done = _ended(installation, workflow)
        assert done["status"]["phase"] == "Succeeded", _messages(done)
        found = _outputs(done, "gc")
        assert found["strays"] == (
            f"NodeClaim {claim['metadata']['name']} ({TYPE} regular): its run is over"
            f" ({installation.namespace}/long-gone), taken away"
        )
        assert found["taken-away"] == "1"
        assert _left(f"argotune.dev/run={request.run}") == []
    finally:
        name = claim["metadata"]["name"]
        run("kubectl", "delete", "nodeclaim", name, "--ignore-not-found")


def _run_of_a_node() -> Object:
    """What the template does with a node, without what comes before and between."""
    arguments = {
        "images-registry": os.environ["E2E_REGISTRY"],
        "images-tag": os.environ.get("E2E_TAG") or version("argotune"),
        "name": "made-nodes",
        "provider": "karpenter",
        "aks-cluster-id": "",
        "keep-node-seconds": "0",
    }
    wanted = {
        "provider": "karpenter",
        "workspace": "made-nodes",
        "gpus": "1",
        "gpu-memory-gb": "0",
        "disk-gib": "0",
        "instance-type": TYPE,
        "alternative-instance-types": "[]",
        "planned-alternatives": "[]",
        "keep-node-seconds": "0",
        "zones": "[]",
        "capacity-types": '["regular"]',
        "spot-max-price-usd-per-hour": "",
        "label-selector": "",
        "lifetime-seconds": "3600",
        "aks-cluster-id": "",
        "aks-subnet-id": "",
        "aks-os-sku": "Ubuntu",
        "aks-gpu-driver": "Install",
        "aks-mig-profile": "",
        "karpenter-mode": "nodeclaim",
        "karpenter-node-class": NODE_CLASS,
    }
    return {
        "apiVersion": ARGO,
        "kind": "Workflow",
        "metadata": {"generateName": "made-nodes-"},
        "spec": {
            "entrypoint": "main",
            "onExit": "give-back",
            "serviceAccountName": "argotune-step",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "podMetadata": {"labels": {"app.kubernetes.io/part-of": "argotune"}},
            "arguments": {"parameters": _parameters(arguments)},
            "templates": [
                {"name": "main", "dag": {"tasks": [_task("provision", wanted)]}},
                {"name": "give-back", "dag": {"tasks": [_task("release", {})]}},
            ],
        },
    }


def _task(name: str, arguments: dict[str, str]) -> Object:
    return {
        "name": name,
        "templateRef": {"name": "finetune", "template": name},
        "arguments": {"parameters": _parameters(arguments)},
    }


def _parameters(values: dict[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _karpenter(installation: Cluster) -> AbstractContextManager[Karpenter]:
    """It sees the claims of this namespace's runs only."""
    selector = f"{NAMESPACE_LABEL}={installation.namespace}"
    return running(Karpenter(Api(), [SCRIPTS["happy"]], commands(), selector=selector))


def _ended(installation: Cluster, workflow: Object) -> Object:
    name = installation.create(workflow)["metadata"]["name"]

    def ended() -> Object | None:
        found = installation.read(ARGO, "workflows", name)
        assert found is not None
        return found if found.get("status", {}).get("finishedAt") else None

    return wait_for(f"end of {name}", ended, seconds=_SECONDS)


def _outputs(workflow: Object, step: str) -> dict[str, str]:
    """Of the step's last try."""
    found = [node for node in _nodes(workflow) if _template(node) == step]
    found = [node for node in found if node["type"] == "Retry"]
    assert len(found) == 1, _messages(workflow)
    outputs = found[0]["outputs"]["parameters"]
    return {item["name"]: item.get("value", "") for item in outputs}


def _template(node: Object) -> str:
    """Name of the template that a node ran, of this workflow or of another."""
    return str(node.get("templateName") or node["templateRef"]["template"])


def _messages(workflow: Object) -> str:
    nodes = [f"{node['displayName']}: {node.get('message', '')}" for node in _nodes(workflow)]
    return "\n".join([workflow["status"].get("message", ""), *nodes])


def _nodes(workflow: Object) -> list[Object]:
    """None of a workflow that the controller refused."""
    return list(workflow["status"].get("nodes", {}).values())


def _left(selector: str) -> list[str]:
    return run("kubectl", "get", "nodes,nodeclaims", f"--selector={selector}", "-o", "name").split()


def _argotune(*arguments: str) -> str:
    return run(sys.executable, "-m", "workflows.cli", *arguments)
