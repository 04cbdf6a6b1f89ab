"""argotune submit, against an API server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.fakes.kube import Cluster, Fault, serving
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.workspace.helpers import CONFIG_MAP, QUICK_START, WORKSPACE, changed

WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows?fieldValidation=Strict"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster()
    with serving(cluster):
        use_kubeconfig(monkeypatch, tmp_path, cluster.url)
        yield cluster


def use_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str) -> None:
    """A kubeconfig of two contexts; the current one works in namespace team-a."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "first",
        "clusters": [{"name": "cluster", "cluster": {"server": server}}],
        "users": [{"name": "user", "user": {}}],
        "contexts": [
            {"name": name, "context": {"cluster": "cluster", "user": "user", "namespace": space}}
            for name, space in (("first", "team-a"), ("second", "team-b"))
        ],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))


def submit(argotune: Argotune, write: Write, text: str = WORKSPACE, *flags: str) -> Answer:
    return argotune("submit", write("workspace.yaml", text), *flags)


def test_the_workflow_is_created_and_its_name_printed(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = submit(argotune, write)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "workflow.argoproj.io/my-model-x7k2p created in namespace team-a\n"
        "watch it: argo watch -n team-a my-model-x7k2p\n"
    )
    assert cluster.requests == [f"POST {WORKFLOWS.format('team-a')}"]
    (created,) = cluster.of_kind("Workflow")
    assert created["metadata"]["labels"]["argotune.dev/workspace"] == "my-model"
    assert len(created["spec"]["templates"]) > 1


@pytest.mark.parametrize(
    ("in_file", "flags", "namespace"),
    [
        (None, (), "team-a"),
        (None, ("--context", "second"), "team-b"),
        ("research", (), "research"),
        ("research", ("--namespace", "other"), "other"),
    ],
)
def test_namespace_is_the_flags_then_the_files_then_the_contexts(
    argotune: Argotune,
    write: Write,
    cluster: Cluster,
    in_file: str | None,
    flags: tuple[str, ...],
    namespace: str,
) -> None:
    answer = submit(argotune, write, changed({"metadata/namespace": in_file}), *flags)
    assert answer.code == 0
    assert cluster.requests == [f"POST {WORKFLOWS.format(namespace)}"]


