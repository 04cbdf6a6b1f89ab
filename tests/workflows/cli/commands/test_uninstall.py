"""argotune uninstall, against an API server on loopback that knows server-side apply."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.fakes.apply import ApiServer, Refusal
from tests.workflows.cli.api import RESTRICTED
from tests.workflows.cli.cluster_workflows import cron_of
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import INSTALL

CORE = "/api/v1/namespaces/team-a"
ARGO = "/apis/argoproj.io/v1alpha1/namespaces/team-a"
OURS = {"app.kubernetes.io/part-of": "argotune"}


@pytest.fixture
def api(installed: ApiServer) -> ApiServer:
    """With an installation in team-a."""
    return installed


def add_run(api: ApiServer, name: str, *, completed: bool, **fields: Any) -> None:
    labels = fields.pop("labels", OURS) | {
        "workflows.argoproj.io/completed": str(completed).lower()
    }
    api.put(f"{ARGO}/workflows/{name}", {"metadata": {"labels": labels}, "spec": {}, **fields})


def test_it_takes_away_what_was_installed_the_last_made_first(
    argotune: Argotune, api: ApiServer
) -> None:
    installed = [name for name in api.names() if not name.startswith(("namespaces", "persistent"))]
    answer = argotune("uninstall")
    assert (answer.code, answer.err) == (0, "")
    *deleted, stays = answer.out.splitlines()
    assert len(deleted) == len(installed)
    assert deleted[0] == "cronworkflow.argoproj.io/gc deleted"
    assert deleted[-1].startswith("serviceaccount/")
    assert stays == "stays: claim argotune-models with the weights (--delete-models)"
    assert api.names() == ["namespaces/team-a", "persistentvolumeclaims/argotune-models"]


def test_what_is_of_others_stays(argotune: Argotune, api: ApiServer) -> None:
    # A copy, made with kubectl, has our label too.
    labels = {"app.kubernetes.io/managed-by": "argotune-install"}
    copied = {"metadata": {"labels": labels}, "spec": {}}
    foreign = [
        f"{CORE}/serviceaccounts/default",
        f"{CORE}/secrets/argotune-push",
        f"{ARGO}/workflowtemplates/my-copy",
        f"{ARGO}/cronworkflows/retrain-my-model",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin",
    ]
    for path in foreign:
        api.put(path, copied)
    assert argotune("uninstall", "--delete-models").code == 0
    assert [*api.objects] == ["/api/v1/namespaces/team-a", *foreign]


def test_another_namespace_keeps_its_installation(argotune: Argotune, api: ApiServer) -> None:
    api.add_namespace("team-b", **RESTRICTED)
    assert argotune(*INSTALL, "-n", "team-b").code == 0
    of_b = {path: copy.deepcopy(item) for path, item in api.objects.items() if "team-b" in path}
    assert argotune("uninstall", "--delete-models").code == 0
    assert {path: api.objects.get(path) for path in of_b} == of_b


def test_a_dry_run_deletes_nothing(argotune: Argotune, api: ApiServer) -> None:
    before = copy.deepcopy(api.objects)
    answer = argotune("uninstall", "--dry-run", "--delete-models")
    assert answer.code == 0
    assert "persistentvolumeclaim/argotune-models deleted (dry run)" in answer.out.splitlines()
    assert all(line.endswith(" (dry run)") for line in answer.out.splitlines())
    assert api.objects == before


def test_the_weights_go_on_request(argotune: Argotune, api: ApiServer) -> None:
    answer = argotune("uninstall", "--delete-models")
    assert answer.code == 0
    assert "stays" not in answer.out
    assert api.names() == ["namespaces/team-a"]


def test_active_runs_are_not_left_without_their_accounts(
    argotune: Argotune, api: ApiServer
) -> None:
    add_run(api, "done-1", completed=True)
    add_run(api, "labelled-1", completed=False)
    just_submitted = {"spec": {"workflowTemplateRef": {"name": "finetune"}}}
    add_run(api, "just-submitted-1", completed=False, labels={}, **just_submitted)
    add_run(api, "of-somebody-else", completed=False, labels={})
    before = copy.deepcopy(api.objects)
    answer = argotune("uninstall")
    assert answer.code == 3
    assert answer.errors == [
        "active runs would fail, and could not release their nodes: labelled-1, just-submitted-1;"
        " stop them (argotune stop labelled-1 just-submitted-1 -n team-a), or say --force"
    ]
    assert api.objects == before
    assert argotune("uninstall", "--force").code == 0


def test_it_says_what_stays(argotune: Argotune, api: ApiServer) -> None:
    add_run(api, "done-1", completed=True)
    api.put(f"{ARGO}/cronworkflows/retrain-my-model", cron_of())
    foreign = {"spec": {"workflowSpec": {"entrypoint": "main"}}}
    api.put(f"{ARGO}/cronworkflows/of-somebody-else", foreign)
    labels = {**OURS, "app.kubernetes.io/managed-by": "argotune"}
    api.put(
        "/apis/apps/v1/namespaces/team-a/deployments/my-model", {"metadata": {"labels": labels}}
    )
    answer = argotune("uninstall")
    assert answer.out.splitlines()[-1] == (
        "stays: run done-1, schedule retrain-my-model, service my-model, claim argotune-models with"
        " the weights (--delete-models)"
    )


def test_where_nothing_is_installed_nothing_is_done(argotune: Argotune, api: ApiServer) -> None:
    assert argotune("uninstall", "--delete-models").code == 0
    answer = argotune("uninstall")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "namespace team-a: argotune install made nothing here\n"


def test_what_may_not_be_deleted_is_told_and_the_rest_goes(
    argotune: Argotune, api: ApiServer
) -> None:
    api.refusals += [
        Refusal("DELETE", "/roles/argotune-user", 403, "not you"),
        Refusal("GET", "/clusterroles$|/clusterroles[?]", 403, "only\n admins"),
    ]
    answer = argotune("uninstall")
    assert answer.code == 3
    assert answer.errors == [
        "ClusterRoles: only admins; it takes an administrator of the cluster; --no-cluster-roles"
        " leaves it to one",
        "role.rbac.authorization.k8s.io/argotune-user: not you; it takes an administrator of the"
        " namespace",
    ]
    assert {name.partition("/")[0] for name in api.names()} == {
        "namespaces",
        "persistentvolumeclaims",
        "clusterroles",
        "roles",
    }


def test_an_administrator_of_the_namespace_alone_leaves_the_cluster_roles(
    argotune: Argotune, api: ApiServer
) -> None:
    api.refusals += [Refusal(method, "/clusterrole", 403, "no") for method in ("GET", "DELETE")]
    answer = argotune("uninstall", "--no-cluster-roles")
    assert (answer.code, answer.err) == (0, "")


def test_a_cluster_without_argo_has_nothing_of_it(argotune: Argotune, api: ApiServer) -> None:
    api.refusals.append(
        Refusal("GET", "/argoproj.io/", 404, "page not found", kind_is_missing=True)
    )
    answer = argotune("uninstall")
    assert (answer.code, answer.err) == (0, "")
    assert "serviceaccount/argotune-step deleted" in answer.out
