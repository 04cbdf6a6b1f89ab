"""argotune doctor, against an API server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.printable import printable
from tests.fakes.api_server import ApiServer, Object, serving
from tests.workflows.cli.checks.cluster import SPACE, healthy, login
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.kubeconfig import use_kubeconfig
from tests.workflows.workspace.helpers import QUICK_START, changed
from tests.workflows.workspace.test_inference import adapter, service


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    cluster = healthy()
    names = [item["metadata"]["name"] for item in cluster.of_kind("ServiceAccount")]
    cluster.denied = {f"{name} get secrets" for name in names}
    cluster.on_create = all_well
    with serving(cluster):
        use_kubeconfig(monkeypatch, tmp_path, cluster.url)
        yield cluster


def all_well(server: ApiServer, path: str, created: Object) -> None:
    """Pods and Workflows end at once, and well."""
    ended = {"state": {"terminated": {"exitCode": 0}}}
    created["status"] = {"phase": "Succeeded", "containerStatuses": [ended]}


def rows(answer: Answer) -> list[dict[str, Any]]:
    found = json.loads(answer.out)
    assert isinstance(found, list)
    assert found
    return found


def levels(answer: Answer) -> set[str]:
    return {row["level"] for row in rows(answer)}


def test_a_cluster_in_which_all_is_well(argotune: Argotune, cluster: ApiServer) -> None:
    answer = argotune("doctor", "--cluster")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[:3] == [
        "cluster",
        f"  ok       Kubernetes v1.34.4 answers at {cluster.url} to jane",
        "  ok       namespace team-a enforces the Pod Security Standard restricted",
    ]
    assert lines[-1] == "21 ok, 4 info"
    assert cluster.of_kind("Pod") == cluster.of_kind("Workflow") == []


def test_a_problem_has_its_command_in_a_line_and_ends_with_1(
    argotune: Argotune, cluster: ApiServer
) -> None:
    del cluster.objects[f"/api/v1/namespaces/{SPACE}/secrets/argotune-push"]
    answer = argotune("doctor", "--cluster", "--push-secret", "argotune-push")
    assert answer.code == 1
    assert (
        "secrets\n"
        "  problem  secret argotune-push is not in namespace team-a; push needs a login\n"
        "           make it\n"
        "           $ kubectl -n team-a create secret docker-registry argotune-push"
        " --docker-server=REGISTRY --docker-username=USER --docker-password=PASSWORD\n"
    ) in answer.out


def test_a_template_that_cannot_be_read_stops_no_other_check(
    argotune: Argotune, cluster: ApiServer
) -> None:
    (template,) = (
        item
        for item in cluster.of_kind("WorkflowTemplate")
        if item["metadata"]["name"] == "finetune"
    )
    template["metadata"]["annotations"]["argotune.dev/installed"] = "{"
    answer = argotune("doctor", "--cluster", "-o", "json")
    assert (answer.code, answer.err) == (1, "")
    assert [row["area"] for row in rows(answer) if row["level"] == "problem"] == ["installation"]
    assert rows(answer)[-1]["message"].startswith("whether a trial run ends well: unknown")


def test_json_for_programs(argotune: Argotune, cluster: ApiServer) -> None:
    answer = argotune("doctor", "--cluster", "-o", "json")
    assert answer.code == 0
    assert rows(answer)[0] == {
        "area": "cluster",
        "level": "ok",
        "message": f"Kubernetes v1.34.4 answers at {cluster.url} to jane",
        "advice": "",
        "command": "",
    }


def test_the_workspace_says_what_is_looked_for(
    argotune: Argotune, write: Write, cluster: ApiServer
) -> None:
    cluster.put(login({"registry.example.com": "user:hunter2"}, "my-secret"))
    text = changed(
        {
            "metadata/annotations": {
                "argotune.dev/model-cache-claim": "mine",
                "argotune.dev/storage-class": "gone",
            }
        }
    )
    answer = argotune("doctor", "--cluster", "-o", "json", write("workspace.yaml", text))
    said = {row["message"].partition(";")[0] for row in rows(answer)}
    assert answer.code == 1
    assert {
        "workspace my-model can be submitted",
        "secret my-secret has a login for registry.example.com",
        "storage class gone of the run's volume is not there",
        "claim mine for the weights, which the workspace names, is not there",
        "no GPU node has the labels app=my-model of workspace my-model",
    } <= said


def test_what_a_workspace_still_lacks(argotune: Argotune, write: Write, cluster: ApiServer) -> None:
    answer = argotune("doctor", "--cluster", "-o", "json", write("workspace.yaml", QUICK_START))
    said = [row for row in rows(answer) if row["area"] == "workspace"]
    assert answer.code == 1
    assert said
    assert {row["level"] for row in said} == {"problem"}


def test_what_a_service_without_training_needs_is_looked_for(
    argotune: Argotune, write: Write, cluster: ApiServer
) -> None:
    path = write("service.yaml", service({"inference/adapters": [adapter()]}))
    found = rows(argotune("doctor", "--cluster", "-o", "json", path))
    said = [row["message"] for row in found if row["level"] == "ok"]
    assert "workspace assistant can be submitted" in said
    assert "secret argotune-push has a login for registry.example.com" in said
    (pods,) = [text for text in said if text.startswith("the cluster takes the pods of")]
    assert pods == (
        "the cluster takes the pods of plan, model, provision, deploy, release, serve, tried"
        " without making them"
    )
    assert not any("image volume" in row["message"] for row in found)
    here = rows(argotune("doctor", "-o", "json", path))
    assert [row["area"] for row in here] == ["packages", "memory", "disk", "weights"]
    assert "the weights of preset phi-4 will be fetched from hub" in str(here[-1])


def test_a_workspace_that_is_wrong_costs_no_request(
    argotune: Argotune, write: Write, cluster: ApiServer
) -> None:
    text = changed({"tuning/method": "full"})
    answer = argotune("doctor", "--cluster", write("workspace.yaml", text))
    assert answer.code == 2
    assert cluster.requests == []


def test_the_namespace_is_the_files_unless_one_is_given(
    argotune: Argotune, write: Write, cluster: ApiServer
) -> None:
    path = write("workspace.yaml", changed({"metadata/namespace": "research"}))
    first, second = (
        rows(argotune("doctor", "-o", "json", path, *flags))[1]["message"].partition(";")[0]
        for flags in (("--cluster",), ("-n", "other"))
    )
    assert first == "namespace research is not there"
    assert second == "namespace other is not there"


def test_a_missing_namespace_is_one_problem(argotune: Argotune, cluster: ApiServer) -> None:
    answer = argotune("doctor", "-n", "nowhere", "-o", "json")
    problems = [row["message"] for row in rows(answer) if row["level"] == "problem"]
    assert answer.code == 1
    assert problems == ["namespace nowhere is not there; what is in it was not looked at"]
    assert not any(row["area"] in ("installation", "secrets", "images") for row in rows(answer))


def test_a_person_with_few_rights_gets_unknowns(argotune: Argotune, cluster: ApiServer) -> None:
    cluster.forbidden = {
        f"{verb} {plural}"
        for verb in ("get", "list", "create")
        for plural in (
            "clusterrolebindings",
            "clusterroles",
            "configmaps",
            "cronworkflows",
            "daemonsets",
            "deployments",
            "namespaces",
            "networkpolicies",
            "nodes",
            "persistentvolumeclaims",
            "pods",
            "rolebindings",
            "roles",
            "secrets",
            "serviceaccounts",
            "storageclasses",
            "subjectaccessreviews",
            "workflows",
            "workflowtemplates",
        )
    }
    answer = argotune("doctor", "--cluster", "-o", "json")
    assert answer.code == 0
    assert levels(answer) == {"ok", "unknown"}
    assert {
        "area": "gpu",
        "level": "unknown",
        "message": "the GPU nodes: unknown, it takes the right to list nodes in the whole cluster",
        "advice": "",
        "command": "",
    } in rows(answer)


def test_a_check_that_the_server_fails_stops_no_other(
    argotune: Argotune, cluster: ApiServer
) -> None:
    cluster.refusals["GET storageclasses"] = (500, "etcd is away")
    answer = argotune("doctor", "--cluster", "-o", "json")
    assert answer.code == 0
    (found,) = [row for row in rows(answer) if row["level"] == "unknown"]
    assert found["message"] == (
        "the volume of a run: unknown, the cluster answers 500: etcd is away"
    )
    assert rows(answer)[-1]["message"].startswith("a trial run of one pod ended well")


def test_a_servers_words_do_not_steer_the_terminal(argotune: Argotune, cluster: ApiServer) -> None:
    cluster.refusals["POST selfsubjectreviews"] = (401, "\x1b[2J\u202eno")
    told = argotune("doctor", "--cluster").out
    assert "\\u001b[2J\\u202eno" in told
    assert printable(told) == told
    (found,) = rows(argotune("doctor", "--cluster", "-o", "json"))
    assert found["message"].endswith("\x1b[2J\u202eno")


def test_a_server_that_does_not_answer(
    argotune: Argotune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:1")
    answer = argotune("doctor", "--cluster", "-o", "json")
    (found,) = rows(answer)
    assert answer.code == 1
    assert found["message"].startswith("the cluster: cluster http://127.0.0.1:1 does not answer: ")


def test_a_login_that_is_refused(argotune: Argotune, cluster: ApiServer) -> None:
    cluster.refusals["POST selfsubjectreviews"] = (401, "Unauthorized")
    answer = argotune("doctor", "--cluster", "-o", "json")
    (found,) = rows(answer)
    assert answer.code == 1
    assert found["message"] == (
        f"{cluster.url} does not accept the kubeconfig's login: Unauthorized"
    )


def test_no_kubeconfig(argotune: Argotune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    answer = argotune("doctor", "--cluster")
    assert answer.code == 3
    assert answer.errors[0].startswith("no cluster: ")
