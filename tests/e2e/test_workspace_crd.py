"""The definition of the kind Workspace on a real API server, under a name of the test's own: for
kubectl a name is of one kind, and others may have Workspaces."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from argotune.workflows.templates.golden import RENDERED_DIR
from argotune.workflows.templates.workspace_crd import GROUP
from tests.e2e.cluster import Cluster, Object, run
from tests.workflows.templates.workspace_files import REFUSED, TAKEN

pytestmark = [pytest.mark.cluster, pytest.mark.shard1, pytest.mark.timeout(300)]

COLUMNS = [
    "NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE",
    "PROGRESS", "ETA", "SPENT", "VERSION", "RUN",
]  # fmt: skip
FILES = {**TAKEN, **REFUSED}
_KIND, _PLURAL = "TrialWorkspace", "trialworkspaces"


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    """A group with our definition; another one of Kaito's group may be there already."""
    group = f"crd-{secrets.token_hex(3)}.example.com"
    definition = yaml.safe_load((RENDERED_DIR / "workspace-crd.yaml").read_text())
    definition["metadata"]["name"] = f"{_PLURAL}.{group}"
    definition["spec"] |= {"group": group, "names": {"kind": _KIND, "plural": _PLURAL}}
    run("kubectl", "apply", "-f", "-", text=json.dumps(definition))
    try:
        name = f"crd/{_PLURAL}.{group}"
        run("kubectl", "wait", "--for=condition=Established", "--timeout=60s", name)
        yield group
    finally:
        run("kubectl", "delete", "crd", f"{_PLURAL}.{group}")


def test_the_server_takes_and_refuses_what_the_reader_does(cluster: Cluster, group: str) -> None:
    taken = {}
    for about, text in FILES.items():
        manifest = of_group(text, group)
        taken[about] = cluster.try_create(manifest, person=None).status_code == 201
    assert taken == {about: about in TAKEN for about in FILES}


def test_every_broken_rule_is_said_at_once_in_the_words_of_the_reader(
    cluster: Cluster, group: str
) -> None:
    manifest = of_group(TAKEN["tuning"], group)
    manifest["resource"] |= {"count": 2, "partition": {"profile": "1g.10gb"}}
    manifest["tuning"] |= {"method": "dora"}
    manifest["tuning"]["input"] |= {"image": "registry.example.com/data:1"}
    said = cluster.try_create(manifest, person=None).json()["details"]["causes"]
    assert {cause["field"]: cause["message"].partition(": ")[2] for cause in said} == {
        "resource.count": '"integer": accepted is 1, one node',
        "resource.partition": '"object": a part of a GPU is not supported; accepted is to leave it'
        " out",
        "tuning.method": '"string": accepted are lora and qlora',
        "tuning.input": '"object": accepted is exactly one of urls, image and volumeSource',
    }


def test_an_unknown_field_reaches_the_operator(cluster: Cluster, group: str) -> None:
    manifest = of_group(TAKEN["tuning"], group)
    manifest["tuning"]["input"]["url"] = "https://example.com/data.parquet"
    manifest["tunning"] = {}
    kept = cluster.try_create(manifest, person=None).json()
    assert kept["tuning"]["input"]["url"] == "https://example.com/data.parquet"
    assert kept["tunning"] == {}


def test_the_default_of_the_older_version_is_stored(cluster: Cluster, group: str) -> None:
    manifest = of_group(TAKEN["quick start"], group)
    del manifest["resource"]["instanceType"]
    kept = cluster.try_create(manifest, person=None).json()
    assert kept["resource"]["instanceType"] == "Standard_NC24ads_A100_v4"


def test_kubectl_shows_the_state_and_explains_the_fields(cluster: Cluster, group: str) -> None:
    manifest = of_group(TAKEN["tuning"], group)
    status = {
        "conditions": [condition("ResourceReady"), condition("WorkspaceSucceeded")],
        "argotune": {"run": "my-model-1", "progress": "35%", "spentUsd": "1.84"},
    }
    cluster.kubectl("create", "-f", "-", text=json.dumps(manifest))
    kind = f"{_PLURAL}.{group}"
    patch = ("patch", kind, "my-model", "--subresource=status", "--type=merge")
    cluster.kubectl(*patch, "-p", json.dumps({"status": status}))
    heads, row = cluster.kubectl("get", kind, "-o", "wide").splitlines()
    assert heads.split() == COLUMNS
    assert [text for text in ("35%", "1.84", "my-model-1") if text not in row] == []
    version = f"--api-version={group}/v1beta1"
    assert "`lora` (16-bit weights)" in cluster.kubectl("explain", f"{_PLURAL}.tuning", version)


def of_group(text: str, group: str) -> Object:
    manifest: Object = yaml.safe_load(text.replace(GROUP, group))
    return {**manifest, "kind": _KIND}


def condition(type: str) -> dict[str, Any]:
    return {
        "type": type,
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-11-29T14:00:00Z",
    }
