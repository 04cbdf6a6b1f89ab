from __future__ import annotations

from argotune.workflows.cli.checks import permissions
from tests.workflows.cli.checks.cluster import expected, healthy, look, messages


def test_a_person_with_every_right() -> None:
    assert messages(look(healthy(), permissions.person)) == [
        "ok: you may submit runs, follow runs, read logs, stop runs, see services in namespace "
        "team-a"
    ]


def test_a_person_who_lacks_rights() -> None:
    cluster = healthy()
    cluster.denied = {
        "create workflows.argoproj.io",
        "create secrets",
        "get pods/log",
        "patch workflows.argoproj.io",
    }
    found = look(cluster, permissions.person)
    assert messages(found) == [
        "ok: you may follow runs, see services in namespace team-a",
        "problem: you may not submit runs in namespace team-a: it takes the right to create "
        "workflows.argoproj.io, create secrets",
        "warning: you may not read logs in namespace team-a: it takes the right to get pods/log",
        "warning: you may not stop runs in namespace team-a: it takes the right to patch "
        "workflows.argoproj.io",
    ]
    assert found[1].command == (
        "kubectl -n team-a create rolebinding argotune-users --role=argotune-user --user=YOU"
    )


def test_the_role_argotune_user_grants_every_purpose() -> None:
    (role,) = [item for item in expected() if item["metadata"]["name"] == "argotune-user"]
    granted = {
        (verb, resource, group)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for group in rule["apiGroups"]
    }
    needed = {
        (right.verb, right.resource, right.group)
        for rights in permissions.PURPOSES.values()
        for right in rights
    }
    assert needed
    assert needed <= granted


def accounts_may_not_read_secrets() -> set[str]:
    names = [item["metadata"]["name"] for item in expected() if item["kind"] == "ServiceAccount"]
    assert names
    return {f"{name} get secrets" for name in names}


def test_accounts_with_their_roles() -> None:
    cluster = healthy()
    cluster.denied = accounts_may_not_read_secrets()
    (found,) = look(cluster, permissions.accounts)
    assert found.level == "ok"
    assert found.message.startswith("the steps' accounts have the ")


def test_an_account_that_lacks_rights_or_has_too_many() -> None:
    cluster = healthy()
    cluster.denied = accounts_may_not_read_secrets() - {"argotune-step get secrets"}
    cluster.denied |= {
        f"argotune-deploy {verb} {resource}"
        for verb in ("get", "create", "patch", "delete")
        for resource in ("deployments.apps", "services")
    }
    found = messages(look(cluster, permissions.accounts))
    assert found[:2] == [
        "warning: account argotune-step may read every secret of the namespace, which no step "
        "needs",
        "problem: account argotune-deploy may not get services, create services, patch services, "
        "delete services, get deployments.apps, create deployments.apps and 2 more",
    ]


def test_accounts_that_are_not_there_are_left_to_the_installation() -> None:
    cluster = healthy()
    cluster.objects = {
        path: item for path, item in cluster.objects.items() if "/serviceaccounts/" not in path
    }
    assert look(cluster, permissions.accounts) == []
