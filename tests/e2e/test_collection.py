"""The template `gc` in a pod of an installation, with the rights that it gives: what a run left
behind goes."""

from __future__ import annotations

import json
import os
import secrets
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

import httpx
import pytest

from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.provider import NodeRequest, Placement
from tests.e2e.cluster import Cluster, Object, run, wait_for
from tests.e2e.nodes import commands

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
    name = f"collection-{secrets.token_hex(3)}"
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


def test_a_claim_that_a_run_left_behind_goes_with_the_collection(installation: Cluster) -> None:
    request = NodeRequest(
        run=str(uuid.uuid4()),
        workflow="long-gone",
        namespace=installation.namespace,
        gpus=1,
        timeout_seconds=60.0,
    )
    node_class, now = NodeClass.parse(NODE_CLASS), datetime.now(UTC)
    claim = claims.manifest(request, Placement(instance_type=TYPE), node_class, now)
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
            f"NodeClaim {claim['metadata']['name']} ({TYPE} regular): its run has ended"
            f" ({installation.namespace}/long-gone), being deleted"
        )
        assert found["deleted"] == "1"
        assert _left(f"argotune.dev/run={request.run}") == []
    finally:
        name = claim["metadata"]["name"]
        run("kubectl", "delete", "nodeclaim", name, "--ignore-not-found")


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
    return run(sys.executable, "-m", "argotune.workflows.cli", *arguments)