def test_a_reference_to_the_installed_template(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    assert submit(argotune, write, WORKSPACE, "--template-ref").code == 0
    (created,) = cluster.of_kind("Workflow")
    assert created["spec"].keys() == {"workflowTemplateRef", "arguments"}


def test_the_config_map_is_found_in_the_cluster(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.objects["ConfigMap", "team-a", "my-config"] = yaml.safe_load(CONFIG_MAP)
    answer = submit(argotune, write, changed({"tuning/config": "my-config"}))
    assert (answer.code, answer.err) == (0, "")
    assert cluster.requests[0] == "GET /api/v1/namespaces/team-a/configmaps/my-config"
    (created,) = cluster.of_kind("Workflow")
    arguments = {item["name"]: item["value"] for item in created["spec"]["arguments"]["parameters"]}
    assert "LoraConfig" in arguments["config"]


def test_a_config_map_that_is_nowhere(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    answer = submit(argotune, write, changed({"tuning/config": "my-config"}))
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith("tuning.config: ")
    assert "my-config" in answer.errors[0]
    assert cluster.of_kind("Workflow") == []


def test_tokens_of_urls_go_into_a_secret_that_later_runs_share(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    url = "https://example.com/a.parquet?sig=hunter2"
    text = changed({"tuning/input": {"urls": [url]}})
    assert submit(argotune, write, text).code == 0
    (secret,) = cluster.of_kind("Secret")
    assert json.loads(secret["stringData"]["urls.json"]) == [url]
    assert "hunter2" not in json.dumps(cluster.of_kind("Workflow"))
    cluster.objects = {key: item for key, item in cluster.objects.items() if key[0] == "Secret"}
    assert submit(argotune, write, text).code == 0
    assert len(cluster.of_kind("Secret")) == len(cluster.of_kind("Workflow")) == 1


def test_the_quick_start_is_refused_until_it_is_filled_in(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = submit(argotune, write, QUICK_START)
    assert answer.code == 2
    assert [error.partition(":")[0] for error in answer.errors] == [
        "tuning.output.image",
        "tuning.output.imagePushSecret",
    ]
    assert cluster.requests == []


def test_a_retired_sku_is_replaced_only_on_request(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = QUICK_START.replace("ACR_REPO_HERE", "repo").replace("IMAGE_NAME_HERE", "image")
    text = text.replace("ACR_REGISTRY_SECRET_HERE", "my-secret")
    answer = submit(argotune, write, text)
    assert answer.code == 2
    assert answer.errors == [
        "resource.instanceType: Standard_NC6s_v3 cannot be used: retired by the cloud on"
        " 2025-09-30; the nearest that fits is Standard_NV36ads_A10_v5 (A10, 24 GiB, 3.2 USD/h in"
        " eastus); take it with --substitute or --instance-type Standard_NV36ads_A10_v5"
    ]
    assert cluster.requests == []
    answer = submit(argotune, write, text, "--substitute")
    assert answer.code == 0
    assert "3.2 USD/h in eastus); taken instead" in answer.err


def test_what_is_of_this_machine_is_refused(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = changed(
        {
            "tuning/output": {"image": "oci:/data/out"},
            "metadata/annotations": {
                "argotune.dev/provider": "local",
                "argotune.dev/deploy-to": "process",
            },
        }
    )
    answer = submit(argotune, write, text)
    assert answer.code == 2
    assert answer.errors == [
        "tuning.output.image: 'oci:/data/out' is a directory of this machine, and the pods run"
        " elsewhere; name an image of a registry, or use `argotune run`",
        "metadata.annotations.argotune.dev/provider: 'local' is this machine; accepted on a"
        " cluster is existing",
        "metadata.annotations.argotune.dev/deploy-to: 'process' is this machine; accepted on a"
        " cluster is kubernetes",
    ]
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "; log in again"),
        (403, "; ask for the permission"),
        (404, "; is Argo Workflows installed, and the namespace there?"),
        (500, ""),
    ],
)
def test_what_the_cluster_refuses_is_told_in_one_line(
    argotune: Argotune, write: Write, cluster: Cluster, status: int, advice: str
) -> None:
    cluster.faults.append(Fault("POST", "/workflows", status, message="that is why"))
    answer = submit(argotune, write)
    assert answer.code == 3
    assert answer.errors == [f"the Workflow: the cluster answers {status}: that is why{advice}"]


def test_a_config_map_that_may_not_be_read(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.faults.append(Fault("GET", "/configmaps/my-config", 403, message="forbidden"))
    answer = submit(argotune, write, changed({"tuning/config": "my-config"}))
    assert answer.code == 3
    assert answer.errors == [
        "ConfigMap my-config: the cluster answers 403: forbidden; ask for the permission"
    ]


def test_no_server_at_all(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Port 9, discard: nothing listens there.
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:9")
    answer = submit(argotune, write)
    assert answer.code == 3
    assert answer.errors == [
        "cluster http://127.0.0.1:9 does not answer: Failed to establish a new connection:"
        " [Errno 111] Connection refused"
    ]


def test_a_context_that_is_not_there(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    answer = submit(argotune, write, WORKSPACE, "--context", "third")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert "Expected object with name third" in answer.errors[0]


@pytest.mark.parametrize("content", [b"", b"a: [", b"\x7fELF\xff", b"apiVersion: v1\n", None])
def test_a_kubeconfig_that_is_none(
    argotune: Argotune,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes | None,
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    answer = submit(argotune, write)
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith("no cluster: ")
    assert answer.errors[0].endswith("; set KUBECONFIG or make ~/.kube/config")
